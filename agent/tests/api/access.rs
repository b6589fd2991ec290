//! Who is let in, and what is said to who is not.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use viaduct::watch::{ClientError, ClientOptions, connect};
use viaduct_apiserver::{Access, ApiServer, Authority, Credentials, Fault, Options, Resource, Status, Verb};

use crate::objects::{ONE, TWO, one, two, web};
use crate::rig::{PATIENCE, Rig};

async fn server(options: Options) -> ApiServer {
    let server = ApiServer::start(options).await.unwrap();
    server.apply(web()).unwrap();
    server.apply(one()).unwrap();
    server
}

fn with_kubeconfig(path: &Path) -> ClientOptions {
    ClientOptions { kubeconfig: Some(path.to_owned()), api_server: None }
}

#[tokio::test]
async fn a_kubeconfig_with_a_client_certificate_is_let_in() {
    let server = server(Options { tls: true, access: Access::Certificate, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let rig = Rig::start(with_kubeconfig(&server.kubeconfig(folder.path()).unwrap())).await;
    rig.until(&[ONE]).await;
    server.apply(two()).unwrap();
    rig.until(&[TWO]).await;
}

#[tokio::test]
async fn a_client_without_its_certificate_is_told_so() {
    let server = server(Options { tls: true, access: Access::Certificate, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let nobody = Credentials { identity: None, ..server.credentials().unwrap() };
    let rig = Rig::start(with_kubeconfig(&nobody.write(folder.path()).unwrap())).await;
    rig.logged(&["WARN", "the API server does not know this agent", "401: Unauthorized"]).await;
    // Files are read again at each try.
    server.kubeconfig(folder.path()).unwrap();
    rig.until(&[ONE]).await;
    rig.logged(&["INFO", "the API server answers again"]).await;
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_trusted() {
    let server = server(Options { tls: true, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let stranger = Authority::new().unwrap().certificate().to_owned();
    let fooled = Credentials { authority: Some(stranger), ..server.credentials().unwrap() };
    let rig = Rig::start(with_kubeconfig(&fooled.write(folder.path()).unwrap())).await;
    rig.logged(&["WARN", "do not trust each other", "authority", "clock", "certificate"]).await;
    rig.counted(r#"viaduct_watch_failures_total{kind="Service",reason="tls"}"#, 1.0).await;
    assert!(server.requests().is_empty() && rig.store.targets().is_empty());
    server.kubeconfig(folder.path()).unwrap();
    rig.until(&[ONE]).await;
}

#[tokio::test]
async fn a_token_that_was_replaced_is_read_again() {
    let access = Access::Token("first".into());
    let server = server(Options { tls: true, access, ..Options::default() }).await;
    let folder = TempDir::new().unwrap();
    let rig = Rig::start(with_kubeconfig(&server.kubeconfig(folder.path()).unwrap())).await;
    rig.until(&[ONE]).await;
    server.set_token("second");
    fs::write(folder.path().join(Credentials::TOKEN), "second").unwrap();
    server.apply(two()).unwrap();
    for resource in [Resource::Services, Resource::EndpointSlices] {
        server.break_watches(resource, true);
    }
    rig.until(&[TWO]).await;
}

#[tokio::test]
async fn a_kubeconfig_names_the_server_and_the_override_wins() {
    let server = server(Options::default()).await;
    let folder = TempDir::new().unwrap();
    let elsewhere = Credentials { server: "http://127.0.0.1:1".into(), ..server.credentials().unwrap() };
    let kubeconfig = elsewhere.write(folder.path()).unwrap();
    let rig = Rig::start(ClientOptions { kubeconfig: Some(kubeconfig), api_server: Some(server.url()) }).await;
    rig.until(&[ONE]).await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_told_with_what_to_do() {
    let with = |kubeconfig: Option<&str>, url: Option<&str>| ClientOptions {
        kubeconfig: kubeconfig.map(Into::into),
        api_server: url.map(Into::into),
    };
    let told = connect(&with(None, Some("api.example:6443"))).await.err().unwrap();
    assert!(matches!(told, ClientError::Url { .. }) && told.to_string().contains("--api-server https://HOST:PORT"), "{told}");
    let told = connect(&with(Some("/nowhere/kubeconfig"), None)).await.err().unwrap();
    assert!(matches!(told, ClientError::Kubeconfig { .. }) && told.to_string().contains("/nowhere/kubeconfig"), "{told}");
    let told = connect(&with(None, None)).await.err().unwrap();
    assert!(matches!(told, ClientError::NotInCluster(_)) && told.to_string().contains("--manifests"), "{told}");
}

#[tokio::test]
async fn a_cluster_without_service_cidrs_is_served_and_asked_again_now_and_then() {
    let server = server(Options { service_cidrs: false, ..Options::default() }).await;
    let rig = Rig::start(ClientOptions { kubeconfig: None, api_server: Some(server.url()) }).await;
    rig.until(&[ONE]).await;
    rig.logged(&["INFO", "ServiceCIDR", "the node is served without"]).await;
    while server.count(Resource::ServiceCidrs, Verb::List) < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(rig.lines(&["ServiceCIDR", "served without"]), 1, "it is said once");
    assert_eq!(rig.lines(&["WARN"]), 0);
    let text = rig.metrics().render().unwrap();
    assert!(text.contains(r#"viaduct_watch_connected{kind="Node"} 1"#), "{text}");
    assert!(!text.contains(r#"viaduct_watch_connected{kind="ServiceCIDR"}"#), "an alert would fire for nothing");
}

#[tokio::test]
async fn a_role_that_shows_services_and_slices_alone_is_enough_to_be_served() {
    let server = server(Options::default()).await;
    for resource in [Resource::Nodes, Resource::ServiceCidrs] {
        server.fault(resource, Verb::List, usize::MAX, Fault::Answer(Status::forbidden("list", resource)));
    }
    let rig = Rig::start(ClientOptions { kubeconfig: None, api_server: Some(server.url()) }).await;
    rig.until(&[ONE]).await;
    rig.logged(&["WARN", "Node", "does not show this kind", "the node is served without it"]).await;
    rig.logged(&["WARN", "ServiceCIDR", "does not show this kind"]).await;
}

#[tokio::test]
async fn network_policies_are_known_by_name_as_they_come_and_go() {
    let server = server(Options::default()).await;
    let mut rig = Rig::start(ClientOptions { kubeconfig: None, api_server: Some(server.url()) }).await;
    rig.until_policies(Some(&[])).await;
    server.apply(policy("deny")).unwrap();
    rig.until_policies(Some(&["shop/deny"])).await;
    assert!(server.delete(Resource::NetworkPolicies, "shop", "deny"));
    rig.until_policies(Some(&[])).await;
}

/// Whether there are any is not known then, which is not the same as that there are none.
#[tokio::test]
async fn network_policies_that_are_not_shown_keep_nobody_waiting_and_count_as_unknown() {
    let server = server(Options::default()).await;
    let resource = Resource::NetworkPolicies;
    server.fault(resource, Verb::List, usize::MAX, Fault::Answer(Status::forbidden("list", resource)));
    let mut rig = Rig::start(ClientOptions { kubeconfig: None, api_server: Some(server.url()) }).await;
    rig.until(&[ONE]).await;
    rig.logged(&["WARN", "NetworkPolicy", "does not show this kind"]).await;
    tokio::time::timeout(PATIENCE, rig.policies.changed()).await.expect("news of them").expect("the loop runs");
    rig.until_policies(None).await;
}

fn policy(name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "namespace": "shop", "name": name },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress"] },
    })
}
