//! What the server answers when it does not do what was asked, in the real one's words.

use bytes::Bytes;
use serde_json::{Value, json};

/// An answer other than success.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub(crate) code: u16,
    pub(crate) retry_after: Option<u32>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Status {
    /// A `Status` object.
    pub fn new(code: u16, reason: &str, message: &str) -> Self {
        Self::of(&object(code, reason, message))
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: &str) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: who asks is not known.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: who asks may not.
    pub fn forbidden(verb: &str, resource: crate::Resource) -> Self {
        let (plural, group) = (resource.plural(), resource.group());
        let user = "system:serviceaccount:kube-system:viaduct";
        let message = format!(
            r#"{plural} is forbidden: User "{user}" cannot {verb} resource "{plural}" in API group "{group}" at the cluster scope"#
        );
        let mut status = object(
            403,
            "Forbidden",
            &match group {
                "" => message,
                group => message.replacen(plural, &format!("{plural}.{group}"), 1),
            },
        );
        status["details"] = json!({ "group": group, "kind": plural });
        Self::of(&status)
    }

    /// 404 of a path that no API has: plain text, as the real server's router answers.
    pub fn no_such_path() -> Self {
        Self::text(404, "404 page not found\n")
    }

    /// 404 of an object.
    pub fn not_found(plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", &format!("{plural} {name:?} not found"))
    }

    /// 410: a list cannot go on, because the versions that it began with are gone.
    pub fn continue_expired() -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
                       without the continue parameter.";
        Self::new(410, "Expired", message)
    }

    /// 422: the object, or a parameter, is not valid.
    pub fn invalid(message: &str) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// 429 with a `Status` body.
    pub fn too_many_requests(retry_after: u32) -> Self {
        let mut status =
            object(429, "TooManyRequests", "the server has received too many requests and has asked us to try again later");
        status["details"] = json!({ "retryAfterSeconds": retry_after });
        Self { retry_after: Some(retry_after), ..Self::of(&status) }
    }

    /// 429 as the server's queues give it: plain text.
    pub fn overloaded(retry_after: u32) -> Self {
        Self { retry_after: Some(retry_after), ..Self::text(429, "Too many requests, please try again later.\n") }
    }

    /// 500: something broke, such as the store behind the server.
    pub fn internal() -> Self {
        Self::new(500, "InternalError", "Internal error occurred: etcdserver: request timed out")
    }

    /// 503: not now.
    pub fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
    }

    /// An answer that no API server gives, such as a proxy's on the way.
    pub fn text(code: u16, text: &str) -> Self {
        Self { code, retry_after: None, content_type: "text/plain; charset=utf-8", body: text.to_owned().into() }
    }

    fn of(object: &Value) -> Self {
        let code = object["code"].as_u64().unwrap_or(500) as u16;
        Self { code, retry_after: None, content_type: "application/json", body: object.to_string().into() }
    }

    /// The line by which a watch tells of it.
    pub(crate) fn line(&self) -> Bytes {
        let object: Value = serde_json::from_slice(&self.body).unwrap_or_else(|_| object(self.code, "Unknown", "unknown"));
        format!("{}\n", json!({ "type": "ERROR", "object": object })).into()
    }

    /// 410 inside a watch: the changes since `version` are not known any more.
    pub(crate) fn too_old(version: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", &format!("too old resource version: {version} ({oldest})"))
    }
}

fn object(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code })
}
