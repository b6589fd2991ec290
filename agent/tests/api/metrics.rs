//! `/metrics`: names, units, helps, values, and how it is served.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use viaduct::metrics::{CONTENT_TYPE, Metrics, Pages, serve};
use viaduct::watch::ClientOptions;
use viaduct_apiserver::{ApiServer, Options};

use crate::objects::{ONE, OTHER, TWO, one, other, two, web};
use crate::rig::{PATIENCE, Rig};

async fn served() -> (ApiServer, Rig) {
    let server = ApiServer::start(Options::default()).await.unwrap();
    for object in [web(), one(), other()] {
        server.apply(object).unwrap();
    }
    let rig = Rig::start(ClientOptions { kubeconfig: None, api_server: Some(server.url()) }).await;
    rig.until(&[ONE, OTHER]).await;
    (server, rig)
}

/// Code, content type and text.
async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "here").body(Empty::<bytes::Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        let content_type = response.headers()["content-type"].to_str()?.to_owned();
        let text = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
        anyhow::Ok((code, content_type, text))
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_happens_is_counted() {
    let (server, rig) = served().await;
    server.apply(two()).unwrap();
    rig.until(&[TWO, OTHER]).await;
    for (series, value) in [
        ("viaduct_synced", 1.0),
        (r#"viaduct_services{state="known"}"#, 2.0),
        (r#"viaduct_services{state="refused"}"#, 0.0),
        ("kubeproxy_sync_proxy_rules_service_changes_total", 2.0),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", 2.0),
        (r#"viaduct_map_rows_used{map="frontends"}"#, 4.0),
        (r#"viaduct_map_rows{map="frontends"}"#, 64.0),
        (r#"viaduct_watch_connected{kind="Service"}"#, 1.0),
        (r#"viaduct_watch_lists_total{kind="Node"}"#, 1.0),
        (r#"viaduct_datapath_packets_total{reason="no_endpoints"}"#, 0.0),
        (r#"kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal"}"#, 0.0),
    ] {
        rig.counted(series, value).await;
        assert!((rig.metric(series) - value).abs() < f64::EPSILON, "{series}: {}", rig.metric(series));
        assert!(rig.metrics().render().unwrap().contains(&format!("\n{series} ")), "{series} is missing");
    }
    rig.counted("kubeproxy_sync_proxy_rules_duration_seconds_count", 2.0).await;
    rig.counted("viaduct_programming_duration_seconds_count", 3.0).await;
    let last = rig.metric("kubeproxy_sync_proxy_rules_last_timestamp_seconds");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((last - now).abs() < 60.0, "{last}, {now}");
}

#[tokio::test]
async fn the_way_of_a_change_through_the_cluster_is_measured_by_the_slice_s_annotation() {
    let (server, rig) = served().await;
    let mut changed = two();
    let then = std::time::SystemTime::now() - Duration::from_secs(20);
    let annotation = "endpoints.kubernetes.io/last-change-trigger-time";
    changed["metadata"]["annotations"][annotation] = humantime::format_rfc3339(then).to_string().into();
    server.apply(changed).unwrap();
    rig.until(&[TWO, OTHER]).await;
    rig.counted("kubeproxy_network_programming_duration_seconds_count", 1.0).await;
    let sum = rig.metric("kubeproxy_network_programming_duration_seconds_sum");
    assert!((20.0..60.0).contains(&sum), "{sum}");
}

/// The rules of promtool: base units, `_total` for counters alone (and the reference's exception), a help for each.
#[tokio::test]
async fn names_are_as_prometheus_wants_them() {
    let (_server, rig) = served().await;
    let text = rig.metrics().render().unwrap();
    let mut families = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        families += 1;
        assert!(name.starts_with("viaduct_") || name.starts_with("kubeproxy_"), "{name}");
        let help = text.lines().find_map(|line| line.strip_prefix("# HELP ")?.strip_prefix(name)?.strip_prefix(' '));
        assert!(help.is_some_and(|help| help.len() > 10 && help.ends_with('.') && !help.ends_with("..")), "{name}: {help:?}");
        let of_reference = name == "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
        assert!(kind == "counter" || !name.ends_with("_total") || of_reference, "{name} {kind}");
        assert!(!["_ms", "_milliseconds", "_minutes", "_kb"].iter().any(|unit| name.ends_with(unit)), "{name}");
        let is_time = name.contains("duration") || name.contains("timestamp");
        assert!(!is_time || name.ends_with("_seconds"), "{name}");
    }
    assert!(families >= 20, "{families}");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn it_is_served_at_one_path_also_where_another_has_the_address_at_first() {
    // An address of this process alone, so that nobody else takes the port meanwhile.
    let here = Ipv4Addr::from_bits(0x7f41_0000 | std::process::id() & 0xffff);
    let other = TcpListener::bind((here, 0)).await.unwrap();
    let address = other.local_addr().unwrap();
    let pages = Pages { metrics: Metrics::new(), status: Box::new(|| Ok("{}".into())) };
    let serving = tokio::spawn(serve(address, Arc::new(pages)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!serving.is_finished(), "it waits for the address");
    drop(other);
    let begin = std::time::Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(begin.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, content_type, text) = get(address, "/metrics").await;
    assert_eq!((code, content_type.as_str()), (200, CONTENT_TYPE));
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.contains(&format!("viaduct_build_info{{version=\"{version}\"}} 1\n")), "{text}");
    assert_eq!(get(address, "/").await.0, 404);
    serving.abort();
}
