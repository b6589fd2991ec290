//! Programs on links, beside those of others.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::Result;
use aya::programs::{SchedClassifier, TcAttachType};
use futures::TryStreamExt as _;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption};
use viaduct::attach::{Attacher, How, Outcome};
use viaduct::config::AttachMode;
use viaduct_lab::Namespace;

use crate::world::{World, attacher, programs};

/// Our filters' number, "VIAD", and somebody else's.
const OURS: u32 = 0x5649_4144;
const THEIRS: u32 = 7;

/// The numbers of the programs that tcx runs on a link, in order.
fn tcx_programs(link: &str, direction: TcAttachType) -> Result<Vec<u32>> {
    let (_, programs) = SchedClassifier::query_tcx(link, direction)?;
    Ok(programs.iter().map(aya::programs::ProgramInfo::id).collect())
}

pub(crate) fn netlink() -> Result<rtnetlink::Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::task::spawn_local(connection);
    Ok(handle)
}

/// The handles of the filters on a link, in both directions.
pub(crate) async fn filters(handle: &rtnetlink::Handle, index: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut tc = handle.traffic_filter(index.cast_signed());
    for request in [tc.get().ingress(), tc.get().egress()] {
        let filters: Vec<TcMessage> = request.execute().try_collect().await?;
        found.extend(filters.iter().map(|filter| u32::from(filter.header.handle)).filter(|handle| *handle != 0));
    }
    Ok(found)
}

async fn has_clsact(handle: &rtnetlink::Handle, index: u32) -> Result<bool> {
    let qdiscs: Vec<TcMessage> = handle.qdisc().get().execute().try_collect().await?;
    let clsact = TcAttribute::Kind("clsact".into());
    Ok(qdiscs.iter().any(|qdisc| qdisc.header.index == index.cast_signed() && qdisc.attributes.contains(&clsact)))
}

async fn create(handle: &rtnetlink::Handle, message: RouteNetlinkMessage) -> Result<()> {
    request(handle, message, NLM_F_CREATE | NLM_F_EXCL).await
}

pub(crate) async fn request(handle: &rtnetlink::Handle, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut replies = handle.clone().request(message)?;
    while let Some(reply) = futures::StreamExt::next(&mut replies).await {
        if let NetlinkPayload::Error(error) = reply.payload
            && error.code.is_some()
        {
            return Err(error.to_io().into());
        }
    }
    Ok(())
}

pub(crate) fn message(index: u32, parent: TcHandle, handle: TcHandle, kind: &str) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = parent;
    message.header.handle = handle;
    message.attributes.push(TcAttribute::Kind(kind.into()));
    message
}

fn clsact(index: u32) -> TcMessage {
    message(index, TcHandle::CLSACT, TcHandle { major: u16::MAX, minor: 0 }, "clsact")
}

async fn add_clsact(handle: &rtnetlink::Handle, index: u32) -> Result<()> {
    create(handle, RouteNetlinkMessage::NewQueueDiscipline(clsact(index))).await
}

/// Removes the qdisc with all its filters, whoever made them.
pub(crate) async fn remove_clsact(handle: &rtnetlink::Handle, index: u32) -> Result<()> {
    request(handle, RouteNetlinkMessage::DelQueueDiscipline(clsact(index)), 0).await
}

/// Removes all filters on egress.
async fn remove_egress_filters(handle: &rtnetlink::Handle, index: u32) -> Result<()> {
    let mut filters = message(index, TcHandle { major: u16::MAX, minor: TcHandle::MIN_EGRESS }, 0.into(), "bpf");
    filters.attributes.clear();
    request(handle, RouteNetlinkMessage::DelTrafficFilter(filters), 0).await
}

/// Adds somebody else's filter, whose program lets everything go on.
pub(crate) async fn add_other_filter(handle: &rtnetlink::Handle, index: u32, minor: u16) -> Result<()> {
    let program = programs()?.to_pod;
    let mut filter = message(index, TcHandle { major: u16::MAX, minor }, THEIRS.into(), "bpf");
    filter.header.info = 40 << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    let fd = TcFilterBpfOption::ProgFd(program.as_fd().as_raw_fd().cast_unsigned());
    let options = [fd, TcFilterBpfOption::ProgName("other".into()), TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)];
    filter.attributes.push(TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()));
    create(handle, RouteNetlinkMessage::NewTrafficFilter(filter)).await
}

/// Runs `test` in the node.
async fn on<T: Send + 'static>(node: &Namespace, test: impl AsyncFnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    node.run(move || async move { test().await }).await
}

