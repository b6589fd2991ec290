//! What goes wrong between the agent and the API server, and what an operator can do about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::sync::chain;

/// Why, in one word: the label in metrics, the field in logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Reason {
    /// No connection, or one that broke.
    Unreachable,
    /// The other side's certificate is not trusted, or ours is not taken.
    Tls,
    /// Nothing came for too long.
    Silent,
    /// The credentials are not known.
    Unauthorized,
    /// The credentials are known, and may not.
    Forbidden,
    /// There is no such API.
    NotFound,
    /// The server has too much to do.
    Throttled,
    /// The server itself is in trouble.
    ServerError,
    /// The version from which to go on is no longer known.
    Expired,
    /// What came is not what an API server sends.
    Undecodable,
    /// There is one already.
    Conflict,
    /// Any other answer.
    Refused,
}

impl Reason {
    /// The word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Silent => "silent",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Throttled => "throttled",
            Self::ServerError => "server_error",
            Self::Expired => "expired",
            Self::Undecodable => "undecodable",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
        }
    }

    /// True if it concerns every kind of object alike.
    pub(super) const fn is_about_the_server(self) -> bool {
        matches!(self, Self::Unreachable | Self::Tls | Self::Silent | Self::Unauthorized)
    }

    /// True if other files of the same names, such as a newer token, may help.
    pub(super) const fn is_about_credentials(self) -> bool {
        matches!(self, Self::Tls | Self::Unauthorized)
    }

    /// What it means.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Unreachable => "the API server cannot be reached",
            Self::Tls => "the API server and the agent do not trust each other",
            Self::Silent => "the API server does not answer",
            Self::Unauthorized => "the API server does not know this agent",
            Self::Forbidden => "the API server does not show this kind of object to the agent",
            Self::NotFound => "the API server does not have this kind of object",
            Self::Throttled => "the API server has too much to do",
            Self::ServerError => "the API server is in trouble",
            Self::Expired => "the API server has forgotten where the watch stood",
            Self::Undecodable => "what comes from the API server cannot be read",
            Self::Conflict | Self::Refused => "the API server refuses",
        }
    }

    /// What to do, as a sentence.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable | Self::Silent => {
                "is it running, is its address right (--api-server), does a firewall stand in between?"
            }
            Self::Tls => "does the kubeconfig name this cluster's authority, and is this node's clock right?",
            Self::Unauthorized => "renew the token or certificate that the kubeconfig names: it is read again at each try.",
            Self::Forbidden => "let it list and watch: apply the ClusterRole of deploy/base/rbac.yaml.",
            Self::NotFound => "is this the URL of a Kubernetes API server (--api-server)?",
            Self::Throttled => "look at its load and its priority levels.",
            Self::ServerError => "look at its log, and at etcd.",
            Self::Expired => "everything is listed again.",
            Self::Undecodable => "does something on the way change it?",
            Self::Conflict | Self::Refused => "look at its log.",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// What the API server, or the system, says about it.
    pub(super) message: String,
    /// For how long the server wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// True for an event of a watch: the server is there, and could not go on.
    pub(super) in_stream: bool,
}

impl Failure {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None, in_stream: false }
    }

    /// True if another version might help: a server that is there, and that is not just busy or strict, may stumble over
    /// what came after the version, or not know it.
    pub(super) fn may_be_about_the_version(&self) -> bool {
        self.in_stream || matches!(self.reason, Reason::Undecodable | Reason::Refused | Reason::NotFound | Reason::Conflict)
    }

    /// A request that got no answer, or a body that broke off.
    pub(super) fn of_transport(error: &(dyn Error + 'static)) -> Self {
        let reason = if is_tls(error) { Reason::Tls } else { Reason::Unreachable };
        Self::new(reason, chain(error))
    }

    /// An answer other than success; `retry_after` as the header has it.
    pub(super) fn of_status(code: StatusCode, body: &[u8], retry_after: Option<u64>) -> Self {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let text = || String::from_utf8_lossy(body).trim().chars().take(MOST_TEXT).collect();
        let message = Some(status.message).filter(|message| !message.is_empty()).unwrap_or_else(text);
        let message = if message.is_empty() { code.to_string() } else { format!("{}: {message}", code.as_u16()) };
        let wait = retry_after.or(status.details.and_then(|details| details.retry_after_seconds));
        Self { reason: reason_of(code), message, retry_after: wait.map(Duration::from_secs), in_stream: false }
    }

    /// An ERROR event of a watch.
    pub(super) fn of_event(object: &str) -> Self {
        let status: Status = serde_json::from_str(object).unwrap_or_default();
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { in_stream: true, ..Self::of_status(code, object.as_bytes(), None) }
    }
}

/// Characters that are kept of a body that is no `Status`: some proxies answer with whole pages.
const MOST_TEXT: usize = 300;

/// What is used of the API's `Status`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: Option<u64>,
}

fn reason_of(code: StatusCode) -> Reason {
    match code {
        StatusCode::UNAUTHORIZED => Reason::Unauthorized,
        StatusCode::FORBIDDEN => Reason::Forbidden,
        StatusCode::NOT_FOUND => Reason::NotFound,
        StatusCode::CONFLICT => Reason::Conflict,
        StatusCode::GONE => Reason::Expired,
        StatusCode::TOO_MANY_REQUESTS => Reason::Throttled,
        code if code.is_server_error() => Reason::ServerError,
        _ => Reason::Refused,
    }
}

/// True if TLS is to blame. Its errors come inside I/O errors, which hide them from `source`.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    if let Some(inner) = inner
        && is_tls(inner)
    {
        return true;
    }
    error.source().is_some_and(is_tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_own_words_are_kept() {
        let body = br#"{"kind":"Status","code":403,"message":"services is forbidden: User \"x\" cannot list"}"#;
        let failure = Failure::of_status(StatusCode::FORBIDDEN, body, None);
        let message = r#"403: services is forbidden: User "x" cannot list"#;
        assert_eq!(failure, Failure::new(Reason::Forbidden, message));
        let page = Failure::of_status(StatusCode::BAD_GATEWAY, "x".repeat(5_000).as_bytes(), None);
        assert_eq!((page.reason, page.message.len()), (Reason::ServerError, MOST_TEXT + 5));
        assert_eq!(Failure::of_status(StatusCode::CONFLICT, b"", None).message, "409 Conflict");
    }

    #[test]
    fn the_wait_comes_from_the_header_or_the_body() {
        let body = br#"{"code":429,"details":{"retryAfterSeconds":3}}"#;
        let wait = |header| Failure::of_status(StatusCode::TOO_MANY_REQUESTS, body, header).retry_after;
        assert_eq!((wait(None), wait(Some(7))), (Some(Duration::from_secs(3)), Some(Duration::from_secs(7))));
    }

    #[test]
    fn an_error_of_tls_is_found_inside_others() {
        let tls = rustls::Error::General("bad".into());
        let wrapped = std::io::Error::other(std::io::Error::other(tls));
        assert_eq!(Failure::of_transport(&wrapped).reason, Reason::Tls);
        assert_eq!(Failure::of_transport(&std::io::Error::other("no")).reason, Reason::Unreachable);
    }
}
