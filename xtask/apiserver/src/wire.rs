//! Connections that can be reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Tells a connection to end with a reset instead of politely.
#[derive(Clone, Default, Debug)]
pub(crate) struct Resetter(Arc<AtomicBool>);

impl Resetter {
    pub(crate) fn reset(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True while its connection lives.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    resetter: Resetter,
}

impl Wire {
    pub(crate) const fn new(stream: TcpStream, resetter: Resetter) -> Self {
        Self { stream, resetter }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.resetter.0.load(Ordering::Relaxed) {
            // A client that is gone needs no reset.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
