//! Listens to the kernel and tells what happens to pod links.

use std::io;
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{AsyncSocket as _, SocketAddr};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use super::netlink::Netlink;
use super::tracker::{Step, Tracker};
use super::{LinkEvent, LinkFacts, LinkSelector};

/// Bytes that the kernel may keep for us; a thousand links that come at once need about one megabyte.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// The first pause before the sockets are opened again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// Tells `events` of each pod link in the network namespace of the calling thread, until its receiver is gone.
///
/// First come the links that are there, then [`LinkEvent::Listed`], then what happens. When messages were lost, or a
/// socket fails, all links are listed again and only the differences are told.
pub async fn follow(selector: LinkSelector, events: mpsc::Sender<LinkEvent>) {
    let mut tracker = Tracker::new(selector);
    let mut pause = BACKOFF.0;
    loop {
        match Session::open() {
            Ok(mut session) => match session.run(&mut tracker, &events).await {
                Ok(()) => return,
                Err(Interrupted { listed, source }) => {
                    warn!(error = %source, "watching links was interrupted; they are listed again");
                    if listed {
                        pause = BACKOFF.0;
                    }
                }
            },
            Err(error) => warn!(%error, "cannot watch links; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// One pair of sockets: the kernel's lists would get lost on the socket that its messages may flood.
struct Session {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    requests: Netlink,
    _connection: JoinSet<()>,
}

/// Why a session ended.
struct Interrupted {
    /// Whether it got so far as to list the links.
    listed: bool,
    source: io::Error,
}

impl Session {
    fn open() -> io::Result<Self> {
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        // Less than asked for is no reason to fail: lost messages are noticed.
        let _ = connection.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BUFFER);
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Self { messages, requests: Netlink::open()?, _connection: tasks })
    }

    async fn run(&mut self, tracker: &mut Tracker, events: &mpsc::Sender<LinkEvent>) -> Result<(), Interrupted> {
        let found = self.list(tracker).await.map_err(|source| Interrupted { listed: false, source })?;
        if tell(events, found).await.is_err() || tell(events, [LinkEvent::Listed]).await.is_err() {
            return Ok(());
        }
        let interrupted = |source| Interrupted { listed: true, source };
        loop {
            let message = tokio::select! {
                message = self.messages.next() => message,
                () = events.closed() => return Ok(()),
            };
            let Some((message, _)) = message else {
                return Err(interrupted(io::Error::other("the netlink socket was closed")));
            };
            let happened = self.handle(tracker, message.payload).await.map_err(interrupted)?;
            if tell(events, happened).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn handle(&self, tracker: &mut Tracker, payload: NetlinkPayload<RouteNetlinkMessage>) -> io::Result<Vec<LinkEvent>> {
        let step = match payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => match facts(&message) {
                Some(link) => tracker.seen(link),
                None => return Ok(Vec::new()),
            },
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) if speaks_of_links(&message) => {
                tracker.gone(message.header.index)
            }
            // What is still queued is older than any list that could be made now, and may bring back what is gone: this
            // socket is of no use any more.
            NetlinkPayload::Overrun(_) => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            _ => return Ok(Vec::new()),
        };
        self.finish(tracker, step).await
    }

    /// Asks about the link that a step left in doubt.
    async fn finish(&self, tracker: &mut Tracker, step: Step) -> io::Result<Vec<LinkEvent>> {
        let mut events = step.events;
        if let Some(index) = step.recheck {
            let mut request = LinkMessage::default();
            request.header.index = index;
            let answer = self.requests.get(RouteNetlinkMessage::GetLink(request)).await;
            match answer {
                Ok(Some(RouteNetlinkMessage::NewLink(message))) => {
                    events.extend(facts(&message).map(|link| tracker.seen(link).events).unwrap_or_default());
                }
                // It is gone as well, and its own message is on the way.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(events)
    }

    async fn list(&self, tracker: &mut Tracker) -> io::Result<Vec<LinkEvent>> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let answers = self.requests.list(RouteNetlinkMessage::GetLink(request)).await?;
        let links = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => facts(message),
            _ => None,
        });
        Ok(tracker.listed(links.collect()))
    }
}

async fn tell(to: &mpsc::Sender<LinkEvent>, events: impl IntoIterator<Item = LinkEvent>) -> Result<(), ()> {
    for event in events {
        to.send(event).await.map_err(drop)?;
    }
    Ok(())
}

/// False for messages of the same type that tell of a link's role as a port of a bridge.
fn speaks_of_links(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

/// What a message says of a link; none if it speaks of something else.
fn facts(message: &LinkMessage) -> Option<LinkFacts> {
    if !speaks_of_links(message) {
        return None;
    }
    let mut name = None;
    let mut link = LinkFacts { index: message.header.index, name: String::new(), veth: false, peer: None, peer_elsewhere: false };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(given) => name = Some(given.clone()),
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => link.veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth)),
            _ => {}
        }
    }
    Some(LinkFacts { name: name?, ..link })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(family: AddressFamily, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 5;
        message.header.interface_family = family;
        message.attributes = attributes;
        message
    }

    #[test]
    fn the_facts_of_a_veth_are_read() {
        let kind = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]);
        let attributes = vec![LinkAttribute::IfName("v".into()), LinkAttribute::Link(2), kind];
        let here = facts(&message(AddressFamily::Unspec, attributes.clone())).expect("a link");
        assert_eq!(here, LinkFacts { index: 5, name: "v".into(), veth: true, peer: Some(2), peer_elsewhere: false });
        let attributes = attributes.into_iter().chain([LinkAttribute::LinkNetNsId(0)]).collect();
        assert!(facts(&message(AddressFamily::Unspec, attributes)).expect("a link").peer_elsewhere);
    }

    /// A link that leaves its bridge is not a link that is gone.
    #[test]
    fn messages_about_ports_of_bridges_are_left_alone() {
        let message = message(AddressFamily::Bridge, vec![LinkAttribute::IfName("v".into())]);
        assert_eq!(facts(&message), None);
        assert!(!speaks_of_links(&message));
    }
}
