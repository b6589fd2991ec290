//! Bodies of answers: whole, as the stream of a watch, and spoilt on purpose.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::collection::Push;
use crate::fault::Fault;
use crate::wire::Resetter;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// Pieces of one; an error ends the connection.
type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// Changes that are sent with one system call while a storm lasts.
const AT_ONCE: usize = 256;
/// What a watch that breaks off sends last.
const HALF_A_LINE: &[u8] = b"{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"Serv";

/// A body that is sent at once.
pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The body of a watch: it ends after `lifetime`.
pub(crate) fn watch(receiver: UnboundedReceiver<Push>, lifetime: Duration, resetter: Resetter) -> Body {
    let watching = Watching { receiver, waiting: VecDeque::new(), end: Instant::now() + lifetime, resetter };
    from_pieces(stream::unfold(watching, Watching::next).boxed())
}

/// `body` as `fault` spoils it.
pub(crate) fn spoil(body: Body, fault: &Fault, resetter: Resetter) -> Body {
    let pieces = body.into_data_stream().boxed();
    from_pieces(match *fault {
        Fault::Answer(_) | Fault::Delay(_) => pieces,
        Fault::Trickle { piece, pause } => trickle(pieces, piece, pause),
        Fault::Reset(after) => cut(pieces, after).chain(stream::once(broken(true, resetter)).map(Err)).boxed(),
        Fault::HalfClose(after) => cut(pieces, after).chain(stream::once(broken(false, resetter)).map(Err)).boxed(),
        Fault::Silence(after) => cut(pieces, after).chain(stream::pending()).boxed(),
        Fault::Truncate(after) => cut(pieces, after),
    })
}

fn from_pieces(pieces: Pieces) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// A watch as it is sent.
struct Watching {
    receiver: UnboundedReceiver<Push>,
    waiting: VecDeque<Push>,
    end: Instant,
    resetter: Resetter,
}

impl Watching {
    /// What is sent next; none: it is over.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        let push = match self.waiting.pop_front() {
            Some(push) => push,
            None => self.receive().await?,
        };
        let piece = match push {
            Push::Line(line) => Ok(together(line, &mut self.waiting)),
            Push::End => return None,
            Push::Silence => std::future::pending().await,
            Push::Break { reset } => {
                self.waiting = VecDeque::from([Push::Broken { reset }]);
                Ok(Bytes::from_static(HALF_A_LINE))
            }
            Push::Broken { reset } => Err(broken(reset, self.resetter.clone()).await),
        };
        Some((piece, self))
    }

    async fn receive(&mut self) -> Option<Push> {
        let mut arrived = Vec::with_capacity(AT_ONCE);
        tokio::select! {
            _ = self.receiver.recv_many(&mut arrived, AT_ONCE) => {}
            () = tokio::time::sleep_until(self.end) => {}
        }
        self.waiting.extend(arrived);
        self.waiting.pop_front()
    }
}

/// `line` and the lines that wait behind it.
fn together(line: Bytes, waiting: &mut VecDeque<Push>) -> Bytes {
    if !matches!(waiting.front(), Some(Push::Line(_))) {
        return line;
    }
    let mut lines = line.to_vec();
    while let Some(Push::Line(next)) = waiting.pop_front_if(|push| matches!(push, Push::Line(_))) {
        lines.extend(next);
    }
    lines.into()
}

/// The end of a connection, in the middle of a body.
async fn broken(reset: bool, resetter: Resetter) -> io::Error {
    // What was sent before is on its way: a reset at once would take it back.
    tokio::time::sleep(Duration::from_millis(20)).await;
    if reset {
        resetter.reset();
    }
    io::ErrorKind::ConnectionReset.into()
}

/// The first `after` bytes; nothing is waited for behind them.
fn cut(pieces: Pieces, after: usize) -> Pieces {
    let next = |(mut pieces, left): (Pieces, usize)| async move {
        if left == 0 {
            return None;
        }
        let piece = pieces.next().await?.map(|mut piece| piece.split_to(piece.len().min(left)));
        let length = piece.as_ref().map_or(0, Bytes::len);
        Some((piece, (pieces, left - length)))
    };
    stream::unfold((pieces, after), next).boxed()
}

fn trickle(pieces: Pieces, size: usize, pause: Duration) -> Pieces {
    let split = move |piece: io::Result<Bytes>| match piece {
        Ok(piece) => {
            let count = piece.len().div_ceil(size);
            stream::iter((0..count).map(move |i| Ok(piece.slice(i * size..piece.len().min((i + 1) * size))))).boxed()
        }
        Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
    };
    pieces
        .flat_map(split)
        .then(move |piece| async move {
            tokio::time::sleep(pause).await;
            piece
        })
        .boxed()
}
