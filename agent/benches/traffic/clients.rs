//! Clients: blocking loops, in turn with those of other ways. Each call is a slice: some events of a kind, each of them timed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::cpu;
use crate::server::{ANSWER, BULK, PING};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events before each slice that are not counted: the caches are the last way's.
const WARM_UP: usize = 8;
/// What is sent at once in a stream of bytes.
const PIECE: usize = 128 << 10;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    /// A connection: opened, one byte from the backend, closed by both.
    Connect,
    /// One byte to the backend and one back, on a connection that stays open.
    RoundTrip,
    /// A datagram to the backend and one back, by a socket that stays.
    Datagram,
    /// A datagram to the backend and one back, by a new socket each: a look-up of a name.
    Query,
    /// So many bytes, in one stream.
    Bulk(u64),
}

/// What one slice took.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Slice {
    /// Of each event.
    pub(crate) nanos: Vec<u64>,
    /// On CPUs, for all of them together: clients, backends, and what the kernel does on their behalf.
    pub(crate) cpu: Duration,
}

/// A slice of `count` events; each one goes to the next of `targets`, and the first one to number `from`.
pub(crate) fn slice(workload: Workload, targets: &[SocketAddr], from: usize, count: usize) -> Result<Slice> {
    let mut next = targets.iter().copied().cycle().skip(from % targets.len());
    let mut target = move || next.next().expect("there is a target");
    match workload {
        Workload::Connect => timed(count, || connect(target())),
        Workload::Query => timed(count, || query(target())),
        Workload::RoundTrip => {
            let mut connection = open(target())?;
            timed(count, || round_trip(&mut connection))
        }
        Workload::Datagram => {
            let socket = bind(target())?;
            timed(count, || exchange(&socket))
        }
        Workload::Bulk(size) => {
            let mut connection = open(target())?;
            let piece = vec![0x5a; PIECE];
            // The window is open when the clock starts.
            stream(&mut connection, PIECE as u64 * 8, &piece)?;
            plainly_timed(count, || stream(&mut connection, size, &piece))
        }
    }
}

/// `count` events after some that are not counted.
fn timed(count: usize, mut event: impl FnMut() -> Result<()>) -> Result<Slice> {
    for _ in 0..WARM_UP {
        event()?;
    }
    plainly_timed(count, event)
}

fn plainly_timed(count: usize, mut event: impl FnMut() -> Result<()>) -> Result<Slice> {
    let mut nanos = Vec::with_capacity(count);
    let before = cpu::time()?;
    for _ in 0..count {
        let begin = Instant::now();
        event()?;
        nanos.push(begin.elapsed().as_nanos() as u64);
    }
    Ok(Slice { nanos, cpu: cpu::time()?.saturating_sub(before) })
}

fn connect(target: SocketAddr) -> Result<()> {
    let mut connection = TcpStream::connect(target).with_context(|| format!("cannot connect to {target}"))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut said = [0; 2];
    let count = connection.read(&mut said)?;
    ensure!(said[..count] == [ANSWER], "{target} said {:?}", &said[..count]);
    // The backend closes first, so that the port is free at once.
    ensure!(connection.read(&mut said)? == 0, "{target} did not close");
    Ok(())
}

fn open(target: SocketAddr) -> Result<TcpStream> {
    let connection = TcpStream::connect(target).with_context(|| format!("cannot connect to {target}"))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

fn round_trip(connection: &mut TcpStream) -> Result<()> {
    let mut said = [0];
    connection.write_all(&[PING])?;
    connection.read_exact(&mut said).context("no answer on an open connection")?;
    Ok(())
}

fn stream(connection: &mut TcpStream, size: u64, piece: &[u8]) -> Result<()> {
    connection.write_all(&[&[BULK], &size.to_be_bytes()[..]].concat())?;
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        left -= connection.write(&piece[..most])? as u64;
    }
    connection.read_exact(&mut [0]).context("no answer behind a stream of bytes")
}

fn bind(target: SocketAddr) -> Result<UdpSocket> {
    let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket) -> Result<()> {
    let mut said = [0];
    socket.send(&[PING])?;
    socket.recv(&mut said).context("no datagram came back")?;
    Ok(())
}

fn query(target: SocketAddr) -> Result<()> {
    exchange(&bind(target)?).with_context(|| format!("from {target}"))
}
