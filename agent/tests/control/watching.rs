//! The watch of the API, through HTTP, with an API server that misbehaves.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use viaduct::watch::{ClientError, ClientOptions, connect};

use crate::api_server::{ApiServer, SERVICES, SLICES};
use crate::rig::Rig;

fn service(name: &str, ip: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "clusterIP": ip, "clusterIPs": [ip], "ports": [{ "port": 80 }] } })
}

fn slice(name: &str, service: &str, hosts: &[&str]) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4",
        "ports": [{ "name": "", "port": 8080, "protocol": "TCP" }],
        "endpoints": hosts.iter().map(|host| json!({ "addresses": [host] })).collect::<Vec<_>>(),
    })
}

async fn server() -> ApiServer {
    let server = ApiServer::start().await;
    server.put(SERVICES, service("web", "10.96.0.1"));
    server.put(SLICES, slice("web-1", "web", &["10.1.0.1"]));
    server
}

async fn watch(server: &ApiServer) -> Rig {
    let options = ClientOptions { kubeconfig: None, api_server: Some(server.url()) };
    let client = connect(&options).await.unwrap();
    Rig::new(|events| viaduct::watch::run(client, events))
}

type Row<'a> = (&'a str, &'a [&'a str]);
const ONE: Row<'_> = ("10.96.0.1:80/TCP", &["10.1.0.1:8080/TCP"]);
const TWO: Row<'_> = ("10.96.0.1:80/TCP", &["10.1.0.1:8080/TCP", "10.1.0.2:8080/TCP"]);
const OTHER: Row<'_> = ("10.96.0.2:80/TCP", &[]);

#[tokio::test]
async fn what_the_server_lists_and_then_tells_is_programmed() {
    let server = server().await;
    let mut rig = watch(&server).await;
    rig.until(&[ONE]).await;
    let begin = Instant::now();
    server.put(SLICES, slice("web-1", "web", &["10.1.0.1", "10.1.0.2"]));
    rig.until(&[TWO]).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "a change is programmed at once");
    server.put(SERVICES, service("other", "10.96.0.2"));
    rig.until(&[TWO, OTHER]).await;
    server.delete(SERVICES, "web");
    rig.until(&[OTHER]).await;
}

