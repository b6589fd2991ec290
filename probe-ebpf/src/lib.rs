#![no_std]
//! Datapath.
