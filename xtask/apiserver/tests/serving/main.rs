//! The server against what is known of the real one, on the wire.

mod client;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use client::{Watch, ask, get, send};
use serde_json::{Value, json};
use viaduct_apiserver::{Access, ApiServer, Fault, Generator, Options, Resource, Status, Verb};

const SERVICES: &str = "/api/v1/services";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn service(name: &str) -> Value {
    json!({ "kind": "Service", "metadata": { "name": name }, "spec": { "clusterIP": "10.96.0.1" } })
}

async fn server(names: &[&str]) -> Result<ApiServer> {
    let server = ApiServer::start(Options::default()).await?;
    names.iter().try_for_each(|name| server.apply(service(name)).map(drop))?;
    Ok(server)
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn the_pages_of_a_list_show_one_version() -> Result<()> {
    let server = server(&["a", "b", "c"]).await?;
    let (code, first) = get(&server, &format!("{SERVICES}?limit=2")).await?;
    assert_eq!((code, names(&first), &first["metadata"]["remainingItemCount"]), (200, vec!["a", "b"], &json!(1)));
    server.delete(Resource::Services, "default", "c");
    server.apply(service("d"))?;
    let token = first["metadata"]["continue"].as_str().context("there is more")?;
    let (_, second) = get(&server, &format!("{SERVICES}?limit=2&continue={token}")).await?;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(second["metadata"], json!({ "resourceVersion": first["metadata"]["resourceVersion"] }));
    server.compact();
    let (code, expired) = get(&server, &format!("{SERVICES}?limit=2&continue={token}")).await?;
    assert_eq!((code, &expired["reason"]), (410, &json!("Expired")));
    Ok(())
}

#[tokio::test]
async fn a_watch_goes_on_from_its_version_and_tells_what_its_selector_sees() -> Result<()> {
    let server = server(&["a"]).await?;
    let version = get(&server, SERVICES).await?.1["metadata"]["resourceVersion"].as_str().context("it has one")?.to_owned();
    server.apply(service("b"))?;
    let path = format!("{SERVICES}?watch=true&resourceVersion={version}&labelSelector=%21hidden&allowWatchBookmarks=true");
    let mut watch = Watch::open(&server, &path).await?;
    assert_eq!(watch.told().await?, ("ADDED".into(), "b".into(), "102".into()));
    let mut hidden = service("a");
    hidden["metadata"]["labels"] = json!({ "hidden": "" });
    let deleted = server.apply(hidden)?.to_string();
    assert_eq!(watch.told().await?, ("DELETED".into(), "a".into(), deleted), "with the version of the change");
    server.apply(service("a"))?;
    assert_eq!(watch.told().await?.0, "ADDED");
    let version = server.bookmark(Resource::Services).to_string();
    assert_eq!(watch.told().await?, ("BOOKMARK".into(), String::new(), version));
    server.end_watches(Resource::Services);
    assert_eq!(watch.next().await?, None);
    server.compact();
    let event = Watch::open(&server, &path).await?.next().await?.context("it is told of the error")?;
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    Ok(())
}

#[tokio::test]
async fn a_watch_that_begins_with_what_there_is_says_where_that_ends() -> Result<()> {
    let path = format!("{SERVICES}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let old = server(&["a"]).await?;
    assert_eq!(get(&old, &path).await?.0, 422, "a server without the feature");
    let server = ApiServer::start(Options { watch_list: true, ..Options::default() }).await?;
    server.apply(service("a"))?;
    let mut watch = Watch::open(&server, &path).await?;
    assert_eq!(watch.told().await?.1, "a");
    let end = watch.next().await?.context("it goes on")?;
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    Ok(())
}

#[tokio::test]
async fn a_watch_ends_after_its_time() -> Result<()> {
    let server = server(&[]).await?;
    let begin = Instant::now();
    assert_eq!(Watch::open(&server, &format!("{SERVICES}?watch=true&timeoutSeconds=1")).await?.next().await?, None);
    assert!((900..5_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    Ok(())
}

#[tokio::test]
async fn faults_happen_as_often_as_they_were_asked_for() -> Result<()> {
    let server = server(&["a"]).await?;
    let fault = |fault| server.fault(Resource::Services, Verb::List, 1, fault);
    fault(Fault::Answer(Status::too_many_requests(7)));
    let response = send(&server, "GET", SERVICES, "", "").await?;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"7".parse()?));
    for broken in [Fault::Reset(10), Fault::HalfClose(10)] {
        fault(broken.clone());
        assert!(get(&server, SERVICES).await.is_err(), "{broken:?}");
    }
    fault(Fault::Truncate(10));
    assert_eq!(get(&server, SERVICES).await?, (200, json!(r#"{"kind":"S"#)));
    fault(Fault::Silence(10));
    assert!(tokio::time::timeout(Duration::from_millis(200), get(&server, SERVICES)).await.is_err());
    for slow in [Fault::Delay(Duration::from_millis(200)), Fault::Trickle { piece: 16, pause: Duration::from_millis(10) }] {
        fault(slow);
        let begin = Instant::now();
        assert_eq!(names(&get(&server, SERVICES).await?.1), ["a"]);
        assert!(begin.elapsed() > Duration::from_millis(100));
    }
    assert_eq!(names(&get(&server, SERVICES).await?.1), ["a"], "no fault is left");
    Ok(())
}

#[tokio::test]
async fn a_watch_breaks_as_it_is_told_to() -> Result<()> {
    let path = format!("{SERVICES}?watch=true");
    for reset in [true, false] {
        let server = server(&[]).await?;
        let mut watch = Watch::open(&server, &path).await?;
        server.apply(service("a"))?;
        server.break_watches(Resource::Services, reset);
        assert_eq!(watch.told().await?.1, "a");
        assert!(watch.next().await.is_err());
    }
    let server = server(&["a"]).await?;
    let mut watch = Watch::open(&server, &path).await?;
    watch.next().await?;
    server.fail_watches(Resource::Services, &Status::internal());
    assert_eq!(watch.told().await?.0, "ERROR");
    assert_eq!((watch.next().await?, server.watchers(Resource::Services)), (None, 0));
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down_refuses_and_comes_back_at_the_same_address() -> Result<()> {
    let server = server(&["a"]).await?;
    let mut watch = Watch::open(&server, &format!("{SERVICES}?watch=true")).await?;
    watch.next().await?;
    server.go_down();
    assert!(watch.next().await.is_err(), "connections that were open are reset");
    assert!(get(&server, SERVICES).await.is_err());
    server.come_back().await?;
    assert_eq!(names(&get(&server, SERVICES).await?.1), ["a"]);
    Ok(())
}

#[tokio::test]
async fn who_is_not_known_learns_nothing() -> Result<()> {
    let server = ApiServer::start(Options { access: Access::Token("first".into()), ..Options::default() }).await?;
    let code = async |token: &str| anyhow::Ok(send(&server, "GET", SERVICES, token, "").await?.status().as_u16());
    assert_eq!((code("first").await?, code("other").await?), (200, 401));
    server.set_token("second");
    assert_eq!((code("first").await?, code("second").await?), (401, 200));
    Ok(())
}

fn event(note: &str) -> Value {
    json!({
        "metadata": { "name": "web.1" }, "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "R", "action": "A", "type": "Warning",
        "reportingController": "viaduct", "reportingInstance": "n1", "note": note,
        "regarding": { "kind": "Service", "namespace": "default", "name": "web" },
    })
}

#[tokio::test]
async fn events_are_the_only_thing_that_can_be_written_and_they_must_be_valid() -> Result<()> {
    let server = server(&["web"]).await?;
    assert_eq!(ask(&server, "POST", EVENTS, &event("a").to_string()).await?.0, 201);
    assert_eq!(ask(&server, "POST", EVENTS, &event("a").to_string()).await?.0, 409, "the name is taken");
    assert_eq!(ask(&server, "POST", EVENTS, &event(&"x".repeat(1025)).to_string()).await?.0, 422, "the note is too long");
    let series = json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z" } });
    let one = format!("{EVENTS}/web.1");
    assert_eq!(ask(&server, "PATCH", &one, &series.to_string()).await?.0, 200);
    assert_eq!(ask(&server, "PATCH", &one, r#"{"note":"b"}"#).await?.0, 422, "the note is fixed");
    assert_eq!(server.objects(Resource::Events)[0]["series"]["count"], 2);
    assert_eq!(server.violations(), Vec::<String>::new());
    assert_eq!(ask(&server, "DELETE", "/api/v1/namespaces/default/services/web", "").await?.0, 403);
    assert_eq!(server.violations(), ["DELETE /api/v1/namespaces/default/services/web"]);
    Ok(())
}

#[tokio::test]
async fn an_api_that_the_server_does_not_have_is_not_found() -> Result<()> {
    let server = ApiServer::start(Options { service_cidrs: false, ..Options::default() }).await?;
    let absent = (404, json!("404 page not found\n"));
    assert_eq!(get(&server, "/apis/networking.k8s.io/v1/servicecidrs").await?, absent);
    assert_eq!(get(&server, "/api/v1/pods").await?, absent);
    Ok(())
}

#[tokio::test]
async fn a_big_cluster_is_no_burden() -> Result<()> {
    let cluster = Generator { services: 5_000, endpoints: 10 };
    let server = ApiServer::start(Options::default()).await?;
    let begin = Instant::now();
    cluster.objects().try_for_each(|object| server.apply(object).map(drop))?;
    let filled = begin.elapsed();
    let mut watch = Watch::open(&server, "/apis/discovery.k8s.io/v1/endpointslices?watch=true&resourceVersion=10100").await?;
    let begin = Instant::now();
    let mut seen = 0;
    let mut token = String::new();
    loop {
        let (_, page) = get(&server, &format!("{SERVICES}?limit=500&continue={token}")).await?;
        seen += names(&page).len();
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            break;
        }
    }
    let listed = begin.elapsed();
    let begin = Instant::now();
    for number in 0..1_000 {
        server.apply(cluster.slice_with(number, 1..10))?;
    }
    for _ in 0..1_000 {
        watch.told().await?;
    }
    println!("5,000 Services x 10: filled in {filled:?}, listed in {listed:?}, 1,000 changes told in {:?}", begin.elapsed());
    assert_eq!(seen, 5_000);
    Ok(())
}
