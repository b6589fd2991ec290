//! Kubernetes Events: what a user of an object reads of it.

use std::time::Duration;

use serde_json::{Value, json};
use viaduct::plan::Capacities;
use viaduct::watch::ClientOptions;
use viaduct_apiserver::{ApiServer, Fault, Options, Resource, Status, Verb};

use crate::objects::{ONE, OTHER, one, other, service, web};
use crate::rig::{HASTY, PATIENCE, ROOMY, Rig};

async fn start(server: &ApiServer, capacities: Capacities) -> Rig {
    let options = ClientOptions { kubeconfig: None, api_server: Some(server.url()) };
    Rig::start_with(options, HASTY, capacities).await
}

async fn server(objects: impl IntoIterator<Item = Value>) -> ApiServer {
    let server = ApiServer::start(Options::default()).await.unwrap();
    for object in objects {
        server.apply(object).unwrap();
    }
    server
}

/// The Event with this reason, once it is there.
async fn event(server: &ApiServer, reason: &str) -> Value {
    let found = async {
        loop {
            let events = server.objects(Resource::Events);
            if let Some(event) = events.into_iter().find(|event| event["reason"] == reason) {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {reason}: {:#?}", server.objects(Resource::Events)))
}

fn bad() -> Value {
    let mut bad = service("bad", "10.96.0.13");
    bad["spec"]["ports"][0]["port"] = json!(70_000);
    bad
}

#[tokio::test]
async fn an_invalid_object_has_an_event_and_another_one_when_it_is_right_again() {
    let server = server([web(), one(), bad()]).await;
    let rig = start(&server, ROOMY).await;
    let told = event(&server, "InvalidService").await;
    let uid = &server.objects(Resource::Services)[0]["metadata"]["uid"];
    assert_eq!(
        told["regarding"],
        json!({ "apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "bad", "uid": uid })
    );
    assert_eq!(
        (&told["type"], &told["reportingController"], &told["reportingInstance"]),
        (&json!("Warning"), &json!("viaduct"), &json!("n1"))
    );
    assert_eq!(told["note"], "spec.ports[0].port: 70000 is not a port; use a number from 1 to 65535");
    server.apply(service("bad", "10.96.0.13")).unwrap();
    assert_eq!(event(&server, "ValidService").await["type"], "Normal");
    rig.counted("viaduct_events_posted_total", 2.0).await;
    assert_eq!(server.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_clusterip_that_another_service_has_is_told_to_the_one_that_lacks_it() {
    let server = server([web(), one(), service("late", "10.96.0.11")]).await;
    let _rig = start(&server, ROOMY).await;
    let told = event(&server, "ClusterIPConflict").await;
    assert_eq!(told["regarding"]["name"], "late");
    assert!(told["note"].as_str().unwrap().contains("belongs to Service default/web"), "{told}");
    server.delete(Resource::Services, "default", "web");
    assert_eq!(event(&server, "ClusterIPConflictResolved").await["regarding"]["name"], "late");
}

#[tokio::test]
async fn a_service_for_which_there_is_no_room_is_told_and_when_there_is() {
    let server = server([web(), one()]).await;
    // Two rows for each Service of one port: the port, and the address as a whole.
    let rig = start(&server, Capacities { frontends: 3, ..ROOMY }).await;
    rig.until(&[ONE]).await;
    server.apply(other()).unwrap();
    let told = event(&server, "CapacityExceeded").await;
    assert_eq!((&told["regarding"]["name"], &told["type"]), (&json!("other"), &json!("Warning")));
    assert!(told["note"].as_str().unwrap().contains("--max-frontends"), "{told}");
    rig.counted(r#"viaduct_services{state="refused"}"#, 1.0).await;
    server.delete(Resource::Services, "default", "web");
    rig.until(&[OTHER]).await;
    assert_eq!(event(&server, "CapacityAvailable").await["type"], "Normal");
}

#[tokio::test]
async fn an_agent_that_starts_again_counts_what_it_told_before() {
    let server = server([web(), one(), bad()]).await;
    for times in 1..=2 {
        let rig = start(&server, ROOMY).await;
        rig.counted("viaduct_events_posted_total", 1.0).await;
        assert_eq!(server.objects(Resource::Events).len(), 1, "{times}");
    }
    assert_eq!(server.objects(Resource::Events)[0]["series"]["count"], 2);
}

#[tokio::test]
async fn what_goes_to_and_fro_is_no_flood() {
    let server = server([web(), one()]).await;
    let rig = start(&server, ROOMY).await;
    rig.until(&[ONE]).await;
    for _ in 0..30 {
        for object in [bad(), service("bad", "10.96.0.13")] {
            server.apply(object).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    event(&server, "ValidService").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.objects(Resource::Events).len(), 2, "one for each kind of news");
    assert_eq!(server.count(Resource::Events, Verb::Create) + server.count(Resource::Events, Verb::Patch), 2);
}

#[tokio::test]
async fn a_server_that_takes_no_events_holds_up_nothing_and_is_told_of_once() {
    let objects = (20..40).map(|i| {
        let mut bad = bad();
        bad["metadata"]["name"] = json!(format!("bad{i}"));
        bad
    });
    let server = server([web(), one()].into_iter().chain(objects)).await;
    server.fault(Resource::Events, Verb::Create, usize::MAX, Fault::Answer(Status::forbidden("create", Resource::Events)));
    let rig = start(&server, ROOMY).await;
    rig.until(&[ONE]).await;
    rig.logged(&["WARN", "a Kubernetes Event was not accepted", "create and patch events", "rbac.yaml"]).await;
    rig.counted(r#"viaduct_events_dropped_total{reason="not_accepted"}"#, 10.0).await;
    assert_eq!(rig.lines(&["WARN", "was not accepted"]), 1);
}

#[tokio::test]
async fn a_storm_of_problems_is_posted_in_measure() {
    let server = server([web(), one()]).await;
    let rig = start(&server, ROOMY).await;
    rig.until(&[ONE]).await;
    for i in 0..400 {
        let mut bad = bad();
        bad["metadata"]["name"] = json!(format!("bad{i}"));
        server.apply(bad).unwrap();
    }
    rig.counted("viaduct_problems", 400.0).await;
    rig.counted(r#"viaduct_events_dropped_total{reason="queue_full"}"#, 50.0).await;
    // Those that wait would be gone in no time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let posted = server.count(Resource::Events, Verb::Create);
    assert!((20..40).contains(&posted), "{posted}");
}
