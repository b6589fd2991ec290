//! What a client needs to be let in, and the kubeconfig that says so.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use crate::tls::Identity;

/// What a client needs. Change a part of it to make a client that is turned away.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The server's URL.
    pub server: String,
    /// The certificate of the authority that vouches for the server, as PEM.
    pub authority: Option<String>,
    /// Who the client is.
    pub identity: Option<Identity>,
    /// The bearer token.
    pub token: Option<String>,
}

impl Credentials {
    /// Where [`Credentials::write`] puts the token.
    pub const TOKEN: &str = "token";

    /// Writes a kubeconfig, and the files that it names, into `folder`.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let mut cluster = json!({ "server": self.server });
        let mut user = json!({});
        if let Some(authority) = &self.authority {
            cluster["certificate-authority"] = file(folder, "ca.crt", authority)?.into();
        }
        if let Some(identity) = &self.identity {
            user["client-certificate"] = file(folder, "client.crt", &identity.certificate)?.into();
            user["client-key"] = file(folder, "client.key", &identity.key)?.into();
        }
        if let Some(token) = &self.token {
            user["tokenFile"] = file(folder, Self::TOKEN, token)?.into();
        }
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "users": [{ "name": "test", "user": user }],
        });
        Ok(file(folder, "kubeconfig", &kubeconfig.to_string())?.into())
    }
}

fn file(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}
