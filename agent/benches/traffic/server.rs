//! Backends: blocking loops on threads, so that what is measured is the kernel's work and not a runtime's.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use nix::sys::socket::{self, Shutdown as Both};
use viaduct_lab::Pod;

use crate::cluster::{ASKED, ECHO, GREETING, Port, TALK};
use crate::cpu;

/// What a client says on an open connection.
pub(crate) const PING: u8 = b'?';
/// What announces a stream of bytes; their number follows in eight bytes (big endian).
pub(crate) const BULK: u8 = b'b';
/// What a backend answers.
pub(crate) const ANSWER: u8 = b'!';
/// The datagram that ends a server.
const END: &[u8] = &[];
/// Room for what is read at once.
const ROOM: usize = 256 << 10;

/// A backend in a pod; it ends when this is dropped.
pub(crate) struct Server {
    listeners: Vec<TcpListener>,
    echoes: Vec<UdpSocket>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts one in `pod`, for every Service that clients ask.
    pub(crate) async fn start(pod: &Pod) -> Result<Self> {
        let mut server = Self { listeners: Vec::new(), echoes: Vec::new(), threads: Vec::new() };
        for rank in 0..ASKED {
            let any = move |port: Port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port.of(rank).target));
            let open = move || async move {
                Ok((TcpListener::bind(any(GREETING))?, TcpListener::bind(any(TALK))?, UdpSocket::bind(any(ECHO))?))
            };
            let (greeting, talk, echo) = pod.namespace().run(open).await?;
            server.listeners.extend([greeting.try_clone()?, talk.try_clone()?]);
            server.echoes.push(echo.try_clone()?);
            server.threads.push(spawn(move || greet(&greeting))?);
            server.threads.push(spawn(move || converse(&talk))?);
            server.threads.push(spawn(move || send_back(&echo))?);
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Wakes the thread that waits for a client.
            let _ = socket::shutdown(listener.as_raw_fd(), Both::Both);
        }
        for echo in &self.echoes {
            let itself = echo.local_addr().map(|address| (Ipv6Addr::LOCALHOST, address.port()));
            let _ = itself.and_then(|itself| echo.send_to(END, itself));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(serve: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<JoinHandle<()>> {
    let run = move || {
        if let Err(error) = cpu::share_one() {
            eprintln!("a backend runs anywhere: {error:#}");
        }
        // It ends with the error that comes of shutting its socket down.
        let _ = serve();
    };
    thread::Builder::new().name("backend".into()).spawn(run).context("cannot start a thread")
}

/// Says one byte to whoever connects, and closes.
fn greet(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (mut client, _) = listener.accept()?;
        // How a connection ends is the client's to notice.
        let _ = client.write(&[ANSWER]);
    }
}

/// Serves one connection after the other.
fn converse(listener: &TcpListener) -> io::Result<()> {
    let mut room = vec![0; ROOM];
    loop {
        let (client, _) = listener.accept()?;
        let _ = answer(&client, &mut room);
        let _ = client.shutdown(Shutdown::Both);
    }
}

fn answer(mut client: &TcpStream, room: &mut [u8]) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut asked = [0];
    while client.read(&mut asked)? == 1 {
        if asked == [BULK] {
            let mut size = [0; 8];
            client.read_exact(&mut size)?;
            take(client, u64::from_be_bytes(size), room)?;
        }
        client.write_all(&[ANSWER])?;
    }
    Ok(())
}

fn take(mut client: &TcpStream, size: u64, room: &mut [u8]) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let most = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match client.read(&mut room[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left -= count as u64,
        }
    }
    Ok(())
}

fn send_back(socket: &UdpSocket) -> io::Result<()> {
    let mut room = [0; 64];
    loop {
        let (size, client) = socket.recv_from(&mut room)?;
        if room[..size] == *END {
            return Ok(());
        }
        // An error is about an earlier answer, whose client has gone.
        let _ = socket.send_to(&room[..size], client);
    }
}