#[tokio::test]
async fn the_selectors_are_the_reference_s() {
    let server = server().await;
    server.put(SERVICES, service("headless", "None"));
    let mut rig = watch(&server).await;
    rig.until(&[ONE]).await;
    let requests = server.requests();
    let asked = |path: &str, part: &str| {
        requests.iter().filter(|request| request.starts_with(path)).all(|request| request.contains(part))
    };
    assert!(asked(SERVICES, r#""labelSelector": "!service.kubernetes.io/service-proxy-name""#), "{requests:#?}");
    assert!(asked(SERVICES, r#""fieldSelector": "spec.clusterIP!=None""#), "{requests:#?}");
    assert!(asked(SLICES, r#""labelSelector": "!service.kubernetes.io/headless""#), "{requests:#?}");
}

#[tokio::test]
async fn a_service_that_another_proxy_is_asked_to_serve_disappears_until_it_comes_back() {
    let server = server().await;
    let mut rig = watch(&server).await;
    rig.until(&[ONE]).await;
    let mut labelled = service("web", "10.96.0.1");
    labelled["metadata"]["labels"] = json!({ "service.kubernetes.io/service-proxy-name": "other" });
    server.put(SERVICES, labelled);
    rig.until(&[]).await;
    server.put(SERVICES, service("web", "10.96.0.1"));
    rig.until(&[ONE]).await;
}

#[tokio::test]
async fn nothing_is_programmed_before_both_kinds_were_listed() {
    let server = server().await;
    server.fail(SLICES, &[500, 403]);
    let mut rig = watch(&server).await;
    rig.follow().await;
    assert!(rig.targets().is_empty(), "Services alone would refuse everything");
    rig.until(&[ONE]).await;
}

#[tokio::test]
async fn a_watch_that_is_cut_in_the_middle_of_an_object_goes_on_where_it_stood() {
    let server = server().await;
    let mut rig = watch(&server).await;
    rig.until(&[ONE]).await;
    server.cut(SLICES);
    server.put(SLICES, slice("web-1", "web", &["10.1.0.1", "10.1.0.2"]));
    rig.until(&[TWO]).await;
    let requests = server.requests();
    let lists = requests.iter().filter(|request| request.starts_with(SLICES) && !request.contains("\"watch\"")).count();
    assert_eq!(lists, 1, "no new list was needed: {requests:#?}");
}

#[tokio::test]
async fn a_bookmark_moves_the_place_from_which_a_watch_goes_on() {
    let server = server().await;
    let mut rig = watch(&server).await;
    rig.until(&[ONE]).await;
    let watches =
        || server.requests().iter().filter(|request| request.starts_with(SLICES) && request.contains("\"watch\"")).count();
    while watches() < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let version = server.bookmark(SLICES);
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.cut(SLICES);
    server.put(SLICES, slice("web-1", "web", &["10.1.0.1", "10.1.0.2"]));
    rig.until(&[TWO]).await;
    let requests = server.requests();
    assert!(requests.last().unwrap().contains(&format!("\"resourceVersion\": \"{version}\"")), "{requests:#?}");
}

#[tokio::test]
async fn deletions_that_were_missed_are_found_when_the_server_has_forgotten_the_version() {
    let server = server().await;
    server.put(SERVICES, service("other", "10.96.0.2"));
    let mut rig = watch(&server).await;
    rig.until(&[ONE, OTHER]).await;
    server.cut(SERVICES);
    server.delete(SERVICES, "web");
    server.expire(SERVICES);
    rig.until(&[OTHER]).await;
}

#[tokio::test]
async fn a_watch_that_is_told_410_lists_again() {
    let server = server().await;
    let mut rig = watch(&server).await;
    rig.until(&[ONE]).await;
    server.expire(SLICES);
    server.put(SLICES, slice("web-1", "web", &["10.1.0.1", "10.1.0.2"]));
    rig.until(&[TWO]).await;
}

#[tokio::test]
async fn what_was_programmed_stays_while_the_server_is_away() {
    let server = server().await;
    let mut rig = watch(&server).await;
    rig.until(&[ONE]).await;
    server.set_down(true);
    server.put(SLICES, slice("web-1", "web", &["10.1.0.1", "10.1.0.2"]));
    rig.stays(&[ONE]).await;
    server.set_down(false);
    rig.until(&[TWO]).await;
}

#[tokio::test]
async fn one_bad_object_breaks_neither_list_nor_watch() {
    let server = server().await;
    let mut bad = service("bad", "10.96.0.3");
    bad["spec"]["ports"] = json!("not a list");
    server.put(SERVICES, bad.clone());
    let mut rig = watch(&server).await;
    rig.until(&[ONE]).await;
    server.put(SERVICES, service("bad", "10.96.0.2"));
    rig.until(&[ONE, OTHER]).await;
    server.put(SERVICES, bad);
    rig.follow().await;
    let told = rig.told();
    assert!(told.len() == 1 && told[0].starts_with("Service default/bad: spec.ports: invalid type: string"), "{told:?}");
    rig.stays(&[ONE, OTHER]).await;
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
async fn a_kubeconfig_names_the_server_and_the_override_wins() {
    let server = server().await;
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("kubeconfig");
    let write = |url: &str| {
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": url } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "users": [{ "name": "test", "user": {} }],
        });
        std::fs::write(&path, text.to_string()).unwrap();
    };
    for (written, over) in [(server.url(), None), ("http://127.0.0.1:1".into(), Some(server.url()))] {
        write(&written);
        let client = connect(&ClientOptions { kubeconfig: Some(path.clone()), api_server: over }).await.unwrap();
        let mut rig = Rig::new(|events| viaduct::watch::run(client, events));
        rig.until(&[ONE]).await;
    }
}
