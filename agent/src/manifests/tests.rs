//! Files in, events and notes out.

use std::fs;

use tempfile::TempDir;

use super::Manifests;
use crate::model::{Cluster, Event, Kind, Object, ObjectName};

const WEB: &str = "
{ kind: Service, metadata: { name: web }, spec: { clusterIP: 10.96.0.1, selector: { app: web }, ports: [{ port: 80, targetPort: http }] } }
";
const PODS: &str = "
apiVersion: v1
kind: PodList
items:
- metadata: { name: a, labels: { app: web } }
  spec: { nodeName: me, containers: [{ ports: [{ name: http, containerPort: 8080 }] }] }
  status: { podIP: 10.1.0.1, conditions: [{ type: Ready, status: 'True' }] }
- metadata: { name: b, labels: { app: web } }
  spec: { nodeName: n2, containers: [{ ports: [{ name: http, containerPort: 9090 }] }] }
  status: { podIP: 10.1.0.2, conditions: [{ type: Ready, status: 'True' }] }
";

/// A folder of manifests and the cluster that it makes.
struct Folder {
    dir: TempDir,
    manifests: Manifests,
    cluster: Cluster,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut manifests = Manifests::open(folder.path()).unwrap();
        let mut cluster = Cluster::for_node("me");
        manifests.read();
        for event in manifests.collection.list() {
            cluster.take(event);
        }
        Self { dir: folder, manifests, cluster }
    }

    fn write(&mut self, name: &str, text: &str) -> Vec<Event> {
        fs::write(self.dir.path().join(name), text).unwrap();
        let events = self.manifests.read();
        for event in &events {
            self.cluster.take(event.clone());
        }
        events
    }

    fn backends(&self) -> Vec<String> {
        let desired = self.cluster.compile(&ObjectName::new("default", "web")).desired;
        let backends = desired.ports.iter().flat_map(|port| &port.pools).flat_map(|pool| &pool.backends);
        backends.map(|backend| backend.address.to_string()).collect()
    }
}

#[test]
fn the_first_list_has_every_kind() {
    let folder = Folder::new(&[]);
    assert!(folder.cluster.is_synced());
    let listed = |event: &Event| if let Event::Listed(kind, _) = event { Some(*kind) } else { None };
    assert_eq!(folder.manifests.collection.list().iter().filter_map(listed).collect::<Vec<_>>(), Kind::ALL);
}

#[test]
fn a_service_with_its_pods_works_without_slices() {
    let mut folder = Folder::new(&[("web.yaml", WEB), ("pods.yaml", PODS)]);
    assert_eq!(folder.backends(), ["10.1.0.1:8080/TCP", "10.1.0.2:9090/TCP"]);
    folder.write("pods.yaml", &PODS.replacen("'True'", "'False'", 1));
    assert_eq!(folder.backends(), ["10.1.0.2:9090/TCP"]);
    folder.write("pods.yaml", "[]");
    folder.write("pods.yaml", "{ kind: PodList, items: [] }");
    assert_eq!(folder.backends(), [""; 0]);
}

#[test]
fn nodes_and_ranges_count_too() {
    let ranges = "{ apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: { name: kubernetes }, spec: { cidrs: [10.96.0.0/12] } }";
    let node = "{ apiVersion: v1, kind: Node, metadata: { name: me, labels: { topology.kubernetes.io/zone: z1 } } }";
    let hinted = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ port: 80 }]
endpoints:
- { addresses: [10.1.0.1], conditions: { serving: false }, hints: { forZones: [{ name: z1 }] } }
- { addresses: [10.1.0.2], conditions: { serving: false }, hints: { forZones: [{ name: z2 }] } }
";
    let mut folder = Folder::new(&[("web.yaml", WEB), ("slice.yaml", hinted)]);
    assert_eq!((folder.backends().len(), folder.cluster.service_cidrs().len()), (2, 0));
    folder.write("cluster.yaml", &format!("{ranges}\n---\n{node}"));
    assert_eq!((folder.backends(), folder.cluster.service_cidrs().len()), (vec!["10.1.0.1:80/TCP".into()], 1));
    folder.write("cluster.yaml", &node.replace("name: me", "name: other"));
    assert_eq!((folder.backends().len(), folder.cluster.service_cidrs().len()), (2, 0));
}

#[test]
fn a_kind_in_a_version_that_is_not_read_is_told() {
    let rows = [
        (
            "networking.k8s.io/v1beta1",
            "ServiceCIDR",
            "apiVersion: \"networking.k8s.io/v1beta1\" is not known for ServiceCIDR; write networking.k8s.io/v1",
        ),
        ("v2", "Pod", "apiVersion: \"v2\" is not known for Pod; write v1"),
        ("core/v1", "Node", "apiVersion: \"core/v1\" is not known for Node; write v1"),
        ("v1", "Pods", "kind: \"Pods\" is not known"),
        ("metrics.example.org/v1", "Node", ""),
        ("networking.k8s.io/v1", "Ingress", ""),
    ];
    for (version, kind, expected) in rows {
        let text = format!("{{ apiVersion: {version}, kind: {kind}, metadata: {{ name: x }} }}");
        let mut folder = Folder::new(&[]);
        let events = folder.write("x.yaml", &text);
        let told = events.iter().filter_map(|event| if let Event::Problems(_, problems) = event { Some(problems) } else { None });
        let told: Vec<_> = told.flatten().map(ToString::to_string).collect();
        assert!(if expected.is_empty() { told.is_empty() } else { told.len() == 1 && told[0].contains(expected) }, "{told:?}");
    }
}

#[test]
fn what_may_be_an_oversight_is_said_once() {
    let unnamed = "{ kind: Service, metadata: { name: db }, spec: { ports: [{ port: 1 }] } }";
    let mut folder = Folder::new(&[("db.yaml", unnamed)]);
    assert_eq!(
        folder.manifests.news(),
        ["Service default/db: has no ClusterIP, and here nobody gives it one: write an address of your choice as spec.clusterIP"]
    );
    folder.write("web.yaml", WEB);
    let news = folder.manifests.news();
    assert!(news.len() == 1 && news[0].starts_with("Service default/web: it has no EndpointSlice, and its selector"), "{news:?}");
    folder.write("pods.yaml", PODS);
    assert_eq!(folder.manifests.news(), [""; 0]);
    folder.write("web.yaml", &WEB.replace("http", "https"));
    let news = folder.manifests.news();
    assert!(news.len() == 1 && news[0].starts_with("Service default/web: none of its Pods has what"), "{news:?}");
}

#[test]
fn a_bad_version_of_a_pod_leaves_the_good_one() {
    let mut folder = Folder::new(&[("web.yaml", WEB), ("pods.yaml", PODS)]);
    let events = folder.write("pods.yaml", &PODS.replace("podIP: 10.1.0.1", "podIP: 10.1.0.300"));
    let told = events.iter().filter_map(|event| if let Event::Problems(_, problems) = event { Some(problems) } else { None });
    let told: Vec<_> = told.flatten().map(ToString::to_string).collect();
    let expected = "pods.yaml, document 1: Pod default/a: status.podIP: \"10.1.0.300\" is not an IP address";
    assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
    assert_eq!(folder.backends(), ["10.1.0.1:8080/TCP", "10.1.0.2:9090/TCP"]);
    let is_pod = |event: &&Event| matches!(event, Event::Seen(Object::Pod(_)));
    assert_eq!(events.iter().filter(is_pod).count(), 2);
}
