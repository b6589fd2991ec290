//! Everything that can go wrong between the agent and the API server: what the tables hold before, during and after, what
//! the operator reads, and what is counted.

use std::time::Duration;

use viaduct::watch::ClientOptions;
use viaduct_apiserver::{ApiServer, Fault, Options, Resource, Status, Verb};

use crate::objects::{ONE, OTHER, TWO, one, other, two, web};
use crate::rig::Rig;

/// When it goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before anything was programmed.
    AtStart,
    /// While changes are followed.
    Watching,
}

/// Whether it ends by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// It lasts until it is healed: nothing changes meanwhile.
    UntilHealed,
    /// It is over at once.
    Once,
}

/// One fault.
struct Row {
    when: When,
    fault: fn(&ApiServer),
    lasts: Lasts,
    /// Words of the line that tells of it.
    told: &'static [&'static str],
    /// Words of the line that tells that it is over; none: nothing is told.
    over: &'static [&'static str],
    /// What is counted at least once.
    counted: &'static str,
}

const SLICES: Resource = Resource::EndpointSlices;

/// The next lists or watches of slices meet this fault, until it is healed.
fn always(server: &ApiServer, verb: Verb, fault: Fault) {
    server.fault(SLICES, verb, usize::MAX, fault);
}

/// Watches of slices fail from now on, also the open ones.
fn watches_fail(server: &ApiServer, status: Status) {
    always(server, Verb::Watch, Fault::Answer(status));
    server.break_watches(SLICES, true);
}

