//! One VIP, one Service after the other; and Services that change what they are.

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Failure, Family, Pod, Topology};

use crate::caller::Caller;
use crate::cluster::{Cluster, Way};
use crate::outside::{OUTSIDE, answer_at, who_answers};
use crate::service::Service;

const VIP: u8 = 1;

/// Both transports over both families end like that, now.
async fn assert_answered(cluster: &Cluster, client: &Pod, expected: Result<String, Failure>, what: &str) -> Result<()> {
    for family in Family::ALL {
        let both = [expected.clone(), expected.clone()];
        assert_eq!(who_answers(client, family, VIP).await?, both, "{what}, {family}; {}", cluster.last_words());
    }
    Ok(())
}

#[tokio::test]
async fn a_service_is_deleted_and_made_anew() -> Result<()> {
    let cluster = Cluster::start(Way::FastPath.on(Topology::two_nodes())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(2).await?;
    let service = Service::new("web", VIP);
    cluster.expose(&service.with(&pods[..1]), &client).await?;
    answer_at(&cluster, VIP, &client).await?;
    let mut callers = Vec::new();
    let mut open = Vec::new();
    for family in Family::ALL {
        callers.push(Caller::start(&client, service.dial(family)).await?);
        open.push(client.open(service.dial(family)).await?);
    }
    for caller in &mut callers {
        assert_eq!(caller.next().await?, Ok("b1".into()));
    }
    cluster.programmed(|| cluster.delete(&service)).await?;
    assert_answered(&cluster, &client, Ok(OUTSIDE.into()), "deleted").await?;
    cluster.apply(&service.with(&pods[1..])).await?;
    assert_answered(&cluster, &client, Ok("b2".into()), "made anew").await?;
    for caller in &mut callers {
        assert_eq!(caller.next().await?, Ok("b2".into()), "a socket of before; {}", cluster.last_words());
    }
    for conversation in &mut open {
        conversation.ping().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_service_becomes_a_name_for_something_elsewhere_and_comes_back() -> Result<()> {
    let cluster = Cluster::start(Way::FastPath.on(Topology::two_nodes())).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", VIP).with(&cluster.backends(1).await?);
    cluster.expose(&service, &client).await?;
    answer_at(&cluster, VIP, &client).await?;
    for _ in 0..2 {
        cluster.programmed(|| cluster.write_file("web", &service.external_name_manifest())).await?;
        assert_answered(&cluster, &client, Ok(OUTSIDE.into()), "ExternalName").await?;
        cluster.apply(&service).await?;
        assert_answered(&cluster, &client, Ok("b1".into()), "ClusterIP").await?;
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn a_pod_moves_from_one_service_to_another(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(2).await?;
    let [first, second] = [("first", 1), ("second", 2)].map(|(name, number)| Service::new(name, number));
    cluster.expose(&first.with(&pods[..1]), &client).await?;
    cluster.expose(&second.with(&pods[1..]), &client).await?;
    let mut callers = Vec::new();
    for service in [&first, &second] {
        for family in Family::ALL {
            callers.push((Caller::start(&client, service.dial(family)).await?, service.name.clone()));
        }
    }
    cluster.apply(&first.with(&pods[1..])).await?;
    cluster.apply(&second.with(&pods[..1])).await?;
    for (caller, service) in &mut callers {
        let expected = if service == "first" { "b2" } else { "b1" };
        assert_eq!(caller.next().await?, Ok(expected.into()), "{service}; {}", cluster.last_words());
    }
    Ok(())
}
