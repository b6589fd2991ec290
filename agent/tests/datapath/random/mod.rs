//! Random tables and packets, the same for the same seed.

mod dice;
mod packets;
mod tables;

pub(crate) use dice::Dice;
pub(crate) use packets::{Draw, Memory, draw};
pub(crate) use tables::{replacement, tables};
