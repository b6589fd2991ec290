//! A UDP client that asks again and again from one port, while the world around it changes.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use viaduct_lab::{Datagrams, Dial, Failure, Pod};

/// Who answered, or why nobody did.
pub(crate) type Outcome = Result<String, Failure>;

const PAUSE: Duration = Duration::from_millis(1);
/// How long an outcome may take to come, after its own patience, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client with one socket. It asks until it is dropped.
#[derive(Debug)]
pub(crate) struct Caller {
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
}

#[derive(Default, Debug)]
struct Heard {
    questions: u64,
    /// Outcomes in their order, without those that equal the one before.
    outcomes: Vec<Outcome>,
}

impl Caller {
    /// Begins to ask from `client`.
    pub(crate) async fn start(client: &Pod, dial: Dial) -> Result<Self> {
        let socket = client.open_udp(dial).await?;
        let (write, heard) = watch::channel(Heard::default());
        let task = tokio::spawn(async move {
            for number in 1_u64.. {
                let outcome = ask(&socket, &number.to_be_bytes()).await;
                write.send_modify(|heard| heard.add(outcome));
                sleep(PAUSE).await;
            }
        });
        Ok(Self { heard, task })
    }

    /// The outcome of a question that is asked after this call.
    pub(crate) async fn next(&mut self) -> Result<Outcome> {
        // One question may be under way.
        let after = self.heard.borrow().questions + 1;
        let heard = timeout(PATIENCE, self.heard.wait_for(|heard| heard.questions > after)).await;
        let heard = heard.context("the caller is stuck")??;
        heard.outcomes.last().cloned().context("no outcome")
    }

    /// Every outcome so far, without those that equal the one before.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.heard.borrow().outcomes.clone()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heard {
    fn add(&mut self, outcome: Outcome) {
        self.questions += 1;
        if self.outcomes.last() != Some(&outcome) {
            self.outcomes.push(outcome);
        }
    }
}

/// Asks, and takes the answer to this question alone: one to an earlier question may come late.
async fn ask(socket: &Datagrams, question: &[u8]) -> Outcome {
    socket.send(question).await?;
    loop {
        let reply = socket.reply().await?;
        if reply.payload == question {
            return Ok(reply.server);
        }
    }
}
