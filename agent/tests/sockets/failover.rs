//! UDP flows leave a backend that serves no longer, in each way that it can go: one socket that keeps sending is answered
//! by who serves, with no datagram lost and none to the old backend once the change is programmed.

use std::time::Duration;

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Failure, Family, Pod, Topology};

use crate::caller::{Caller, Outcome};
use crate::cluster::{Cluster, Setup, Way};
use crate::endpoint::Endpoint;
use crate::service::{PORT, Service};

/// A Service with two pods, of which none serves it yet, and a client.
struct Stage {
    cluster: Cluster,
    client: Pod,
    pods: Vec<Pod>,
    service: Service,
    callers: Vec<Caller>,
}

impl Stage {
    /// A client that calls a Service with these endpoints.
    async fn set(setup: Setup, endpoints: impl FnOnce(&[Pod]) -> Vec<Endpoint>) -> Result<Self> {
        let cluster = Cluster::start(setup).await?;
        let client = cluster.client().await?;
        let pods = cluster.backends(2).await?;
        let service = Service::new("web", 1).with(endpoints(&pods));
        if service.servers().is_empty() {
            cluster.expose_refusing(&service, &client).await?;
        } else {
            cluster.expose(&service, &client).await?;
        }
        let mut stage = Self { cluster, client, pods, service, callers: Vec::new() };
        stage.call().await?;
        Ok(stage)
    }

    async fn call(&mut self) -> Result<()> {
        for family in Family::ALL {
            self.callers.push(Caller::start(&self.client, self.service.dial(family)).await?);
        }
        Ok(())
    }

    /// The Service has these endpoints now.
    async fn change(&self, endpoints: impl IntoIterator<Item = Endpoint>) -> Result<()> {
        self.cluster.apply(&self.service.with(endpoints)).await
    }

    /// The sockets that were there before the change are answered like that now.
    async fn assert_now(&mut self, expected: &Expected, what: &str) -> Result<()> {
        for caller in &mut self.callers {
            assert_eq!(caller.next().await?, outcome(expected), "{what}; {}", self.cluster.last_words());
        }
        Ok(())
    }

    /// New sockets are all answered like that.
    async fn assert_new(&self, expected: &Expected, what: &str) -> Result<()> {
        for family in Family::ALL {
            for _ in 0..10 {
                assert_eq!(self.client.ask_udp(self.service.dial(family)).await, outcome(expected), "{what}, {family}");
            }
        }
        Ok(())
    }

    /// The sockets that were there all the time saw this, in this order, and nothing else.
    fn assert_saw(&self, expected: &[Expected]) {
        let expected: Vec<_> = expected.iter().map(outcome).collect();
        for caller in &self.callers {
            assert_eq!(caller.outcomes(), expected, "{}", self.cluster.last_words());
        }
    }
}

/// An [`Outcome`] as tests write it.
type Expected = Result<&'static str, Failure>;

const REFUSED: Expected = Err(Failure::Refused);

fn outcome(expected: &Expected) -> Outcome {
    expected.clone().map(str::to_owned)
}

#[rstest]
#[tokio::test]
async fn the_backend_is_deleted(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut stage = Stage::set(way.on(Topology::point_to_point()), |pods| vec![(&pods[0]).into()]).await?;
    let [first, second] = [0, 1].map(|index| Endpoint::from(&stage.pods[index]));
    stage.change([first, second.clone()]).await?;
    stage.assert_now(&Ok("b1"), "another backend came").await?;
    stage.change([second]).await?;
    stage.assert_now(&Ok("b2"), "the first one went").await?;
    stage.assert_new(&Ok("b2"), "the first one went").await?;
    stage.assert_saw(&[Ok("b1"), Ok("b2")]);
    Ok(())
}

#[rstest]
#[tokio::test]
async fn the_backend_is_replaced(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut stage = Stage::set(way.on(Topology::two_nodes()), |pods| vec![(&pods[0]).into()]).await?;
    stage.change([(&stage.pods[1]).into()]).await?;
    stage.assert_now(&Ok("b2"), "replaced").await?;
    // And back, to an endpoint that flows of before had left.
    stage.change([(&stage.pods[0]).into()]).await?;
    stage.assert_now(&Ok("b1"), "replaced again").await?;
    stage.assert_saw(&[Ok("b1"), Ok("b2"), Ok("b1")]);
    Ok(())
}

#[rstest]
#[tokio::test]
async fn the_backend_becomes_unready(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut stage = Stage::set(way.on(Topology::point_to_point()), |pods| vec![(&pods[0]).into()]).await?;
    let (first, second) = (stage.pods[0].clone(), stage.pods[1].clone());
    stage.change([Endpoint::unready(&first), (&second).into()]).await?;
    stage.assert_now(&Ok("b2"), "unready").await?;
    stage.change([(&first).into(), (&second).into()]).await?;
    stage.assert_now(&Ok("b2"), "ready again: nobody comes back by force").await?;
    stage.assert_saw(&[Ok("b1"), Ok("b2")]);
    Ok(())
}

