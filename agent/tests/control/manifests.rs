//! From files on disk to tables: the manifest source, the model, the plan and the in-memory store together.

use std::collections::BTreeSet;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use viaduct::manifests::{ManifestError, Manifests, Pace};
use viaduct_common::{L4Address, Port, Protocol};

use crate::rig::{Rig, expectation};

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  clusterIP: 10.96.0.1
  ports: [{ name: http, port: 80 }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  labels: { kubernetes.io/service-name: web }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints: [{ addresses: [10.1.0.1] }, { addresses: [10.1.0.2] }]
";

/// A folder of manifests with the agent's pure parts behind it.
struct Folder {
    folder: TempDir,
    rig: Rig,
}

impl Deref for Folder {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl DerefMut for Folder {
    fn deref_mut(&mut self) -> &mut Rig {
        &mut self.rig
    }
}

impl Folder {
    /// A folder that holds `files`, read once.
    async fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let path = folder.path().to_owned();
        Self::on(folder, &path).await
    }

    async fn on(folder: TempDir, path: &Path) -> Self {
        Self::paced(folder, path, Pace::default()).await
    }

    async fn paced(folder: TempDir, path: &Path, pace: Pace) -> Self {
        let mut rig = Rig::new(|events| Manifests::open(path).unwrap().paced(pace).run(events));
        rig.follow().await;
        Self { folder, rig }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn told(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        self.rig.told().iter().map(|line| line.replace(&folder, "")).collect()
    }
}

const BOTH: &[(&str, &[&str])] = &[("10.96.0.1:80/TCP", &["10.1.0.1:8080/TCP", "10.1.0.2:8080/TCP"])];
const FIRST: &[(&str, &[&str])] = &[("10.96.0.1:80/TCP", &["10.1.0.1:8080/TCP"])];

#[tokio::test]
async fn a_folder_of_files_becomes_tables() {
    let other = r#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"v1","kind":"Service","metadata":{"name":"db"},"spec":{"clusterIP":"10.96.0.2","ports":[{"port":5432}]}},
        {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"ignored"}}]}"#;
    let rig = Folder::new(&[("web.yaml", WEB), ("db.json", other), (".hidden.yaml", "{"), ("notes.txt", "{")]).await;
    let expected = [BOTH[0], ("10.96.0.2:5432/TCP", &[])];
    assert_eq!((rig.targets(), rig.told()), (expectation(&expected), vec![]));
    let whole = L4Address::whole(std::net::Ipv4Addr::new(10, 96, 0, 1).into());
    assert_eq!(rig.sync.store().frontends[&whole].slot_count, 0);
}

#[tokio::test]
async fn a_single_file_is_followed_through_the_ways_in_which_editors_write() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("web.yaml");
    fs::write(&path, WEB).unwrap();
    let mut rig = Folder::on(folder, &path).await;
    rig.stays(BOTH).await;

    let fewer = WEB.replace(", { addresses: [10.1.0.2] }", "");
    rig.write("web.yaml", &fewer);
    rig.until(FIRST).await;

    rig.write("web.yaml.new", WEB);
    fs::rename(rig.folder.path().join("web.yaml.new"), &path).unwrap();
    rig.until(BOTH).await;

    fs::rename(&path, rig.folder.path().join("web.yaml~")).unwrap();
    rig.until(&[]).await;
    rig.write("web.yaml", &fewer);
    rig.until(FIRST).await;
}

#[tokio::test]
async fn files_come_and_go() {
    let mut rig = Folder::new(&[]).await;
    rig.stays(&[]).await;
    rig.write("web.yaml", WEB);
    rig.until(BOTH).await;
    rig.write("db.yaml", "{ kind: Service, metadata: { name: db }, spec: { clusterIP: 10.96.0.2, ports: [{ port: 1 }] } }");
    rig.until(&[BOTH[0], ("10.96.0.2:1/TCP", &[])]).await;
    fs::remove_file(rig.folder.path().join("db.yaml")).unwrap();
    rig.until(BOTH).await;
}

