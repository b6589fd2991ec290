//! Which API server, and as whom.

use std::path::PathBuf;

use kube::config::{Config, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, config::InClusterError};
use tracing::info;

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

/// Makes the client. Nothing is sent yet.
pub async fn connect(options: &ClientOptions) -> Result<Client, ClientError> {
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
    info!(server = url, "following the API server");
    Client::try_from(config).map_err(|source| ClientError::Client { url, source: Box::new(source) })
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
