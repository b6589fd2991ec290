//! Connections without a pause.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::{Dial, Failure, Tally, ask, ask_udp};
use crate::Namespace;

/// Clients that ask again and again until they are stopped.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl Load {
    /// Starts `clients` clients in `namespace`, each of which opens a connection, takes the greeting, closes, waits for
    /// `pause` and begins anew.
    pub(crate) async fn tcp(namespace: &Namespace, dial: Dial, clients: usize, pause: Duration) -> Result<Self> {
        Self::start(namespace, clients, pause, move || ask(dial)).await
    }

    /// The same with one datagram and its reply, from a new port each time.
    pub(crate) async fn udp(namespace: &Namespace, dial: Dial, clients: usize, pause: Duration) -> Result<Self> {
        Self::start(namespace, clients, pause, move || ask_udp(dial)).await
    }

    async fn start<F, Fut>(namespace: &Namespace, clients: usize, pause: Duration, attempt: F) -> Result<Self>
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<String, Failure>> + 'static,
    {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let counted = tally.clone();
        namespace
            .run(move || async move {
                spawn_local(async move {
                    join_all((0..clients).map(|_| client(&attempt, pause, &counted, &stopped))).await;
                    let _ = end.send(());
                });
                Ok(())
            })
            .await?;
        Ok(Self { tally, stop, ended })
    }

    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Lets every client finish what it is at, and gives the count.
    pub async fn stop(self) -> Tally {
        self.stop.send_replace(true);
        // The namespace may have ended, and the clients with it; what they counted stands.
        let _ = self.ended.await;
        lock(&self.tally).clone()
    }
}

async fn client<F, Fut>(attempt: &F, pause: Duration, tally: &Mutex<Tally>, stopped: &watch::Receiver<bool>)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<String, Failure>>,
{
    // The sender is gone when the load was dropped: that stops it too.
    while !*stopped.borrow() && stopped.has_changed().is_ok() {
        let outcome = attempt().await;
        lock(tally).count(outcome);
        sleep(pause).await;
    }
}

/// A tally is whole after each addition, so a panic elsewhere leaves it usable.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
