//! A lab of network namespaces on one Linux machine: nodes, pods and real traffic, for Viaduct's tests, its
//! demonstration and its benchmarks.
//!
//! ```no_run
//! use std::time::Duration;
//! use viaduct_lab::{Dial, Family, Failure, Program, Topology, vip};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let lab = Topology::point_to_point().build().await?;
//! let node = lab.node();
//! let client = node.add_pod("client").await?;
//! let backend = node.add_pod("backend").await?;
//! backend.serve(8080).await?;
//!
//! let direct = Dial::to(backend.address(Family::V6), 8080);
//! assert_eq!(client.ask(direct).await, Ok("backend".to_owned()));
//!
//! let agent = node.start(Program::new("target/debug/viaduct").args(["run", "--node-name", "n1"])).await?;
//! agent.wait_for_line("ready", Duration::from_secs(10)).await?;
//! assert_eq!(client.ask(Dial::to(vip(Family::V4, 1), 80)).await, Err(Failure::Refused));
//! # Ok(())
//! # }
//! ```
//!
//! # Parts
//!
//! - [`Topology`] makes a [`Lab`] with one or two [`Node`]s; a node gets [`Pod`]s, whose links can be added and removed
//!   while everything runs, and starts a [`Process`] from a [`Program`].
//! - A [`Pod`] starts servers and is a client: one question ([`Pod::ask`]), a lasting [`Conversation`] with bulk
//!   transfers, [`Datagrams`], a crowd of connections at once, or a [`Load`] that runs beside whatever else a test does.
//!   A [`Dial`] says where to and how, a [`Failure`] why it did not work, a [`Tally`] who answered.
//! - [`Namespace`] is what nodes and pods are made of. What the methods above don't offer can be run in it with
//!   [`Namespace::run`].
//!
//! Every lab has both families. Pods of node N are 10.244.N.10 and up, fd00:244:N::a and up, in the order in which they
//! were added; nodes are 172.30.0.N and fd00:30::N; [`vip`] gives addresses for Services.
//!
//! # Why nothing is left behind
//!
//! Namespaces have no name and no file: the kernel keeps one for the thread that entered it. A drop ends the thread, a
//! panic drops, Ctrl-C and SIGKILL end every thread of the process; in each case the kernel removes the namespace with
//! its links, its sockets, its BPF attachments and its private mounts. Processes on nodes are killed by the kernel when
//! the thread that started them ends. So there is nothing to clean up, and no handler that could fail to.
//!
//! Everything needs root, and says so.

mod family;
mod links;
mod mounts;
mod namespace;
mod node;
mod offloads;
mod pod;
mod process;
mod topology;
mod traffic;

pub use family::{Family, vip};
pub use links::{Route, Veth, Vxlan};
pub use namespace::Namespace;
pub use node::Node;
pub use pod::Pod;
pub use process::{Process, Program};
pub use topology::{Lab, Topology};
pub use traffic::{Conversation, Datagrams, Dial, Failure, Load, Reply, Tally, Transfer, ask, ask_udp, crowd, time_asking};
