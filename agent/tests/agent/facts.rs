//! What is read from the kernel around pods: the same as was made there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::tc::TcHandle;
use viaduct::attach::{Attacher, Outcome};
use viaduct::config::{AttachMode, FastPathMode};
use viaduct::fast_path::observe::{Events, Observer};
use viaduct::fast_path::{Decision, Obstacle, Wish, decide};
use viaduct::model::{Cluster, Event, Kind, Policies};
use viaduct::pod_links::PodLinkSet;
use viaduct_common::Pod as Row;
use viaduct_lab::{Dial, Failure, Family, Lab, Namespace, Pod, Topology};

use crate::attach::{add_other_filter, message, netlink, request};
use crate::netfilter;
use crate::world::{PATIENCE, attacher};

/// Our programs on pods' links, and who looks around there.
struct Watched {
    attacher: Attacher,
    observer: Observer,
    links: PodLinkSet,
}

impl Watched {
    /// Attaches programs to these links of the calling thread's namespace.
    async fn new(links: &[u32], mode: AttachMode) -> Result<Self> {
        let mut attacher = attacher(mode)?;
        for link in links {
            assert_eq!(attacher.attach(*link).await?, Outcome::Attached);
        }
        let observer = Observer::new(attacher.program_ids()?)?;
        let links: BTreeSet<u32> = links.iter().copied().collect();
        Ok(Self { attacher, observer, links: PodLinkSet { is_complete: true, all: links.clone(), attached: links } })
    }

    async fn decide(&mut self) -> Result<Decision> {
        let facts = self.observer.look(&self.links, no_policies()).await?;
        Ok(decide(&facts, &Wish { mode: FastPathMode::Auto, uplinks: None, can_redirect: true, route_has_room: true }))
    }

    /// What keeps packets to pods off the fast path, in words.
    async fn obstacles(&mut self) -> Result<Vec<String>> {
        Ok(self.decide().await?.pods.iter().map(words).collect())
    }

    /// What keeps single pods off it, in words.
    async fn left_out(&mut self) -> Result<Vec<String>> {
        Ok(self.decide().await?.left_out.iter().map(words).collect())
    }
}

fn words(obstacle: &Obstacle) -> String {
    format!("{} {}", obstacle.object, obstacle.what)
}

fn no_policies() -> Policies {
    let mut cluster = Cluster::default();
    cluster.take(Event::Listed(Kind::NetworkPolicy, Vec::new()));
    cluster.changed_policies().expect("news").clone()
}

/// Two pods that have talked to their node, so that it knows their ways.
async fn two_pods(lab: &Lab) -> Result<[Pod; 2]> {
    let pods = [lab.node().add_pod("a").await?, lab.node().add_pod("b").await?];
    for pod in &pods {
        for family in Family::ALL {
            let nobody = pod.ask(Dial::to(lab.node().address(family), 9)).await;
            assert_eq!(nobody, Err(Failure::Refused), "{} asks the node over {family}", pod.name());
        }
    }
    Ok(pods)
}

/// Runs `test` on the node with our programs on the links of `pods`.
async fn watch<T: Send + 'static>(
    lab: &Lab,
    pods: &[Pod; 2],
    mode: AttachMode,
    test: impl AsyncFnOnce(Watched) -> Result<T> + Send + 'static,
) -> Result<T> {
    let node = lab.node().namespace();
    let links = [node.link_index(&pods[0].link()).await?, node.link_index(&pods[1].link()).await?];
    node.run(move || async move { test(Watched::new(&links, mode).await?).await }).await
}

/// The hardware address of a link.
async fn mac(namespace: &Namespace, link: &str) -> Result<[u8; 6]> {
    let name = link.to_owned();
    let ask = move || async move {
        let found = netlink()?.link().get().match_name(name).execute().try_next().await?.context("no such link")?;
        let address = found.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(address) => address.try_into().ok(),
            _ => None,
        });
        address.context("no hardware address")
    };
    namespace.run(ask).await
}

async fn check_rows(topology: Topology, bridge: Option<&str>) -> Result<()> {
    let lab = topology.build().await?;
    let pods = two_pods(&lab).await?;
    let decision = watch(&lab, &pods, AttachMode::Auto, async |mut watched| watched.decide().await).await?;
    assert_eq!((decision.pods, decision.left_out), (Vec::new(), Vec::new()), "nothing is in the way");
    let addresses: BTreeSet<IpAddr> = pods.iter().flat_map(|pod| Family::ALL.map(|family| pod.address(family))).collect();
    assert_eq!(decision.rows.keys().copied().collect::<BTreeSet<_>>(), addresses);
    let node = lab.node().namespace();
    for pod in &pods {
        let link = pod.link();
        for family in Family::ALL {
            let expected = Row {
                addr: pod.address(family).into(),
                link: node.link_index(&link).await?,
                mtu: 1500,
                destination: mac(pod.namespace(), "eth0").await?,
                source: mac(node, bridge.unwrap_or(&link)).await?,
                reserved: 0,
            };
            assert_eq!(decision.rows[&pod.address(family)], expected, "{}, {family}", pod.name());
        }
    }
    Ok(())
}

#[tokio::test]
async fn pods_on_links_of_their_own_are_found() -> Result<()> {
    check_rows(Topology::point_to_point(), None).await
}