async fn play(row: Row) {
    let server = ApiServer::start(Options::default()).await.unwrap();
    for object in [web(), one(), other()] {
        server.apply(object).unwrap();
    }
    let options = ClientOptions { kubeconfig: None, api_server: Some(server.url()) };
    let before: &[_] = if row.when == AtStart { &[] } else { &[ONE, OTHER] };
    if row.when == AtStart {
        (row.fault)(&server);
    }
    let rig = Rig::start(options).await;
    if row.when == Watching {
        rig.until(before).await;
        rig.counted(r#"viaduct_watch_connected{kind="EndpointSlice"}"#, 1.0).await;
        (row.fault)(&server);
    }
    if !row.told.is_empty() {
        rig.logged(row.told).await;
    }
    // What changes now is not told, and what is deleted now may never be.
    server.apply(two()).unwrap();
    server.delete(Resource::Services, "default", "other");
    if row.lasts == UntilHealed {
        // Services are followed all the same; what is about slices must not change.
        let seen = rig.store.targets();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let slices_changed = rig.store.targets().iter().any(|(_, targets)| targets.len() > 1);
        assert!(!slices_changed, "{seen:?}");
        assert_eq!(rig.store.targets().is_empty(), row.when == AtStart);
    }
    server.heal();
    server.come_back().await.unwrap();
    rig.until(&[TWO]).await;
    if !row.over.is_empty() {
        rig.logged(row.over).await;
        assert_eq!(rig.lines(row.told), 1, "an outage is told once");
    }
    if !row.counted.is_empty() {
        assert!(rig.metric(row.counted) >= 1.0, "{}", row.counted);
    }
    rig.counted(r#"viaduct_watch_connected{kind="EndpointSlice"}"#, 1.0).await;
    assert_eq!(server.violations(), Vec::<String>::new());
}

macro_rules! faults {
    ($($name:ident: $row:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            play($row).await;
        }
    )+};
}

use Lasts::{Once, UntilHealed};
use When::{AtStart, Watching};

faults! {
    a_server_that_is_not_there_at_start: Row {
        when: AtStart, lasts: UntilHealed,
        fault: ApiServer::go_down,
        told: &["WARN", "the API server cannot be reached", "--api-server", "onnection refused"],
        over: &["INFO", "the API server answers again", "after="],
        counted: r#"viaduct_watch_failures_total{kind="Service",reason="unreachable"}"#,
    };
    a_server_that_goes_away_and_comes_back: Row {
        when: Watching, lasts: UntilHealed,
        fault: ApiServer::go_down,
        told: &["WARN", "the API server cannot be reached", "What was programmed stays"],
        over: &["INFO", "the API server answers again", "after="],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="unreachable"}"#,
    };
    a_server_that_has_forgotten_everything_when_it_comes_back: Row {
        when: Watching, lasts: UntilHealed,
        fault: |server| { server.go_down(); server.compact(); },
        told: &["WARN", "the API server cannot be reached"],
        over: &["INFO", "everything is listed again", "too old resource version"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="expired"}"#,
    };
    a_list_that_is_forbidden: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Answer(Status::forbidden("list", SLICES))),
        told: &["WARN", "does not show this kind", "EndpointSlice", "rbac.yaml", r#"cannot list resource \"endpointslices\""#],
        over: &["INFO", "serves this kind again", "EndpointSlice", "after="],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="forbidden"}"#,
    };
    a_watch_that_is_forbidden: Row {
        when: Watching, lasts: UntilHealed,
        fault: |server| watches_fail(server, Status::forbidden("watch", SLICES)),
        told: &["WARN", "does not show this kind", "EndpointSlice", "rbac.yaml"],
        over: &["INFO", "serves this kind again", "EndpointSlice"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="forbidden"}"#,
    };
    credentials_that_are_not_known: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Answer(Status::unauthorized())),
        told: &["WARN", "does not know this agent", "renew the token or certificate", "401: Unauthorized"],
        over: &["INFO", "the API server answers again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="unauthorized"}"#,
    };
    credentials_that_are_not_known_any_more: Row {
        when: Watching, lasts: UntilHealed,
        fault: |server| watches_fail(server, Status::unauthorized()),
        told: &["WARN", "does not know this agent"],
        over: &["INFO", "the API server answers again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="unauthorized"}"#,
    };
    a_server_with_too_much_to_do: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Answer(Status::overloaded(0))),
        told: &["WARN", "too much to do", "priority levels", "Too many requests, please try again later."],
        over: &["INFO", "serves this kind again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="throttled"}"#,
    };
    a_server_in_trouble: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Answer(Status::internal())),
        told: &["WARN", "in trouble", "etcd", "500: Internal error occurred: etcdserver: request timed out"],
        over: &["INFO", "serves this kind again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="server_error"}"#,
    };
    a_server_that_is_not_ready: Row {
        when: Watching, lasts: UntilHealed,
        fault: |server| watches_fail(server, Status::unavailable()),
        told: &["WARN", "in trouble", "503: the server is currently unable to handle the request"],
        over: &["INFO", "serves this kind again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="server_error"}"#,
    };
    a_proxy_that_answers_instead: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Answer(Status::text(502, "<html>Bad Gateway</html>"))),
        told: &["WARN", "502: <html>Bad Gateway</html>"],
        over: &["INFO", "serves this kind again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="server_error"}"#,
    };
    a_url_of_something_else: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Answer(Status::no_such_path())),
        told: &["WARN", "does not have this kind", "--api-server", "404 page not found"],
        over: &["INFO", "serves this kind again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="not_found"}"#,
    };
    a_list_that_is_reset_in_the_middle: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Reset(100)),
        told: &["WARN", "cannot be reached"],
        over: &["INFO", "the API server answers again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="unreachable"}"#,
    };
    a_list_whose_connection_is_half_closed: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::HalfClose(100)),
        told: &["WARN", "cannot be reached"],
        over: &["INFO", "the API server answers again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="unreachable"}"#,
    };
    a_list_that_ends_too_soon: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Truncate(100)),
        told: &["WARN", "cannot be read", "in 100 bytes that begin with"],
        over: &["INFO", "serves this kind again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="undecodable"}"#,
    };
    a_list_that_falls_silent: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Silence(100)),
        told: &["WARN", "the API server does not answer", "nothing came for 1s"],
        over: &["INFO", "the API server answers again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="silent"}"#,
    };
    a_server_that_never_answers: Row {
        when: AtStart, lasts: UntilHealed,
        fault: |server| always(server, Verb::List, Fault::Delay(Duration::from_hours(1))),
        told: &["WARN", "the API server does not answer", "no answer within 2s"],
        over: &["INFO", "the API server answers again"],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="silent"}"#,
    };
    a_list_that_comes_slowly: Row {
        when: AtStart, lasts: Once,
        fault: |server| always(server, Verb::List, Fault::Trickle { piece: 64, pause: Duration::from_millis(30) }),
        told: &[], over: &[], counted: "",
    };
    a_watch_that_is_reset_in_the_middle_of_an_object: Row {
        when: Watching, lasts: Once,
        fault: |server| server.break_watches(SLICES, true),
        told: &["INFO", "the watch broke off: it goes on where it stood", "EndpointSlice"],
        over: &[],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="unreachable"}"#,
    };
    a_watch_whose_connection_is_half_closed: Row {
        when: Watching, lasts: Once,
        fault: |server| server.break_watches(SLICES, false),
        told: &["INFO", "the watch broke off: it goes on where it stood", "EndpointSlice"],
        over: &[],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="unreachable"}"#,
    };
    a_watch_that_the_server_ends: Row {
        when: Watching, lasts: Once,
        fault: |server| server.end_watches(SLICES),
        told: &[], over: &[], counted: "",
    };
    a_watch_that_is_told_of_an_error: Row {
        when: Watching, lasts: Once,
        fault: |server| server.fail_watches(SLICES, &Status::internal()),
        told: &["INFO", "the watch broke off", "500: Internal error occurred"],
        over: &[],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="server_error"}"#,
    };
    a_watch_that_is_told_that_it_has_expired: Row {
        when: Watching, lasts: Once,
        fault: |server| server.fail_watches(SLICES, &Status::new(410, "Expired", "too old resource version: 1 (9)")),
        told: &["INFO", "everything is listed again", "too old resource version: 1 (9)"],
        over: &[],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="expired"}"#,
    };
    a_watch_that_is_answered_with_410: Row {
        when: Watching, lasts: Once,
        fault: |server| {
            server.fault(SLICES, Verb::Watch, 1, Fault::Answer(Status::new(410, "Gone", "gone")));
            server.break_watches(SLICES, true);
        },
        told: &["INFO", "everything is listed again", "410: gone"],
        over: &[],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="expired"}"#,
    };
    a_watch_that_brings_what_is_no_json: Row {
        when: Watching, lasts: Once,
        fault: |server| server.garble_watches(SLICES),
        told: &["INFO", "the watch broke off", "undecodable"],
        over: &[],
        counted: r#"viaduct_watch_failures_total{kind="EndpointSlice",reason="undecodable"}"#,
    };
}
