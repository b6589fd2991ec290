//! How the agent lists and watches: what it asks for, and how often.

use std::time::{Duration, Instant};

use viaduct::watch::{ClientOptions, Timing};
use viaduct_apiserver::{ApiServer, Fault, Options, Recorded, Resource, Status, Verb};

use crate::objects::{ONE, OTHER, TWO, one, other, service, slice, two, web};
use crate::rig::{HASTY, ROOMY, Rig};

const SLICES: Resource = Resource::EndpointSlices;
const SERVICES: Resource = Resource::Services;

async fn server(options: Options) -> ApiServer {
    let server = ApiServer::start(options).await.unwrap();
    for object in [web(), one(), other()] {
        server.apply(object).unwrap();
    }
    server
}

async fn start(server: &ApiServer, timing: Timing) -> Rig {
    Rig::start_with(ClientOptions { kubeconfig: None, api_server: Some(server.url()) }, timing, ROOMY).await
}

/// Requests for a kind, in order.
fn requests(server: &ApiServer, resource: Resource, verb: Verb) -> Vec<Recorded> {
    server.requests().into_iter().filter(|request| request.resource == Some(resource) && request.verb == verb).collect()
}

async fn watched(server: &ApiServer, times: usize) {
    let begin = Instant::now();
    while server.count(SLICES, Verb::Watch) < times {
        assert!(begin.elapsed() < Duration::from_secs(20), "the watch is never begun");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_request_has_the_selectors_of_the_reference() {
    let server = server(Options::default()).await;
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
    watched(&server, 1).await;
    for (resource, label, field) in [
        (SERVICES, Some("!service.kubernetes.io/service-proxy-name"), Some("spec.clusterIP!=None")),
        (SLICES, Some("!service.kubernetes.io/headless"), None),
        (Resource::Nodes, None, Some("metadata.name=n1")),
        (Resource::ServiceCidrs, None, None),
    ] {
        for request in server.requests().iter().filter(|request| request.resource == Some(resource)) {
            assert_eq!(request.query.get("labelSelector").map(String::as_str), label, "{request:?}");
            assert_eq!(request.query.get("fieldSelector").map(String::as_str), field, "{request:?}");
        }
    }
}

/// A list of more objects than fit on a page.
fn many(server: &ApiServer) -> Vec<(String, &'static [&'static str])> {
    (20..27_u8)
        .map(|i| {
            server.apply(service(&format!("s{i}"), &format!("10.96.0.{i}"))).unwrap();
            (format!("10.96.0.{i}:80/TCP"), &[] as &[&str])
        })
        .collect()
}

#[tokio::test]
async fn a_list_comes_page_by_page_and_is_handed_on_whole() {
    let server = server(Options::default()).await;
    let more = many(&server);
    let rig = start(&server, HASTY).await;
    let more: Vec<_> = more.iter().map(|(key, set)| (key.as_str(), *set)).collect();
    rig.until(&[&[ONE, OTHER], &more[..]].concat()).await;
    let lists = requests(&server, SERVICES, Verb::List);
    assert_eq!(lists.len(), 5, "nine Services, two on a page");
    assert!(lists.iter().all(|list| list.query["limit"] == "2"));
    assert_eq!(lists.iter().filter(|list| list.query.contains_key("continue")).count(), 4);
}

#[tokio::test]
async fn a_list_that_the_server_forgets_between_two_pages_is_asked_for_in_one_piece() {
    let server = server(Options::default()).await;
    let more = many(&server);
    // The second page waits, and is out of date by then.
    server.fault(SERVICES, Verb::List, 1, Fault::Delay(Duration::ZERO));
    server.fault(SERVICES, Verb::List, 1, Fault::Answer(Status::continue_expired()));
    let rig = start(&server, HASTY).await;
    let more: Vec<_> = more.iter().map(|(key, set)| (key.as_str(), *set)).collect();
    rig.until(&[&[ONE, OTHER], &more[..]].concat()).await;
    let limits: Vec<_> =
        requests(&server, SERVICES, Verb::List).into_iter().map(|list| list.query.get("limit").cloned()).collect();
    assert_eq!(limits, [Some("2".into()), Some("2".into()), None]);
    rig.counted(r#"viaduct_watch_lists_total{kind="Service"}"#, 2.0).await;
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_from_the_last_change_without_a_list() {
    let server = server(Options::default()).await;
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
    watched(&server, 1).await;
    let version = server.apply(two()).unwrap();
    rig.until(&[TWO, OTHER]).await;
    server.break_watches(SLICES, true);
    server.apply(one()).unwrap();
    rig.until(&[ONE, OTHER]).await;
    assert_eq!(server.count(SLICES, Verb::List), 1);
    assert_eq!(requests(&server, SLICES, Verb::Watch).last().unwrap().query["resourceVersion"], version.to_string());
}

#[tokio::test]
async fn a_bookmark_moves_the_place_from_which_a_watch_goes_on() {
    let server = server(Options::default()).await;
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
    watched(&server, 1).await;
    let heard = r#"viaduct_watch_last_heard_timestamp_seconds{kind="EndpointSlice"}"#;
    rig.counted(heard, 1.0).await;
    let version = server.bookmark(SLICES).to_string();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Without the bookmark, the watch would begin before what is known.
    server.compact();
    server.end_watches(SLICES);
    watched(&server, 2).await;
    assert_eq!(requests(&server, SLICES, Verb::Watch)[1].query["resourceVersion"], version);
    assert!(requests(&server, SLICES, Verb::Watch).iter().all(|watch| watch.query["allowWatchBookmarks"] == "true"));
}

#[tokio::test]
async fn a_connection_that_died_unnoticed_is_found() {
    let server = server(Options::default()).await;
    let timing = Timing { watch: Duration::from_secs(2), watch_margin: Duration::from_millis(100), ..HASTY };
    let rig = start(&server, timing).await;
    rig.until(&[ONE, OTHER]).await;
    watched(&server, 1).await;
    server.silence_watches(SLICES);
    let begin = Instant::now();
    server.apply(two()).unwrap();
    rig.until(&[TWO, OTHER]).await;
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    // The server ends a watch when it was asked to: only one that does not has died.
    rig.counted(r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="silent"}"#, 1.0).await;
}

#[test]
fn with_the_default_times_a_dead_connection_is_found_within_five_minutes() {
    let timing = Timing::default();
    assert!(timing.watch + timing.watch_margin < Duration::from_mins(5));
    assert!(timing.first_wait <= Duration::from_millis(100) && timing.longest_wait == Duration::from_secs(30));
    assert_eq!(timing.page_size, 500);
}

#[tokio::test]
async fn a_line_that_can_never_be_read_ends_in_a_list() {
    let server = server(Options::default()).await;
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
    for times in 1..=2 {
        watched(&server, times).await;
        server.garble_watches(SLICES);
    }
    rig.counted(r#"viaduct_watch_lists_total{kind="EndpointSlice"}"#, 2.0).await;
    rig.stays(&[ONE, OTHER]).await;
}

#[tokio::test]
async fn the_first_try_after_a_failure_comes_at_once_and_later_ones_less_often() {
    let server = server(Options::default()).await;
    let timing = Timing { first_wait: Duration::from_millis(100), longest_wait: Duration::from_secs(30), ..HASTY };
    server.fault(SLICES, Verb::List, 5, Fault::Answer(Status::internal()));
    let rig = start(&server, timing).await;
    rig.until(&[ONE, OTHER]).await;
    let times: Vec<_> = requests(&server, SLICES, Verb::List).iter().map(|list| list.at).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    assert!(pauses[0] >= Duration::from_millis(50) && pauses[0] < Duration::from_millis(400), "{pauses:?}");
    assert!(pauses[4] >= Duration::from_millis(800), "{pauses:?}");
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_is() {
    let server = server(Options::default()).await;
    server.fault(SLICES, Verb::List, 1, Fault::Answer(Status::overloaded(2)));
    server.fault(SERVICES, Verb::List, 1, Fault::Answer(Status::too_many_requests(1)));
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
    for (resource, seconds) in [(SLICES, 2), (SERVICES, 1)] {
        let lists = requests(&server, resource, Verb::List);
        assert!(lists[1].at.saturating_sub(lists[0].at) >= Duration::from_secs(seconds), "{lists:?}");
    }
}

#[tokio::test]
async fn a_server_that_ends_each_watch_at_once_is_not_pestered() {
    let server = server(Options { watch_timeout: Some(Duration::ZERO), ..Options::default() }).await;
    let timing = Timing { first_wait: Duration::from_millis(100), longest_wait: Duration::from_secs(30), ..HASTY };
    let rig = start(&server, timing).await;
    rig.until(&[ONE, OTHER]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!((2..=8).contains(&server.count(SLICES, Verb::Watch)), "{}", server.count(SLICES, Verb::Watch));
}

#[tokio::test]
async fn a_watch_that_flaps_is_tried_less_and_less_often() {
    let server = server(Options::default()).await;
    let timing = Timing { first_wait: Duration::from_millis(100), longest_wait: Duration::from_secs(30), ..HASTY };
    server.fault(SLICES, Verb::Watch, usize::MAX, Fault::Reset(0));
    let rig = start(&server, timing).await;
    rig.until(&[ONE, OTHER]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!((2..=8).contains(&server.count(SLICES, Verb::Watch)), "{}", server.count(SLICES, Verb::Watch));
    rig.stays(&[ONE, OTHER]).await;
}

#[tokio::test]
async fn a_watch_that_works_for_a_moment_only_is_tried_less_and_less_often_too() {
    let server = server(Options::default()).await;
    let timing = Timing { first_wait: Duration::from_millis(100), longest_wait: Duration::from_secs(30), ..HASTY };
    let rig = start(&server, timing).await;
    rig.until(&[ONE, OTHER]).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if server.watchers(SLICES) == 1 {
            tokio::time::sleep(2 * timing.steady).await;
            server.break_watches(SLICES, true);
        }
    }
    assert!((2..=7).contains(&server.count(SLICES, Verb::Watch)), "{}", server.count(SLICES, Verb::Watch));
}

#[tokio::test]
async fn a_huge_object_is_no_problem_in_list_and_watch() {
    let server = server(Options::default()).await;
    let mut huge = slice(&["10.1.0.1"]);
    huge["metadata"]["annotations"]["note"] = "x".repeat(4 << 20).into();
    server.apply(huge.clone()).unwrap();
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
    watched(&server, 1).await;
    huge["endpoints"] = two()["endpoints"].clone();
    server.apply(huge).unwrap();
    rig.until(&[TWO, OTHER]).await;
}

/// Whatever stands behind the version, or whatever the server takes it for: the next list does not have it.
#[tokio::test]
async fn a_watch_that_cannot_go_on_from_its_version_is_followed_by_a_list() {
    let server = server(Options::default()).await;
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
    watched(&server, 1).await;
    let lists = server.count(SLICES, Verb::List);
    server.fault(SLICES, Verb::Watch, 2, Fault::Answer(Status::new(400, "BadRequest", "invalid resource version")));
    server.break_watches(SLICES, true);
    rig.logged(&["WARN", "the API server refuses", "invalid resource version"]).await;
    server.apply(two()).unwrap();
    rig.until(&[TWO, OTHER]).await;
    assert!(server.count(SLICES, Verb::List) > lists, "nothing was listed again");
}

#[tokio::test]
async fn a_kind_that_the_node_can_do_without_does_not_hold_up_the_start() {
    let server = server(Options::default()).await;
    for resource in [Resource::ServiceCidrs, Resource::Nodes] {
        server.fault(resource, Verb::List, usize::MAX, Fault::Answer(Status::internal()));
    }
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
}

#[tokio::test]
async fn an_outage_is_told_each_time_also_where_a_kind_does_not_exist() {
    let server = server(Options { service_cidrs: false, ..Options::default() }).await;
    let rig = start(&server, HASTY).await;
    rig.until(&[ONE, OTHER]).await;
    for times in 1..=2 {
        watched(&server, 1).await;
        server.go_down();
        while rig.lines(&["WARN", "the API server cannot be reached"]) < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.come_back().await.unwrap();
        let begin = Instant::now();
        while rig.lines(&["INFO", "the API server answers again"]) < times {
            assert!(begin.elapsed() < Duration::from_secs(20), "the end of outage {times} is not told");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
