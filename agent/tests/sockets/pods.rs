//! A plain Service with its Pods, and nobody who writes slices: as a user applies them.

use anyhow::Result;
use viaduct_lab::{Failure, Family, Topology};

use crate::caller::Caller;
use crate::cluster::{Cluster, Way};
use crate::endpoint::Endpoint;
use crate::service::Service;

#[tokio::test]
async fn a_service_with_a_selector_is_served_by_its_pods() -> Result<()> {
    let cluster = Cluster::start(Way::FastPath.on(Topology::two_nodes())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(3).await?;
    let service = Service::new("web", 1).selecting();
    // The stranger's Pod has the label of another Service.
    let stranger = Service::new("stranger", 2).selecting().with(&pods[2..]);
    cluster.expose(&stranger, &client).await?;
    cluster.expose(&service.with(&pods[..2]), &client).await?;

    cluster.apply(&service.with(&pods[..1])).await?;
    let mut callers = Vec::new();
    for family in Family::ALL {
        callers.push(Caller::start(&client, service.dial(family)).await?);
    }
    let [first, second] = [0, 1].map(|index| &pods[index]);
    for (endpoints, what) in [
        ([Endpoint::unready(first), second.into()], "the first is not ready"),
        ([Endpoint::terminating(first), second.into()], "it is being deleted"),
    ] {
        cluster.apply(&service.with(endpoints)).await?;
        for caller in &mut callers {
            assert_eq!(caller.next().await?, Ok("b2".into()), "{what}; {}", cluster.last_words());
        }
        for family in Family::ALL {
            assert_eq!(client.ask(service.dial(family)).await, Ok("b2".into()), "{what}, {family}");
        }
    }
    cluster.apply(&service).await?;
    for family in Family::ALL {
        assert_eq!(client.ask(service.dial(family)).await, Err(Failure::Refused), "no Pod, {family}");
        assert_eq!(client.ask(stranger.dial(family)).await, Ok("b3".into()), "another Service, {family}");
    }
    Ok(())
}