#[tokio::test]
async fn tcx_is_next_to_the_pod_and_leaves_others_alone() -> Result<()> {
    let world = World::new().await?;
    let index = world.add_link("a").await?;
    on(&world.node, async move || {
        let mut other = attacher(AttachMode::Tcx)?;
        let mut ours = attacher(AttachMode::Auto)?;
        assert_eq!(ours.how(), How::Tcx, "the kernel of the tests has tcx");
        assert_eq!(other.attach(index).await?, Outcome::Attached);
        let theirs = [tcx_programs("a", TcAttachType::Ingress)?, tcx_programs("a", TcAttachType::Egress)?];
        assert_eq!(ours.attach(index).await?, Outcome::Attached);
        assert_eq!(ours.attach(index).await?, Outcome::Attached, "again, to no effect");
        assert_eq!(ours.count(), 1);
        let (ingress, egress) = (tcx_programs("a", TcAttachType::Ingress)?, tcx_programs("a", TcAttachType::Egress)?);
        assert_eq!((ingress.len(), egress.len()), (2, 2));
        assert_eq!(ingress[1], theirs[0][0], "ours is the first on ingress");
        assert_eq!(egress[0], theirs[1][0], "ours is the last on egress");
        ours.detach_all().await;
        assert_eq!([tcx_programs("a", TcAttachType::Ingress)?, tcx_programs("a", TcAttachType::Egress)?], theirs);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn clsact_is_shared_and_only_our_filters_go() -> Result<()> {
    let world = World::new().await?;
    let (shared, own) = (world.add_link("shared").await?, world.add_link("own").await?);
    on(&world.node, async move || {
        let handle = netlink()?;
        add_clsact(&handle, shared).await?;
        add_other_filter(&handle, shared, TcHandle::MIN_INGRESS).await?;
        let mut ours = attacher(AttachMode::Clsact)?;
        for index in [shared, own] {
            assert_eq!(ours.attach(index).await?, Outcome::Attached);
        }
        assert_eq!(filters(&handle, shared).await?, [OURS, THEIRS, OURS]);
        assert_eq!(filters(&handle, own).await?, [OURS, OURS]);
        ours.detach_all().await;
        assert_eq!(filters(&handle, shared).await?, [THEIRS]);
        assert!(has_clsact(&handle, shared).await?);
        assert!(!has_clsact(&handle, own).await?, "we made it, and nobody else uses it");
        Ok(())
    })
    .await
}

/// The qdisc that we made has found another user meanwhile.
#[tokio::test]
async fn a_clsact_of_ours_that_others_use_stays() -> Result<()> {
    let world = World::new().await?;
    let index = world.add_link("a").await?;
    on(&world.node, async move || {
        let handle = netlink()?;
        let mut ours = attacher(AttachMode::Clsact)?;
        ours.attach(index).await?;
        add_other_filter(&handle, index, TcHandle::MIN_EGRESS).await?;
        ours.detach(index).await;
        assert_eq!(filters(&handle, index).await?, [THEIRS]);
        Ok(())
    })
    .await
}

/// An agent that was killed leaves its filters: the next one takes their place.
#[tokio::test]
async fn filters_of_a_killed_agent_are_replaced() -> Result<()> {
    let world = World::new().await?;
    let index = world.add_link("a").await?;
    on(&world.node, async move || {
        let handle = netlink()?;
        let mut killed = attacher(AttachMode::Clsact)?;
        killed.attach(index).await?;
        drop(killed);
        assert_eq!(filters(&handle, index).await?, [OURS, OURS], "without detaching they stay");
        let mut ours = attacher(AttachMode::Clsact)?;
        ours.attach(index).await?;
        assert_eq!(filters(&handle, index).await?, [OURS, OURS]);
        ours.detach_all().await;
        assert_eq!(filters(&handle, index).await?, Vec::<u32>::new());
        Ok(())
    })
    .await
}

/// Another program takes the whole qdisc, puts one of its own in its place, or takes one filter; or the link goes.
#[tokio::test]
async fn filters_that_others_remove_are_missed() -> Result<()> {
    let world = World::new().await?;
    let mut indexes = Vec::new();
    for name in ["bare", "replaced", "halved", "whole", "gone"] {
        indexes.push(world.add_link(name).await?);
    }
    let Ok([bare, replaced, halved, whole, gone]) = <[u32; 5]>::try_from(indexes) else { unreachable!("five names") };
    on(&world.node, async move || {
        let handle = netlink()?;
        let mut ours = attacher(AttachMode::Clsact)?;
        for index in [bare, replaced, halved, whole, gone] {
            assert_eq!(ours.attach(index).await?, Outcome::Attached);
        }
        assert_eq!(ours.take_lost().await, Vec::<u32>::new(), "all are there");
        remove_clsact(&handle, bare).await?;
        remove_clsact(&handle, replaced).await?;
        add_clsact(&handle, replaced).await?;
        add_other_filter(&handle, replaced, TcHandle::MIN_INGRESS).await?;
        remove_egress_filters(&handle, halved).await?;
        handle.link().del(gone).execute().await?;
        assert_eq!(ours.take_lost().await, [bare, replaced, halved], "an event tells of links that are gone");
        assert_eq!(ours.count(), 2);
        for index in [bare, replaced, halved] {
            assert_eq!(ours.attach(index).await?, Outcome::Attached);
        }
        assert_eq!(ours.take_lost().await, Vec::<u32>::new(), "they are back");
        assert_eq!(filters(&handle, replaced).await?, [OURS, THEIRS, OURS]);
        ours.detach_all().await;
        assert_eq!(filters(&handle, replaced).await?, [THEIRS], "the other's qdisc stays with its filter");
        assert!(!has_clsact(&handle, bare).await?);
        assert_eq!(filters(&handle, whole).await?, Vec::<u32>::new());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_link_that_vanishes_half_way_is_no_error() -> Result<()> {
    let world = World::new().await?;
    let index = world.add_link("gone").await?;
    let stays = world.add_link("attached").await?;
    world.node.remove_link("gone").await?;
    let mut attachers: Vec<Attacher> = Vec::new();
    for mode in [AttachMode::Tcx, AttachMode::Clsact] {
        attachers.push(
            on(&world.node, async move || {
                let mut attacher = attacher(mode)?;
                assert_eq!(attacher.attach(index).await?, Outcome::Gone);
                assert_eq!(attacher.count(), 0);
                assert_eq!(attacher.attach(stays).await?, Outcome::Attached);
                Ok(attacher)
            })
            .await?,
        );
    }
    world.node.remove_link("attached").await?;
    on(&world.node, async move || {
        for attacher in &mut attachers {
            attacher.detach(stays).await;
            assert_eq!(attacher.count(), 0);
        }
        Ok(())
    })
    .await
}
