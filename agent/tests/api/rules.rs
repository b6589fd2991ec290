//! Rules of watching that hold for every API server: ours, and the real one where there is one.

use serde_json::{Value, json};
use viaduct_apiserver::Resource;

use crate::cluster::Cluster;
use crate::objects::{ONE, OTHER, TWO, one, other, service, slice, two, web};
use crate::rig::Rig;

const SERVICES: Resource = Resource::Services;
const SLICES: Resource = Resource::EndpointSlices;

/// Each cluster with `web` and its slice, and an agent that follows it.
async fn clusters() -> Vec<(Cluster, Rig)> {
    let mut all = Vec::new();
    for cluster in Cluster::all().await {
        cluster.apply(web()).await;
        cluster.apply(one()).await;
        let rig = Rig::start(cluster.options()).await;
        rig.until(&[ONE]).await;
        all.push((cluster, rig));
    }
    all
}

fn with_label(mut object: Value, label: &str, value: &str) -> Value {
    object["metadata"]["labels"][label] = json!(value);
    object
}

#[tokio::test]
async fn what_is_made_changed_and_deleted_is_programmed() {
    for (cluster, rig) in clusters().await {
        cluster.apply(two()).await;
        rig.until(&[TWO]).await;
        cluster.apply(other()).await;
        rig.until(&[TWO, OTHER]).await;
        cluster.delete(SERVICES, "web").await;
        rig.until(&[OTHER]).await;
        cluster.delete(SLICES, "web-1").await;
        cluster.apply(web()).await;
        rig.until(&[OTHER, (ONE.0, &[])]).await;
    }
}

#[tokio::test]
async fn a_service_that_another_proxy_is_asked_to_serve_disappears_until_it_comes_back() {
    for (cluster, rig) in clusters().await {
        cluster.apply(with_label(web(), "service.kubernetes.io/service-proxy-name", "other")).await;
        rig.until(&[]).await;
        cluster.apply(web()).await;
        rig.until(&[ONE]).await;
    }
}

#[tokio::test]
async fn a_slice_that_becomes_headless_disappears_until_it_comes_back() {
    for (cluster, rig) in clusters().await {
        cluster.apply(with_label(one(), "service.kubernetes.io/headless", "")).await;
        rig.until(&[(ONE.0, &[])]).await;
        cluster.apply(one()).await;
        rig.until(&[ONE]).await;
    }
}

#[tokio::test]
async fn the_own_node_is_followed_and_no_other() {
    let (local, remote) = (("nodeName", json!("n1")), ("nodeName", json!("n2")));
    for (cluster, rig) in clusters().await {
        let node = |name: &str, zone: &str| {
            json!({ "kind": "Node", "apiVersion": "v1",
            "metadata": { "name": name, "labels": { "topology.kubernetes.io/zone": zone } } })
        };
        let mut hinted = slice(&["10.1.0.1", "10.1.0.2"]);
        for (i, (zone, node)) in [("a", &local), ("b", &remote)].into_iter().enumerate() {
            hinted["endpoints"][i]["hints"] = json!({ "forZones": [{ "name": zone }] });
            hinted["endpoints"][i][node.0] = node.1.clone();
        }
        cluster.apply(hinted).await;
        cluster.apply(node("n2", "b")).await;
        rig.until(&[TWO]).await;
        cluster.apply(node("n1", "a")).await;
        rig.until(&[ONE]).await;
        cluster.apply(node("n1", "b")).await;
        rig.until(&[(ONE.0, &["10.1.0.2:8080/TCP"])]).await;
        cluster.delete(Resource::Nodes, "n1").await;
        rig.until(&[TWO]).await;
    }
}

/// Only our own server lets such an object pass.
#[tokio::test]
async fn one_bad_object_breaks_neither_list_nor_watch() {
    let Some((Cluster::Scripted(server), rig)) = clusters().await.into_iter().next() else { panic!("ours is the first") };
    let mut bad = service("bad", "10.96.0.13");
    bad["spec"]["ports"] = json!("not a list");
    server.apply(bad.clone()).unwrap();
    rig.logged(&["WARN", "Service default/bad: spec.ports: invalid type: string"]).await;
    server.apply(other()).unwrap();
    rig.until(&[ONE, OTHER]).await;
    let again = Rig::start(viaduct::watch::ClientOptions { kubeconfig: None, api_server: Some(server.url()) }).await;
    again.until(&[ONE, OTHER]).await;
    again.logged(&["WARN", "Service default/bad: spec.ports"]).await;
    server.apply(service("bad", "10.96.0.13")).unwrap();
    again.until(&[ONE, OTHER, ("10.96.0.13:80/TCP", &[])]).await;
    again.logged(&["INFO", "Service default/bad: in order again"]).await;
}
