//! `ClientIP` affinity: a client comes back to the backend that it had.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rstest::rstest;
use tokio::time::sleep;
use viaduct_lab::{Dial, Failure, Family, Pod, Tally, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::service::{PORT, Service};

/// How often the e2e suite connects.
const ROW: usize = 15;
const HOUR: Option<u32> = Some(3_600);
/// Ports of the Service whose affinities end: so many that not all can choose the same again by chance.
const PORTS: [(&str, u16); 8] = [
    ("TCP", PORT),
    ("TCP", PORT + 1),
    ("TCP", PORT + 2),
    ("TCP", PORT + 3),
    ("UDP", PORT),
    ("UDP", PORT + 1),
    ("UDP", PORT + 2),
    ("UDP", PORT + 3),
];
/// Timeout in the test that waits for its end, in seconds.
const SHORT: u32 = 3;

/// Asks many times, each time from another port of the client.
async fn ask_in_a_row(client: &Pod, service: &Service, family: Family, transport: &str) -> Result<Tally> {
    let dial = service.dial(family);
    let tally = if transport == "TCP" { client.ask_often(dial, ROW).await? } else { client.ask_udp_often(dial, ROW).await? };
    assert_eq!(tally.failures(), 0, "{transport}, {family}: {tally}");
    Ok(tally)
}

/// Asks many times and expects one and the same server; its name.
async fn the_one_server(client: &Pod, service: &Service, family: Family, transport: &str) -> Result<String> {
    let tally = ask_in_a_row(client, service, family, transport).await?;
    assert_eq!(tally.answers.len(), 1, "{transport}, {family}: {tally}");
    tally.answers.into_keys().next().context("nobody")
}

/// Both transports over both families.
fn ways() -> impl Iterator<Item = (Family, &'static str)> {
    Family::ALL.into_iter().flat_map(|family| ["TCP", "UDP"].map(|transport| (family, transport)))
}

async fn sticks(setup: Setup) -> Result<()> {
    let cluster = Cluster::start(setup).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(4).await?);
    cluster.expose(&service, &client).await?;
    cluster.apply(&service.affinity(HOUR)).await?;
    for (family, transport) in ways() {
        let server = the_one_server(&client, &service, family, transport).await?;
        assert_eq!(the_one_server(&client, &service, family, transport).await?, server, "{transport}, {family}");
    }
    cluster.apply(&service).await?;
    for (family, transport) in ways() {
        let tally = ask_in_a_row(&client, &service, family, transport).await?;
        assert!(tally.answers.len() > 1, "switched off, {transport}, {family}: {tally}");
    }
    cluster.apply(&service.affinity(HOUR)).await?;
    for (family, transport) in ways() {
        the_one_server(&client, &service, family, transport).await?;
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn fifteen_in_a_row_and_switched_off_and_on_again(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    sticks(way.on(Topology::point_to_point())).await
}

#[rstest]
#[tokio::test]
async fn fifteen_in_a_row_on_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    sticks(way.on(Topology::two_nodes())).await
}

#[rstest]
#[tokio::test]
async fn a_backend_that_goes_away_is_not_asked_for(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::bridge())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(4).await?;
    let whole = Service::new("web", 1).affinity(HOUR).with(&pods);
    cluster.apply(&whole).await?;
    for family in Family::ALL {
        // New connections, and by then a link of the client that is ready.
        cluster.until("the client is served", async || Ok(client.ask(whole.dial(family)).await.is_ok())).await?;
    }
    for (family, transport) in ways() {
        let first = the_one_server(&client, &whole, family, transport).await?;
        cluster.apply(&whole.with(pods.iter().filter(|pod| pod.name() != first))).await?;
        let second = the_one_server(&client, &whole, family, transport).await?;
        assert_ne!(second, first, "{transport}, {family}");
        cluster.apply(&whole).await?;
        let third = the_one_server(&client, &whole, family, transport).await?;
        assert_eq!(third, second, "the first one came back: {transport}, {family}");
    }
    Ok(())
}

/// What one affinity of the client holds.
struct Held {
    dial: Dial,
    transport: &'static str,
    server: String,
    /// When it was renewed: not before this moment.
    from: Instant,
    /// Not after this one.
    to: Instant,
}

impl Held {
    async fn ask(client: &Pod, dial: Dial, transport: &'static str) -> Result<Self, Failure> {
        let from = Instant::now();
        let server = if transport == "TCP" { client.ask(dial).await? } else { client.ask_udp(dial).await? };
        Ok(Self { dial, transport, server, from, to: Instant::now() })
    }

    /// Asks again; true if the same server answered.
    async fn renew(&mut self, client: &Pod) -> Result<bool, Failure> {
        let next = Self::ask(client, self.dial, self.transport).await?;
        let timeout = Duration::from_secs(SHORT.into());
        let is_same = next.server == self.server;
        // On a busy machine too much time may have gone by.
        let within_time = next.to - self.from < timeout;
        assert!(is_same || !within_time, "{} {}: {} was before {}", self.transport, self.dial.to, self.server, next.server);
        *self = next;
        Ok(is_same)
    }
}

/// One affinity for each port and family.
async fn hold_all(client: &Pod, service: &Service) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for (transport, port) in PORTS {
        for family in Family::ALL {
            let mut dial = service.dial(family);
            dial.to.set_port(port);
            held.push(Held::ask(client, dial, transport).await?);
        }
    }
    Ok(held)
}

#[rstest]
#[tokio::test]
async fn it_ends_after_silence_and_each_port_has_its_own(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).on(&PORTS).affinity(Some(SHORT)).with(&cluster.backends(4).await?);
    cluster.apply(&service).await?;
    for family in Family::ALL {
        cluster.until("the client is served", async || Ok(client.ask(service.dial(family)).await.is_ok())).await?;
    }
    let mut held = hold_all(&client, &service).await?;
    let first = &held[0].server;
    assert!(held.iter().any(|other| other.server != *first), "every port leads to {first}");
    // Renewed again and again it lasts for longer than the timeout.
    for _ in 0..3 {
        sleep(Duration::from_millis(1_400)).await;
        for one in &mut held {
            one.renew(&client).await?;
        }
    }
    // Packets of a connection renew nothing.
    let mut conversation = client.open(service.dial(Family::V4)).await?;
    for _ in 0..SHORT * 10 {
        sleep(Duration::from_millis(105)).await;
        conversation.ping().await?;
    }
    let mut changed = 0;
    for one in &mut held {
        assert!(one.to.elapsed() > Duration::from_secs(SHORT.into()));
        changed += usize::from(!one.renew(&client).await?);
    }
    assert!(changed > 0, "no affinity of {} ended; {}", held.len(), cluster.last_words());
    Ok(())
}
