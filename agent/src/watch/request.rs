//! Requests, and the bodies of answers, none of which is waited for without end.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::client::Connection;
use super::failure::{Failure, Reason};

/// How many bytes of an answer that is no success are read.
const MOST_OF_A_REFUSAL: usize = 1 << 16;

/// Sends a request and waits so long for its answer: success, or a failure that says what the server says.
pub(super) async fn send(connection: &Connection, request: Request<Vec<u8>>, patience: Duration) -> Result<Answer, Failure> {
    let (generation, client) = connection.client();
    let sent = tokio::time::timeout(patience, client.send(request.map(Body::from))).await;
    let result = match sent {
        Ok(Ok(response)) if response.status().is_success() => Ok(Answer { body: response.into_body() }),
        Ok(Ok(response)) => Err(refusal(response, patience).await),
        Ok(Err(error)) => Err(Failure::of_transport(&error)),
        Err(_) => Err(Failure::new(Reason::Silent, format!("no answer within {patience:?}"))),
    };
    if let Err(failure) = &result
        && failure.reason.is_about_credentials()
    {
        connection.renew(generation).await;
    }
    result
}

/// A GET request.
pub(super) fn get(url: &str) -> Result<Request<Vec<u8>>, Failure> {
    Request::get(url).body(Vec::new()).map_err(|error| Failure::new(Reason::Refused, error.to_string()))
}

async fn refusal(response: Response<Body>, patience: Duration) -> Failure {
    let code = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    let mut answer = Answer { body: response.into_body() };
    let mut body = Vec::new();
    // What cannot be read of it is not missed: the code says enough.
    while body.len() < MOST_OF_A_REFUSAL
        && let Ok(Some(piece)) = answer.next(patience).await
    {
        body.extend(piece);
    }
    Failure::of_status(code, &body, retry_after)
}

/// A successful answer, whose body comes piece by piece.
pub(super) struct Answer {
    body: Body,
}

impl Answer {
    /// The next piece, if it comes within `patience`; none at the end.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = tokio::time::timeout(patience, self.body.frame()).await;
            let frame = frame.map_err(|_| Failure::new(Reason::Silent, format!("nothing came for {patience:?}")))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| of_body(&error))?;
            // Trailers carry nothing for us.
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
    }

    /// The whole body. The server may take its time, as long as something comes.
    pub(super) async fn collect(mut self, patience: Duration) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = self.next(patience).await? {
            body.extend(piece);
        }
        Ok(body)
    }
}

fn of_body(error: &(dyn Error + 'static)) -> Failure {
    Failure::of_transport(error)
}