#[tokio::test]
async fn a_file_that_does_not_parse_any_more_keeps_what_it_gave() {
    let mut rig = Folder::new(&[("web.yaml", WEB)]).await;
    rig.write("web.yaml", &format!("{WEB}\n---\nkind: [unfinished"));
    rig.follow().await;
    let told = rig.told();
    assert!(told.len() == 1 && told[0].starts_with("web.yaml, document 1: is not YAML: "), "{told:?}");
    assert_eq!(rig.targets(), expectation(BOTH));
    rig.write("web.yaml", WEB);
    rig.follow().await;
    assert_eq!((rig.told(), rig.targets()), (vec![], expectation(BOTH)));
}

#[tokio::test]
async fn objects_stay_while_a_document_of_their_file_may_be_any_object() {
    let rows = [
        ("kind: EndpointSlice", "kind: EndpointSlise", "kind: \"EndpointSlise\" is not known"),
        ("kind: Service", "kind: Servce", "kind: \"Servce\" is not known"),
        ("kind: Service", "sort: Service", "kind: is missing"),
        ("kind: Service", "kind: ServiceList", "items: is not a list of objects"),
        ("apiVersion: v1", "apiVersion: v2", "apiVersion: \"v2\" is not known for Service"),
        ("apiVersion: v1", "apiVersion: 1", "apiVersion: 1 is not known for Service"),
        ("discovery.k8s.io/v1", "discovery.k8s.oi/v1", "apiVersion: \"discovery.k8s.oi/v1\" is not known for EndpointSlice"),
        ("metadata: { name: web }", "metadata: { nmae: web }", "metadata.name: is missing"),
    ];
    let mut rig = Folder::new(&[("web.yaml", WEB)]).await;
    for (right, wrong, expected) in rows {
        rig.write("web.yaml", &WEB.replace(right, wrong));
        rig.follow().await;
        let told = rig.told();
        assert!(told.len() == 1 && told[0].starts_with("web.yaml, document ") && told[0].contains(expected), "{told:?}");
        assert_eq!(rig.targets(), expectation(BOTH), "{wrong}");
    }
    rig.write("web.yaml", "kind: Servce");
    rig.until(BOTH).await;
    rig.write("web.yaml", WEB.split("---").next().unwrap());
    rig.until(&[("10.96.0.1:80/TCP", &[])]).await;
}

