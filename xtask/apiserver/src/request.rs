//! What a client asks.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Method, Uri};

use crate::fault::Verb;
use crate::resource::{Place, Resource};

/// A request that the server got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// When, since the server started.
    pub at: Duration,
    /// What is wanted.
    pub verb: Verb,
    /// Of what; none: a path that the server does not know.
    pub resource: Option<Resource>,
    /// The path.
    pub path: String,
    /// The query, decoded.
    pub query: BTreeMap<String, String>,
}

/// A request that is understood.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) verb: Verb,
    pub(crate) path: String,
    pub(crate) place: Place,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

impl Asked {
    /// True if a parameter is set to true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value == "true" || value == "1")
    }
}

/// The query of a URL, decoded.
pub(crate) fn query(uri: &Uri) -> BTreeMap<String, String> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

/// What a request wants.
pub(crate) fn verb(method: &Method, place: Option<&Place>, query: &BTreeMap<String, String>) -> Verb {
    let watches = query.get("watch").is_some_and(|value| value == "true" || value == "1");
    let named = place.is_some_and(|place| place.name.is_some());
    match *method {
        Method::GET if watches => Verb::Watch,
        Method::GET if named => Verb::Get,
        Method::GET => Verb::List,
        Method::POST => Verb::Create,
        Method::PATCH => Verb::Patch,
        _ => Verb::Other,
    }
}

/// The bearer token.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}
