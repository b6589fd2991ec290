//! Which API server, and as whom.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{Config, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, config::InClusterError};
use tower::{BoxError, ServiceBuilder};
use tracing::{debug, info};

use crate::sync::chain;

/// How long the system may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection is found to be dead whose other end went without a word: a watch would wait for minutes.
mod keepalive {
    use std::time::Duration;

    /// For how long nothing comes before the other end is asked.
    pub(super) const QUIET: Duration = Duration::from_secs(15);
    /// How long until it is asked again.
    pub(super) const INTERVAL: Duration = Duration::from_secs(5);
    /// How often it is asked.
    pub(super) const PROBES: u32 = 3;
    /// How long what was sent may wait to be acknowledged.
    pub(super) const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
}

/// How to find the API server.
#[derive(Clone, Default, Debug)]
pub struct ClientOptions {
    /// The kubeconfig file; without it, the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// Where the API server is, in place of what the kubeconfig or the pod's environment says. A pod's environment names
    /// a ClusterIP, which nobody translates before the agent runs.
    pub api_server: Option<String>,
}

/// Why there is no connection to begin with.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {}: give --kubeconfig a file that kubectl works with", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KubeconfigError,
    },
    /// This is no pod.
    #[error("not in a pod of a cluster: give one of --kubeconfig, --manifests or --api-server")]
    NotInCluster(#[source] InClusterError),
    /// The override is no URL.
    #[error("{url:?} is not the URL of an API server: write --api-server https://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// The client could not be made.
    #[error("cannot set up the client for the API server at {url}")]
    Client {
        /// The API server.
        url: String,
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
    /// The environment's settings cannot be used.
    #[error("cannot read the API server's settings")]
    Infer(#[source] InferConfigError),
}

/// The way to one API server. Clients of one connection share its HTTP connections.
#[derive(Debug)]
pub struct Connection {
    options: ClientOptions,
    url: String,
    current: Mutex<Current>,
}

/// The client of the day.
#[derive(Clone)]
struct Current {
    client: Client,
    generation: u64,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Connection {
    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The client, and a number that tells it from those before and after it.
    pub(super) fn client(&self) -> (u64, Client) {
        let current = self.current().clone();
        (current.generation, current.client)
    }

    /// Reads the files again that say how to be let in; client number `failed` was not.
    pub(super) async fn renew(&self, failed: u64) {
        match make(&self.options).await {
            Ok((_, client)) => {
                let mut current = self.current();
                if current.generation == failed {
                    *current = Current { client, generation: failed + 1 };
                }
            }
            Err(error) => debug!(error = chain(&error), "the credentials cannot be read again: those from before are used"),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().expect("nobody panics while holding it")
    }
}

/// Makes the connection. Nothing is sent yet.
pub async fn connect(options: &ClientOptions) -> Result<Connection, ClientError> {
    let (url, client) = make(options).await?;
    info!(server = url, "following the API server");
    Ok(Connection { options: options.clone(), url, current: Mutex::new(Current { client, generation: 0 }) })
}

/// The server's URL, and a client for it.
async fn make(options: &ClientOptions) -> Result<(String, Client), ClientError> {
    let url = options.api_server.as_deref().map(parse_url).transpose()?;
    let mut config = match &options.kubeconfig {
        Some(path) => from_kubeconfig(path).await?,
        None => match (Config::incluster(), &url) {
            (Ok(config), _) => config,
            (Err(_), Some(url)) => Config::new(url.clone()),
            (Err(error), None) => return Err(ClientError::NotInCluster(error)),
        },
    };
    if let Some(url) = url {
        config.cluster_url = url;
    }
    let url = config.cluster_url.to_string();
    let client = client(config).map_err(|source| ClientError::Client { url: url.clone(), source: Box::new(source) })?;
    Ok((url, client))
}

/// A client like those that kube makes, but for two things: it notices when the other end is gone, and it asks once. Whoever
/// asks decides when to ask again, and says why it is necessary.
fn client(config: Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(keepalive::QUIET));
    tcp.set_keepalive_interval(Some(keepalive::INTERVAL));
    tcp.set_keepalive_retries(Some(keepalive::PROBES));
    tcp.set_tcp_user_timeout(Some(keepalive::UNACKNOWLEDGED));
    let connector = config.rustls_https_connector_with_connector(tcp)?;
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

fn parse_url(url: &str) -> Result<http::Uri, ClientError> {
    let parsed = url.parse::<http::Uri>().ok();
    let usable = |url: &http::Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    parsed.filter(usable).ok_or_else(|| ClientError::Url { url: url.into() })
}

async fn from_kubeconfig(path: &PathBuf) -> Result<Config, ClientError> {
    let failed = |source| ClientError::Kubeconfig { path: path.clone(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::net::TcpListener;

    use super::*;

    /// The kernel's timer of the connection to the local `port`, as `/proc/net/tcp` has it: kind and 1/100 seconds, in hexadecimal.
    fn timer(port: u16) -> Option<(u8, u64)> {
        let (remote, established) = (format!("0100007F:{port:04X}"), "01");
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row[2] == remote && row[3] == established)?;
        let (kind, rest) = row[5].split_once(':').unwrap();
        Some((u8::from_str_radix(kind, 16).unwrap(), u64::from_str_radix(rest, 16).unwrap()))
    }

    #[tokio::test]
    async fn a_connection_asks_whether_the_other_end_is_still_there() {
        const KEEPALIVE: u8 = 2;
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let options = ClientOptions { api_server: Some(format!("http://127.0.0.1:{port}")), ..ClientOptions::default() };
        let connection = connect(&options).await.unwrap();
        let request = http::Request::get("/version").body(Body::empty()).unwrap();
        let asking = tokio::spawn(async move { connection.client().1.send(request).await });
        let (_silent, _) = server.accept().await.unwrap();
        // Until the request is acknowledged, the connection's timer is another one.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while timer(port).is_none_or(|(kind, _)| kind != KEEPALIVE) && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (kind, due) = timer(port).unwrap();
        assert!(kind == KEEPALIVE && due <= keepalive::QUIET.as_secs() * 100, "timer {kind}, due in {due}");
        asking.abort();
    }
}