#[tokio::test]
async fn other_kinds_are_passed_over_without_a_word() {
    let others = "
{ apiVersion: apps/v1, kind: Deployment, metadata: { name: web } }
---
{ apiVersion: v1, kind: ConfigMap, metadata: { name: web } }
---
{ apiVersion: serving.knative.dev/v1, kind: Service, metadata: { name: web } }
---
{ apiVersion: kustomize.config.k8s.io/v1beta1, kind: Kustomization }
---
{ apiVersion: v1, kind: List, items: [] }
";
    let mut rig = Folder::new(&[("web.yaml", &format!("{WEB}---{others}"))]).await;
    assert_eq!((rig.told(), rig.targets()), (vec![], expectation(BOTH)));
    rig.write("web.yaml", others);
    rig.until(&[]).await;
    assert_eq!(rig.told(), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_emptied_goes_on_until_it_is_clear_that_it_stays_empty() {
    let mut rig = Folder::new(&[("web.yaml", WEB)]).await;
    rig.write("web.yaml", "");
    rig.stays(BOTH).await;
    rig.write("web.yaml", &WEB.replace(", { addresses: [10.1.0.2] }", ""));
    rig.until(FIRST).await;
    rig.write("web.yaml", "\n");
    rig.stays(FIRST).await;
    rig.until(&[]).await;
}

/// Changes behind a link into another folder are found by looking, not by notification.
#[tokio::test]
async fn a_file_that_is_found_half_written_is_read_when_it_is_whole() {
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("web.yaml");
    fs::write(&target, WEB).unwrap();
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join("web.yaml")).unwrap();
    let path = folder.path().to_owned();
    // The reader waits far longer than the writer ever pauses, however busy the machine is.
    let second = Duration::from_secs(1);
    let pace = Pace { quiet: second, patience: 10 * second, poll: second };
    let mut rig = Folder::paced(folder, &path, pace).await;
    tokio::spawn(async move {
        let (half, rest) = WEB.split_once("---").unwrap();
        tokio::time::sleep(Duration::from_millis(940)).await;
        for i in 0..40 {
            fs::write(&target, format!("{half}{}", "#".repeat(i))).unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        fs::write(&target, format!("{half}---{}", rest.replace(", { addresses: [10.1.0.2] }", ""))).unwrap();
    });
    rig.follow().await;
    assert_eq!(rig.targets(), expectation(FIRST));
}

#[tokio::test]
async fn a_bad_object_keeps_its_last_good_version_and_the_others_go_on() {
    let mut rig = Folder::new(&[("web.yaml", WEB)]).await;
    let bad = WEB.replace("port: 80 }", "port: 70000 }").replace(", { addresses: [10.1.0.2] }", "");
    rig.write("web.yaml", &bad);
    rig.until(FIRST).await;
    let expected =
        "web.yaml, document 1: Service default/web: spec.ports[0].port: 70000 is not a port; use a number from 1 to 65535";
    assert_eq!(rig.told(), [expected]);
}

#[tokio::test]
async fn each_kind_of_bad_document_is_told_with_file_and_document_and_the_rest_works() {
    let bad = "
kind: Service
metadata: { name: labels }
spec: { clusterIP: 10.96.0.3, selector: { matchLabels: { app: web } }, ports: [{ port: 80 }] }
---
kind: Service
metadata: { name: portless }
spec: { clusterIP: 10.96.0.4, ports: [{ name: http }] }
---
kind: EndpointSlice
metadata: { name: lost }
addressType: IPv4
---
metadata: { name: kindless }
---
kind: Service
spec: {}
";
    let rig = Folder::new(&[("web.yaml", WEB), ("bad.yaml", bad)]).await;
    assert_eq!(rig.targets(), expectation(BOTH));
    let told: BTreeSet<_> = rig.told().into_iter().map(|line| line.split(';').next().unwrap().to_owned()).collect();
    let expected = [
        "bad.yaml, document 1: Service default/labels: spec.selector.matchLabels: is not a string",
        "bad.yaml, document 2: Service default/portless: spec.ports[0].port: is missing",
        "bad.yaml, document 3: EndpointSlice default/lost: metadata.labels[kubernetes.io/service-name]: is missing",
        "bad.yaml, document 4: kind: is missing",
        "bad.yaml, document 5: metadata.name: is missing",
    ];
    assert_eq!(told, BTreeSet::from(expected.map(ToOwned::to_owned)));
}

#[tokio::test]
async fn an_object_in_two_files_is_told_and_the_first_file_counts() {
    let other = WEB.replace(", { addresses: [10.1.0.2] }", "");
    let mut rig = Folder::new(&[("a.yaml", WEB), ("b.yaml", &other)]).await;
    assert_eq!(rig.targets(), expectation(BOTH));
    let told = rig.told();
    assert!(told.len() == 2 && told.iter().all(|line| line.starts_with("b.yaml, document")), "{told:?}");
    fs::remove_file(rig.folder.path().join("a.yaml")).unwrap();
    rig.until(FIRST).await;
}

#[tokio::test]
async fn an_object_may_move_to_another_file() {
    let mut rig = Folder::new(&[("a.yaml", WEB)]).await;
    fs::rename(rig.folder.path().join("a.yaml"), rig.folder.path().join("b.yaml")).unwrap();
    rig.stays(BOTH).await;
    let key = L4Address::new(std::net::Ipv4Addr::new(10, 96, 0, 1).into(), Port::new(80), Protocol::TCP);
    assert_eq!(rig.sync.store().frontends[&key].service.0, 1, "it never was away");
}

#[test]
fn a_path_where_nothing_is_is_an_error_at_the_start() {
    let folder = TempDir::new().unwrap();
    let error = Manifests::open(&folder.path().join("nowhere")).unwrap_err();
    assert!(
        matches!(&error, ManifestError::Unreadable { .. }) && error.to_string().contains("give --manifests a file or a folder")
    );
}
