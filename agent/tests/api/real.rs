//! kube-apiserver and etcd, started for a test on loopback.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{Method, Request};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use viaduct_apiserver::{Authority, Credentials, Resource};

/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A real API server. It ends when it is dropped.
pub(crate) struct RealServer {
    client: Client,
    kubeconfig: PathBuf,
    _processes: [Child; 2],
    _folder: TempDir,
}

impl RealServer {
    /// Starts the binaries that lie in `assets`.
    pub(crate) async fn start(assets: &Path) -> Result<Self> {
        let folder = TempDir::new()?;
        let [clients, peers, port] = free_ports()?;
        let authority = Authority::new()?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let server = authority.server(LOOPBACK)?;
        let files = [("ca.pem", authority.certificate()), ("server.pem", &server.certificate), ("server.key", &server.key)];
        for (name, text) in files {
            std::fs::write(path(name), text)?;
        }
        let etcd_url = format!("http://127.0.0.1:{clients}");
        let peer_url = format!("http://127.0.0.1:{peers}");
        let etcd = Command::new(assets.join("etcd"))
            .args(["--data-dir", &path("etcd"), "--unsafe-no-fsync"])
            .args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url])
            .args(["--listen-peer-urls", &peer_url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start etcd")?;
        let api_server = Command::new(assets.join("kube-apiserver"))
            .args(["--etcd-servers", &etcd_url, "--secure-port", &port.to_string()])
            .args(["--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--cert-dir", &path("certs")])
            .args(["--tls-cert-file", &path("server.pem"), "--tls-private-key-file", &path("server.key")])
            .args(["--client-ca-file", &path("ca.pem"), "--authorization-mode", "RBAC"])
            .args(["--service-account-issuer", "https://127.0.0.1", "--service-cluster-ip-range", "10.96.0.0/16"])
            .args(["--service-account-key-file", &path("server.pem"), "--service-account-signing-key-file", &path("server.key")])
            .args(["--disable-admission-plugins", "ServiceAccount"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start kube-apiserver")?;
        let credentials = Credentials {
            server: format!("https://127.0.0.1:{port}"),
            authority: Some(authority.certificate().to_owned()),
            identity: Some(authority.client("test", "system:masters")?),
            token: None,
        };
        let kubeconfig = credentials.write(folder.path())?;
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        wait_until_ready(&client).await?;
        Ok(Self { client, kubeconfig, _processes: [api_server, etcd], _folder: folder })
    }

    /// For `--kubeconfig`.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes or changes an object of the namespace `default`.
    pub(crate) async fn apply(&self, object: &Value) -> Result<()> {
        let resource = Resource::ALL.into_iter().find(|resource| object["kind"] == resource.kind());
        let collection = collection(resource.context("a kind that is known")?);
        let name = object["metadata"]["name"].as_str().context("a name")?;
        let url = format!("{collection}/{name}?fieldManager=test&force=true");
        // Server-side apply takes YAML, of which JSON is a part.
        let request = Request::builder().method(Method::PATCH).uri(url).header("content-type", "application/apply-patch+yaml");
        self.client.request_text(request.body(object.to_string().into_bytes())?).await?;
        Ok(())
    }

    /// Deletes an object of the namespace `default`.
    pub(crate) async fn delete(&self, resource: Resource, name: &str) -> Result<()> {
        let url = format!("{}/{name}", collection(resource));
        self.client.request_text(Request::delete(url).body(Vec::new())?).await?;
        Ok(())
    }
}

fn collection(resource: Resource) -> String {
    if resource.is_namespaced() {
        format!("{}/namespaces/default/{}", resource.base(), resource.plural())
    } else {
        resource.path()
    }
}

async fn wait_until_ready(client: &Client) -> Result<()> {
    let ready = async {
        // The namespace is made by the server itself, a little after it is ready.
        while client.request_text(Request::get("/api/v1/namespaces/default").body(Vec::new())?).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, ready).await.context("kube-apiserver is never ready")?
}

/// Ports that nobody listens at now.
fn free_ports() -> Result<[u16; 3]> {
    let listeners = [(); 3].map(|()| TcpListener::bind((LOOPBACK, 0)));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    ensure!(ports.iter().all(|port| *port != 0), "no port is free");
    Ok(ports)
}
