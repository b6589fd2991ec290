//! Servers and clients that speak one small protocol over real sockets.

mod conversation;
mod datagrams;
mod dial;
mod failure;
mod load;
mod pattern;
mod protocol;
mod server;
mod sockopt;
mod tally;

pub use conversation::{Conversation, Transfer, ask, crowd, time_asking};
pub use datagrams::{Datagrams, Reply, ask_udp};
pub use dial::Dial;
pub use failure::Failure;
pub use load::Load;
pub(crate) use server::{Server, Transport};
pub use tally::Tally;