#[tokio::test]
async fn pods_on_a_bridge_are_found_at_their_ports() -> Result<()> {
    check_rows(Topology::bridge(), Some("cni0")).await
}

#[tokio::test]
async fn the_links_to_other_nodes_are_found() -> Result<()> {
    for (topology, expected) in [
        (Topology::point_to_point(), &[][..]),
        (Topology::two_nodes(), &["uplink"]),
        (Topology::two_nodes_with_vxlan(), &["uplink", "vxlan0"]),
    ] {
        let lab = topology.build().await?;
        let pods = two_pods(&lab).await?;
        let decision = watch(&lab, &pods, AttachMode::Auto, async |mut watched| watched.decide().await).await?;
        assert_eq!(decision.uplinks.values().collect::<Vec<_>>(), expected, "{topology}");
        assert_eq!(decision.nodes.is_empty(), !expected.is_empty(), "{topology}: {:?}", decision.nodes);
    }
    Ok(())
}

/// Rules come and go: each change is told of, and seen.
#[tokio::test]
async fn rules_of_nf_tables_are_seen_as_they_come_and_go() -> Result<()> {
    let lab = Topology::bridge().build().await?;
    let pods = two_pods(&lab).await?;
    watch(&lab, &pods, AttachMode::Auto, async |mut watched| {
        let mut events = Events::open()?;
        assert_eq!(watched.obstacles().await?, Vec::<String>::new());
        netfilter::add_table(false)?;
        assert!(tokio::time::timeout(PATIENCE, events.changed()).await?);
        assert_eq!(watched.obstacles().await?, Vec::<String>::new(), "a chain without rules does nothing");
        netfilter::remove_table()?;
        netfilter::add_table(true)?;
        let chain = format!("nftables: table inet {}, chain {} has 1 rule", netfilter::TABLE, netfilter::CHAIN);
        assert_eq!(watched.obstacles().await?, [chain]);
        netfilter::remove_table()?;
        assert_eq!(watched.obstacles().await?, Vec::<String>::new());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn policies_of_ipsec_and_routing_rules_are_seen() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let pods = two_pods(&lab).await?;
    watch(&lab, &pods, AttachMode::Auto, async |mut watched| {
        netfilter::add_xfrm_policy()?;
        assert_eq!(watched.obstacles().await?, ["IPsec (ip xfrm policy) has 1 policy"]);
        let mut rule = netlink()?.rule().add().v6().table_id(77).priority(50);
        rule.message_mut().header.action = rtnetlink::packet_route::rule::RuleAction::ToTable;
        rule.execute().await?;
        assert_eq!(watched.obstacles().await?[1..], ["routing rule 50 to table 77 may send packets another way"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_node_that_forwards_one_family_has_pods_of_that_one() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let pods = two_pods(&lab).await?;
    lab.node().namespace().set_sysctl("ipv4/ip_forward", "0").await?;
    let decision = watch(&lab, &pods, AttachMode::Auto, async |mut watched| watched.decide().await).await?;
    assert!(decision.rows.keys().all(IpAddr::is_ipv6) && decision.rows.len() == 2, "{:?}", decision.rows.keys());
    Ok(())
}

/// Each takes out the pod that it concerns, and no other.
#[tokio::test]
async fn programs_filters_and_queues_of_others_are_seen_on_their_link() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let pods = two_pods(&lab).await?;
    let others = Family::ALL.map(|family| pods[1].address(family));
    let named = format!("link {} has ", pods[0].link());
    let seen = watch(&lab, &pods, AttachMode::Auto, async move |mut watched| {
        let index = *watched.links.all.first().context("a link")?;
        assert_eq!(watched.left_out().await?, Vec::<String>::new());
        let mut seen = Vec::new();

        let mut other = attacher(AttachMode::Tcx)?;
        other.attach(index).await?;
        seen.extend(watched.left_out().await?);
        other.detach_all().await;

        let mut other = attacher(AttachMode::Clsact)?;
        other.attach(index).await?;
        assert_eq!(watched.left_out().await?, Vec::<String>::new(), "those with our number are ours");
        let handle = netlink()?;
        add_other_filter(&handle, index, TcHandle::MIN_EGRESS).await?;
        seen.extend(watched.left_out().await?);
        other.detach_all().await;
        crate::attach::remove_clsact(&handle, index).await?;
        assert_eq!(watched.left_out().await?, Vec::<String>::new());

        let queue = message(index, TcHandle::ROOT, TcHandle { major: 1, minor: 0 }, "pfifo");
        request(&handle, RouteNetlinkMessage::NewQueueDiscipline(queue), NLM_F_CREATE | NLM_F_EXCL).await?;
        assert!(watched.decide().await?.rows.keys().eq(&others), "the other pod stays");
        seen.extend(watched.left_out().await?);
        watched.attacher.detach_all().await;
        Ok(seen)
    });
    let seen = seen.await?;
    let expected = ["tcx program", "a tc filter of the kind bpf on egress", "a queue of the kind pfifo"];
    assert_eq!(seen.len(), expected.len(), "{seen:?}");
    for (seen, expected) in seen.iter().zip(expected) {
        assert!(seen.starts_with(&named) && seen.contains(expected), "{seen}");
    }
    Ok(())
}
