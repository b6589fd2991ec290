//! A plain HTTP client, so that the tests see what is on the wire.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use viaduct_apiserver::ApiServer;

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a request.
pub(crate) async fn send(server: &ApiServer, method: &str, path: &str, token: &str, body: &str) -> Result<Response<Incoming>> {
    let address = server.url().trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(&address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", address);
    let request = request.header("authorization", format!("Bearer {token}")).body(Full::<Bytes>::from(body.to_owned()))?;
    Ok(tokio::time::timeout(PATIENCE, sender.send_request(request)).await??)
}

/// The code and the body of an answer.
pub(crate) async fn ask(server: &ApiServer, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
    let response = send(server, method, path, "", body).await?;
    let code = response.status().as_u16();
    let bytes = tokio::time::timeout(PATIENCE, response.into_body().collect()).await??.to_bytes();
    Ok((code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into())))
}

pub(crate) async fn get(server: &ApiServer, path: &str) -> Result<(u16, Value)> {
    ask(server, "GET", path, "").await
}

/// A watch, line by line.
pub(crate) struct Watch {
    body: Incoming,
    buffer: Vec<u8>,
    lines: VecDeque<Value>,
}

impl Watch {
    pub(crate) async fn open(server: &ApiServer, path: &str) -> Result<Self> {
        let response = send(server, "GET", path, "", "").await?;
        if response.status() != 200 {
            bail!("{}", response.status());
        }
        Ok(Self { body: response.into_body(), buffer: Vec::new(), lines: VecDeque::new() })
    }

    /// The next event; none at the polite end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.context("the watch is silent")?;
            let Some(frame) = frame else { return Ok(None) };
            self.buffer.extend(frame?.into_data().unwrap_or_default());
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                self.lines.push_back(serde_json::from_slice(&line)?);
            }
        }
    }

    /// Type, name and version of the next event.
    pub(crate) async fn told(&mut self) -> Result<(String, String, String)> {
        let event = self.next().await?.context("the watch is over")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &event["object"]["metadata"];
        Ok((text(&event["type"]), text(&metadata["name"]), text(&metadata["resourceVersion"])))
    }
}
