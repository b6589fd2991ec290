//! Filters of the clsact qdisc, for kernels without tcx.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::programs::ProgramFd;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use crate::bpf::Direction;
use crate::links::netlink::Netlink;
use crate::load::{FROM_POD, Programs, TO_POD};

/// The number of our filters, by which only we know them: "VIAD".
pub(crate) const HANDLE: u32 = 0x5649_4144;
/// The first of all filters on ingress: next to the pod.
const INGRESS_PRIORITY: u16 = 1;
/// After all others on egress: next to the pod. The kernel itself gives out numbers from 49152 downwards.
const EGRESS_PRIORITY: u16 = 0xfff0;

/// Attaches both programs to a link. Says whether it had to make the qdisc.
pub(super) async fn attach(netlink: &Netlink, index: u32, programs: &Programs) -> io::Result<bool> {
    let own_qdisc = add_qdisc(netlink, index).await?;
    let result = match add_filter(netlink, index, Direction::Egress, TO_POD, &programs.to_pod).await {
        Ok(()) => add_filter(netlink, index, Direction::Ingress, FROM_POD, &programs.from_pod).await,
        error => error,
    };
    if let Err(error) = result {
        // What was done is undone; what could not be undone is told by the error itself.
        let _ = detach(netlink, index, own_qdisc).await;
        return Err(error);
    }
    Ok(own_qdisc)
}

/// Removes our filters from a link, and the qdisc if it is ours and nobody else uses it.
pub(super) async fn detach(netlink: &Netlink, index: u32, own_qdisc: bool) -> io::Result<()> {
    for direction in [Direction::Ingress, Direction::Egress] {
        let filter = filter_message(index, direction);
        absent_is_fine(netlink.change(RouteNetlinkMessage::DelTrafficFilter(filter), 0).await)?;
    }
    if own_qdisc && !has_filters(netlink, index).await? {
        absent_is_fine(netlink.change(RouteNetlinkMessage::DelQueueDiscipline(qdisc_message(index)), 0).await)?;
    }
    Ok(())
}

/// Whether both our filters are on a link: another program may have removed them, or the qdisc with all filters.
pub(super) async fn is_attached(netlink: &Netlink, index: u32) -> io::Result<bool> {
    for direction in [Direction::Ingress, Direction::Egress] {
        let filter = RouteNetlinkMessage::GetTrafficFilter(filter_message(index, direction));
        match netlink.get(filter).await {
            Ok(_) => {}
            // No such filter, or no qdisc that could have one.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Makes sure that a link has the qdisc. True if it had none.
async fn add_qdisc(netlink: &Netlink, index: u32) -> io::Result<bool> {
    let message = RouteNetlinkMessage::NewQueueDiscipline(qdisc_message(index));
    match netlink.change(message, NLM_F_CREATE | NLM_F_EXCL).await {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Adds our filter, or puts the program in the place of one that an agent left which was killed.
async fn add_filter(netlink: &Netlink, index: u32, direction: Direction, name: &str, program: &ProgramFd) -> io::Result<()> {
    let mut message = filter_message(index, direction);
    let options = [
        TcFilterBpfOption::ProgFd(program.as_fd().as_raw_fd().cast_unsigned()),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    message.attributes.push(TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()));
    netlink.change(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE).await
}

async fn has_filters(netlink: &Netlink, index: u32) -> io::Result<bool> {
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut message = message(index);
        message.header.parent = parent(direction);
        if !netlink.list(RouteNetlinkMessage::GetTrafficFilter(message)).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT)) => Ok(()),
        other => other,
    }
}

fn message(index: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message
}

fn qdisc_message(index: u32) -> TcMessage {
    let mut message = message(index);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    message
}

fn filter_message(index: u32, direction: Direction) -> TcMessage {
    let priority = match direction {
        Direction::Ingress => INGRESS_PRIORITY,
        Direction::Egress => EGRESS_PRIORITY,
    };
    let every_protocol = (libc::ETH_P_ALL as u16).to_be();
    let mut message = message(index);
    message.header.parent = parent(direction);
    message.header.handle = HANDLE.into();
    message.header.info = u32::from(priority) << 16 | u32::from(every_protocol);
    message.attributes.push(TcAttribute::Kind("bpf".into()));
    message
}

fn parent(direction: Direction) -> TcHandle {
    let minor = match direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    TcHandle { major: u16::MAX, minor }
}
