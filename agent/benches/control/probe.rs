//! Clients that notice with datagrams from when on a Service is served, refused, or gone.
//!
//! Everything here blocks, for it runs on the thread of the client's namespace, which has nothing else to do: a probe that
//! waited for a runtime's turn would be later than what it looks for.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks. The kernel adds about as much, so that a probe sees what it waits for 0.1 ms late at most.
const GLANCE: Duration = Duration::from_micros(40);
/// Without an answer for so long, a datagram was lost: an answer takes far less, on a busy machine too.
const SILENCE: Duration = Duration::from_millis(100);

/// What becomes of a datagram to a Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// A backend answers.
    Answered,
    /// It is refused.
    Refused,
    /// It is lost.
    Lost,
}

/// When each of `services` was first seen to be served; `pause` lies between two datagrams to one.
///
/// One socket for each asks again and again without waiting for answers, as some datagrams are lost.
pub(crate) fn served(services: &[SocketAddr], pause: Duration) -> Result<Vec<Instant>> {
    let begin = Instant::now();
    let sockets: Vec<_> = services.iter().map(|service| socket(*service)).collect::<io::Result<_>>()?;
    let mut seen = vec![None; sockets.len()];
    while begin.elapsed() < PATIENCE {
        for (socket, seen) in sockets.iter().zip(&mut seen).filter(|(_, seen)| seen.is_none()) {
            // Each call may tell of an earlier datagram that it was refused.
            let _ = socket.send(b"?");
            *seen = answers(socket, pause);
        }
        if let Some(seen) = seen.iter().copied().collect() {
            return Ok(seen);
        }
    }
    bail!("not served after {PATIENCE:?}: {services:?} (seen {seen:?})")
}

/// When `socket` got an answer, if it gets one within `pause`.
fn answers(socket: &UdpSocket, pause: Duration) -> Option<Instant> {
    let begin = Instant::now();
    let mut buffer = [0; 512];
    loop {
        sleep(GLANCE);
        if socket.recv(&mut buffer).is_ok() {
            return Some(Instant::now());
        }
        if begin.elapsed() >= pause {
            return None;
        }
    }
}

/// From when on new flows to `service` met the fate `wanted`. They are new ones, because flows that exist keep their backend
/// while there is no other.
pub(crate) fn met(wanted: Fate, service: SocketAddr) -> Result<Instant> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let sent = Instant::now();
        let fate = ask(service)?;
        if fate == wanted {
            // Silence is noticed long after it began.
            return Ok(if fate == Fate::Lost { sent } else { Instant::now() });
        }
    }
    bail!("datagrams to {service} are not {wanted:?} after {PATIENCE:?}")
}

/// What becomes of the first datagram of a flow.
fn ask(service: SocketAddr) -> io::Result<Fate> {
    let socket = socket(service)?;
    socket.send(b"?")?;
    let begin = Instant::now();
    let mut buffer = [0; 512];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => return Ok(Fate::Answered),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(Fate::Refused),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if begin.elapsed() > SILENCE {
            return Ok(Fate::Lost);
        }
        sleep(GLANCE);
    }
}

fn socket(service: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(service)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
