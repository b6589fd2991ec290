//! Properties of the datapath that hold for every packet, on the host and without root.

mod checksums;
mod hash;
mod partial;
mod round_trip;
mod service;
