//! Many objects: the time they take to arrive, without the kernel.

use std::time::{Duration, Instant};

use viaduct::plan::Capacities;
use viaduct::watch::{ClientOptions, Timing};
use viaduct_apiserver::{ApiServer, Generator, Options};

use crate::rig::Rig;

/// A thousand Services of three endpoints each: it is the growth that would show here, not the speed.
#[tokio::test]
async fn a_cluster_of_a_thousand_services_arrives_whole() {
    let cluster = Generator { services: 1_000, endpoints: 3 };
    let server = ApiServer::start(Options::default()).await.unwrap();
    for object in cluster.objects() {
        server.apply(object).unwrap();
    }
    let capacities =
        Capacities { frontends: 4096, slots: 1 << 18, backends: 8192, endpoints: 8192, filter_words: 1024, services: 2048 };
    let begin = Instant::now();
    let options = ClientOptions { kubeconfig: None, api_server: Some(server.url()) };
    let rig = Rig::start_with(options, Timing::default(), capacities).await;
    rig.counted("viaduct_synced", 1.0).await;
    rig.counted(r#"viaduct_map_rows_used{map="backends"}"#, 3_000.0).await;
    println!("1,000 Services x 3 arrived in {:?}", begin.elapsed());
    server.apply(cluster.slice_with(999, 0..1)).unwrap();
    let vip = format!("{}:80/TCP", Generator::vip(999));
    let expected = vec![format!("{}:8080/TCP", cluster.pod(999, 0))];
    let begin = Instant::now();
    while !rig.store.targets().contains(&(vip.clone(), expected.clone())) {
        assert!(begin.elapsed() < Duration::from_secs(20), "the change never arrives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