#[rstest]
#[tokio::test]
async fn the_backend_terminates(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut stage = Stage::set(way.on(Topology::bridge()), |pods| vec![(&pods[0]).into()]).await?;
    let (first, second) = (stage.pods[0].clone(), stage.pods[1].clone());
    stage.change([Endpoint::terminating(&first), (&second).into()]).await?;
    stage.assert_now(&Ok("b1"), "terminating, and it still serves").await?;
    stage.assert_new(&Ok("b2"), "terminating").await?;
    stage.change([Endpoint::ending(&first), (&second).into()]).await?;
    stage.assert_now(&Ok("b2"), "it serves no longer").await?;
    stage.change([(&second).into()]).await?;
    stage.assert_now(&Ok("b2"), "gone").await?;
    stage.assert_saw(&[Ok("b1"), Ok("b2")]);
    Ok(())
}

#[rstest]
#[tokio::test]
async fn no_backend_is_left_and_one_comes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut stage = Stage::set(way.on(Topology::point_to_point()), |pods| vec![(&pods[0]).into()]).await?;
    let (first, second) = (stage.pods[0].clone(), stage.pods[1].clone());
    stage.change([Endpoint::unready(&first)]).await?;
    stage.assert_now(&Ok("b1"), "nobody serves: the flow stays").await?;
    stage.assert_new(&REFUSED, "nobody serves").await?;
    stage.change([]).await?;
    stage.assert_now(&Ok("b1"), "no endpoint: the flow stays").await?;
    stage.assert_new(&REFUSED, "no endpoint").await?;
    stage.change([(&second).into()]).await?;
    stage.assert_now(&Ok("b2"), "one came").await?;
    stage.assert_saw(&[Ok("b1"), Ok("b2")]);
    Ok(())
}

#[rstest]
#[tokio::test]
async fn the_client_was_there_before_the_first_backend(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut stage = Stage::set(way.on(Topology::point_to_point()), |_| Vec::new()).await?;
    stage.assert_now(&REFUSED, "no endpoint yet").await?;
    stage.change([(&stage.pods[0]).into()]).await?;
    stage.assert_now(&Ok("b1"), "the first endpoint").await?;
    stage.assert_saw(&[REFUSED, Ok("b1")]);
    Ok(())
}

#[rstest]
#[tokio::test]
async fn the_client_was_there_before_the_service(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(1).await?;
    // Another one shows that the agent is at work.
    cluster.expose(&Service::new("other", 2).with(&pods), &client).await?;
    let service = Service::new("web", 1).with(&pods);
    let mut callers = Vec::new();
    for family in Family::ALL {
        callers.push(Caller::start(&client, service.dial(family).patience(Duration::from_millis(500))).await?);
    }
    for caller in &mut callers {
        assert_eq!(caller.next().await?, Err(Failure::TimedOut));
    }
    cluster.apply(&service).await?;
    for caller in &mut callers {
        assert_eq!(caller.next().await?, Ok("b1".into()), "{}", cluster.last_words());
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn the_vip_is_given_to_another_service(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut stage = Stage::set(way.on(Topology::point_to_point()), |pods| vec![(&pods[0]).into()]).await?;
    let heir = Service::new("heir", 1).with([&stage.pods[1]]);
    // One change of one file: the VIP is never nobody's.
    stage.cluster.programmed(|| stage.cluster.write_file("web", &heir.manifest())).await?;
    stage.assert_now(&Ok("b2"), "handed over").await?;
    stage.assert_new(&Ok("b2"), "handed over").await?;
    stage.assert_saw(&[Ok("b1"), Ok("b2")]);
    Ok(())
}

#[rstest]
#[tokio::test]
async fn the_port_gets_another_number(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut stage = Stage::set(way.on(Topology::point_to_point()), |pods| vec![(&pods[0]).into()]).await?;
    let renumbered = stage.service.on(&[("TCP", PORT), ("UDP", PORT + 1)]);
    stage.cluster.apply(&renumbered).await?;
    stage.assert_now(&REFUSED, "the port is not there any more").await?;
    for family in Family::ALL {
        let mut dial = renumbered.dial(family);
        assert_eq!(stage.client.ask(dial).await, Ok("b1".into()), "TCP stays, {family}");
        dial.to.set_port(PORT + 1);
        assert_eq!(stage.client.ask_udp(dial).await, Ok("b1".into()), "the new number, {family}");
    }
    stage.cluster.apply(&stage.service).await?;
    stage.assert_now(&Ok("b1"), "the old number again").await?;
    stage.assert_saw(&[Ok("b1"), REFUSED, Ok("b1")]);
    Ok(())
}
