//! Addresses in the cluster's ranges for ClusterIPs that no Service has: nothing leaves for them.

use anyhow::Result;
use serde_json::json;
use viaduct_lab::{Dial, Failure, Family, Pod, Topology};

use crate::cluster::{Cluster, Way};
use crate::outside::{OUTSIDE, answer_at, who_answers};
use crate::service::{PORT, Service};

/// The VIP that somebody outside answers to.
const ELSEWHERE: u8 = 77;

fn ranges() -> String {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": ["10.96.0.0/24", "fd00:96::/112"] },
    })
    .to_string()
}

/// Waits until both transports over both families end like that.
async fn until_answered(cluster: &Cluster, client: &Pod, expected: &Result<String, Failure>) -> Result<()> {
    for family in Family::ALL {
        let what = format!("over {family} the answer is {expected:?}");
        let both = [expected.clone(), expected.clone()];
        cluster.until(&what, async || Ok(who_answers(client, family, ELSEWHERE).await? == both)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn they_are_dropped_where_the_ranges_are_known() -> Result<()> {
    let cluster = Cluster::start(Way::FastPath.on(Topology::two_nodes())).await?;
    let client = cluster.client().await?;
    let backends = cluster.backends(1).await?;
    let service = Service::new("web", 1).with(&backends);
    cluster.expose(&service, &client).await?;
    answer_at(&cluster, ELSEWHERE, &client).await?;
    // Nobody said what the ranges are: this address is foreign.
    until_answered(&cluster, &client, &Ok(OUTSIDE.into())).await?;

    cluster.write_file("ranges", &ranges())?;
    until_answered(&cluster, &client, &Err(Failure::TimedOut)).await?;
    for family in Family::ALL {
        assert_eq!(client.ask(service.dial(family)).await, Ok("b1".into()), "a Service in the range, {family}");
        let unused = Dial::to(service.dial(family).to.ip(), PORT + 1);
        assert_eq!(client.ask(unused).await, Err(Failure::Refused), "an unused port, {family}");
        assert_eq!(client.ask_udp(unused).await, Err(Failure::Refused), "an unused port, {family}");
    }

    let newcomer = Service::new("new", ELSEWHERE).with(&backends);
    cluster.apply(&newcomer).await?;
    until_answered(&cluster, &client, &Ok("b1".into())).await?;
    cluster.programmed(|| cluster.delete(&newcomer)).await?;
    for family in Family::ALL {
        let nobody = Err(Failure::TimedOut);
        assert_eq!(who_answers(&client, family, ELSEWHERE).await?, [nobody.clone(), nobody], "deleted, {family}");
    }

    cluster.delete_file("ranges")?;
    until_answered(&cluster, &client, &Ok(OUTSIDE.into())).await
}
