//! A netlink socket for requests.

use std::fmt::Debug;
use std::io;

use futures::StreamExt as _;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::proto::{self, ConnectionHandle};
use rtnetlink::sys::SocketAddr;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use tokio::task::JoinSet;

/// What a netlink protocol speaks.
pub(crate) trait Message: NetlinkSerializable + NetlinkDeserializable + Clone + Debug + Send + Unpin + 'static {}

impl<M: NetlinkSerializable + NetlinkDeserializable + Clone + Debug + Send + Unpin + 'static> Message for M {}

/// A socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Netlink<M: Message = RouteNetlinkMessage> {
    handle: ConnectionHandle<M>,
    /// Drives the socket; ends with this value.
    _connection: JoinSet<()>,
}

impl Netlink {
    /// A socket for links, addresses, routes and their like.
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_protocol(NETLINK_ROUTE)
    }
}

impl<M: Message> Netlink<M> {
    /// A socket for the protocol with this number.
    pub(crate) fn open_protocol(protocol: isize) -> io::Result<Self> {
        let (mut connection, handle, _) = proto::new_connection(protocol)?;
        // A list without its end is not a whole one.
        connection.set_forward_done(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Self { handle, _connection: tasks })
    }

    /// Asks for a change; `flags` beside those that every request has.
    pub(crate) async fn change(&self, message: M, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_ACK | flags).await.map(drop)
    }

    /// Asks for one thing.
    pub(crate) async fn get(&self, message: M) -> io::Result<Option<M>> {
        Ok(self.ask(message, 0).await?.messages.into_iter().next())
    }

    /// Asks for all things of a kind; again, if there were changes while the kernel was answering.
    pub(crate) async fn list(&self, message: M) -> io::Result<Vec<M>> {
        const ATTEMPTS: u32 = 10;
        for _ in 0..ATTEMPTS {
            let answer = self.ask(message.clone(), NLM_F_DUMP).await?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(io::Error::other("the kernel's list changed each time that it was read"))
    }

    async fn ask(&self, message: M, flags: u16) -> io::Result<Answer<M>> {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        message.header.flags = NLM_F_REQUEST | flags;
        let mut replies = self.handle.clone().request(message, SocketAddr::new(0, 0)).map_err(io::Error::other)?;
        let mut answer = Answer { messages: Vec::new(), interrupted: false };
        // The bits of a list mean other things in a change, each by itself.
        let mut is_whole = flags & NLM_F_DUMP != NLM_F_DUMP;
        while let Some(reply) = replies.next().await {
            answer.interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(message) => answer.messages.push(message),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Done(done) if done.code < 0 => return Err(io::Error::from_raw_os_error(-done.code)),
                NetlinkPayload::Done(_) => is_whole = true,
                NetlinkPayload::Overrun(_) => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                _ => {}
            }
        }
        if is_whole { Ok(answer) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel's list broke off")) }
    }
}

struct Answer<M> {
    messages: Vec<M>,
    interrupted: bool,
}
