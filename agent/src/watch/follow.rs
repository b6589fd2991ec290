//! One kind, followed: listed, then watched, whatever happens on the way.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info};

use super::backoff::{Backoff, fraction};
use super::client::Connection;
use super::decode::{self, Told};
use super::failure::{Failure, Reason};
use super::kinds::Followed;
use super::lines::Lines;
use super::outage::Outages;
use super::request::{Answer, get, send};
use super::timing::Timing;
use super::troubles::Troubles;
use crate::metrics::WatchMetrics;
use crate::model::{Accepted, Event};

/// A longer line is no object: etcd takes none beyond a few megabytes.
const LONGEST_LINE: usize = 1 << 26;
/// How often a watch may fail at one version, although the server is there, before everything is listed again.
const ATTEMPTS_AT_A_VERSION: u32 = 2;
/// How often a kind that the node can do without may fail at the start before nobody waits for it.
const ATTEMPTS_OF_AN_OPTIONAL_KIND: u32 = 3;

/// Why following stopped.
#[derive(Debug)]
enum Stop {
    /// It failed; it is tried again.
    Failed(Failure),
    /// Nobody wants to know any more.
    Closed,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What all followers of one API server share.
pub(super) struct Shared<'a> {
    pub(super) connection: &'a Connection,
    pub(super) timing: &'a Timing,
    pub(super) outages: &'a Outages,
    pub(super) metrics: &'a WatchMetrics,
    pub(super) events: &'a mpsc::Sender<Vec<Event>>,
}

/// One kind, and how far it has been followed.
pub(super) struct Follower<'a> {
    followed: Followed,
    shared: &'a Shared<'a>,
    backoff: Backoff,
    /// Where the watch stands; none: everything has to be listed.
    version: Option<String>,
    /// True once the model knows what there is of this kind, or that it need not wait for it.
    has_told: bool,
    /// True if the server said that it does not have this kind.
    is_absent: bool,
    /// Objects on a page; 0: all.
    page_size: u32,
    /// How often the watch could not go on from this version, although the server was there.
    stuck: u32,
    /// How often nothing could be told of the kind since the start.
    fruitless: u32,
    /// When the watch began that works.
    working_since: Option<Instant>,
    troubles: Troubles,
}

impl<'a> Follower<'a> {
    pub(super) fn new(followed: Followed, shared: &'a Shared<'a>) -> Self {
        let Timing { first_wait, longest_wait, page_size, .. } = *shared.timing;
        let backoff = Backoff::new(first_wait, longest_wait);
        Self {
            followed,
            shared,
            backoff,
            version: None,
            has_told: false,
            is_absent: false,
            page_size,
            stuck: 0,
            fruitless: 0,
            working_since: None,
            troubles: Troubles::default(),
        }
    }

    /// Follows the kind until nobody wants to know any more.
    pub(super) async fn run(mut self) {
        loop {
            self.working_since = None;
            let begin = Instant::now();
            let wait = match self.list_and_watch().await {
                Err(Stop::Closed) => return,
                Err(Stop::Failed(failure)) => match self.recover(&failure).await {
                    ControlFlow::Continue(wait) => wait,
                    ControlFlow::Break(()) => return,
                },
                // The server ends watches from time to time; if it does nothing else, it must not be pestered.
                Ok(()) if begin.elapsed() < self.shared.timing.shortest_watch => self.backoff.failed(None),
                Ok(()) => {
                    self.settle();
                    Duration::ZERO
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn list_and_watch(&mut self) -> Result<(), Stop> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list().await?,
        };
        self.watch(&version).await
    }

    /// What to do about a failure; for how long to wait then.
    async fn recover(&mut self, failure: &Failure) -> ControlFlow<(), Duration> {
        let Shared { timing, outages, metrics, .. } = self.shared;
        metrics.connected(self.followed.kind, false);
        if failure.reason == Reason::NotFound && self.followed.is_optional {
            return self.is_not_there().await;
        }
        outages.failed(&self.followed, failure, self.working_since.is_some());
        self.settle();
        if failure.reason == Reason::Expired {
            // A list that takes longer than the server remembers is asked for in one piece.
            self.page_size = if self.version.is_none() { 0 } else { timing.page_size };
            self.version = None;
        } else if failure.may_be_about_the_version() && self.version.is_some() {
            self.stuck += 1;
            if self.stuck >= ATTEMPTS_AT_A_VERSION {
                self.version = None;
            }
        }
        if self.gives_up_waiting(failure.reason) && self.tell_of_nothing().await.is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(self.backoff.failed(failure.retry_after))
    }

    /// True if nobody should wait any longer for a kind that the node can do without. A start does not ignore it at the
    /// first trouble.
    fn gives_up_waiting(&mut self, reason: Reason) -> bool {
        self.fruitless += 1;
        let waits = self.followed.is_optional && !self.has_told;
        waits && (reason == Reason::Forbidden || self.fruitless >= ATTEMPTS_OF_AN_OPTIONAL_KIND)
    }

    /// A watch that has worked for a while makes up for the failures before it.
    fn settle(&mut self) {
        if self.working_since.is_some_and(|since| since.elapsed() > self.shared.timing.settled) {
            self.backoff.succeeded();
        }
    }

    /// The server does not have this kind; it may some day.
    async fn is_not_there(&mut self) -> ControlFlow<(), Duration> {
        let (kind, Shared { timing, outages, metrics, .. }) = (self.followed.kind, self.shared);
        metrics.absent(kind);
        outages.answered(&self.followed);
        self.version = None;
        if !self.is_absent {
            info!(kind = kind.name(), "the API server does not have this kind of object: the node is served without");
            self.is_absent = true;
            if self.tell_of_nothing().await.is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(timing.absent_wait.mul_f64(1.0 + fraction() / 10.0))
    }

    /// Nothing is known of this kind, and nobody need wait for it.
    async fn tell_of_nothing(&mut self) -> Result<(), Stop> {
        self.has_told = true;
        let kind = self.followed.kind;
        self.send(vec![Event::Listed(kind, Vec::new()), Event::Hidden(kind)]).await
    }

    /// Lists everything; the version of the list.
    async fn list(&mut self) -> Result<String, Stop> {
        let kind = self.followed.kind;
        self.shared.metrics.listed(kind);
        let begin = Instant::now();
        let (mut objects, mut problems) = (Vec::new(), Vec::new());
        let mut troubles = Troubles::default();
        let mut token: Option<String> = None;
        let version = loop {
            let answer = self.ask(&self.followed.page_url(self.page_size, token.as_deref())).await?;
            let page = decode::page(kind, &answer.collect(self.shared.timing.silence).await?)?;
            for Accepted { object, problems: found } in page.found {
                problems.extend(troubles.listed(&self.troubles, &object, found));
                objects.push(object);
            }
            match page.next {
                Some(next) => token = Some(next),
                None => break page.version,
            }
        };
        debug!(kind = kind.name(), objects = objects.len(), version, duration = ?begin.elapsed(), "listed");
        self.troubles = troubles;
        self.send(std::iter::once(Event::Listed(kind, objects)).chain(problems).collect()).await?;
        (self.has_told, self.is_absent) = (true, false);
        self.stand_at(version.clone());
        Ok(version)
    }

    /// Watches what comes after `version`, until the server ends the watch.
    async fn watch(&mut self, version: &str) -> Result<(), Stop> {
        let timing = self.shared.timing;
        let lifetime = timing.watch.mul_f64(0.75 + fraction() / 4.0);
        let mut answer = self.ask(&self.followed.watch_url(version, lifetime.as_secs().max(1))).await?;
        let patience = lifetime + timing.watch_margin;
        let opened = Instant::now();
        let mut lines = Lines::default();
        loop {
            let limit = if self.working_since.is_some() { patience } else { timing.steady };
            let piece = match answer.next(limit).await {
                Ok(piece) => piece,
                Err(failure) if failure.reason == Reason::Silent && self.working_since.is_none() => {
                    self.works(opened);
                    continue;
                }
                Err(failure) => return Err(failure.into()),
            };
            let Some(piece) = piece else { return Ok(()) };
            let whole = lines.push(&piece);
            if lines.waiting() > LONGEST_LINE {
                return Err(Failure::new(Reason::Undecodable, format!("a line is longer than {LONGEST_LINE} bytes")).into());
            }
            self.take(&whole, opened).await?;
        }
    }

    /// Takes in what whole lines tell, as far as they can be read.
    async fn take(&mut self, lines: &[u8], opened: Instant) -> Result<(), Stop> {
        let mut batch = Vec::new();
        let mut failed = None;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match decode::line(self.followed.kind, line) {
                Ok((Told::Failed(failure), _)) | Err(failure) => {
                    failed = Some(failure);
                    break;
                }
                Ok((told, version)) => {
                    self.stand_at(version);
                    batch.extend(self.events(told));
                }
            }
        }
        if failed.is_none() {
            self.works(opened);
        }
        if !batch.is_empty() {
            self.send(batch).await?;
        }
        failed.map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn events(&mut self, told: Told) -> Vec<Event> {
        match told {
            Told::Seen(Some(Accepted { object, problems })) => {
                let problems = self.troubles.seen(&object, problems);
                std::iter::once(Event::Seen(object)).chain(problems).collect()
            }
            Told::Gone(Some(object)) => self.troubles.gone(&object).into_iter().chain([Event::Gone(object)]).collect(),
            Told::Seen(None) | Told::Gone(None) | Told::Bookmark | Told::Failed(_) => Vec::new(),
        }
    }

    /// The watch has shown that it works.
    fn works(&mut self, opened: Instant) {
        self.shared.metrics.heard(self.followed.kind);
        if self.working_since.is_none() {
            self.working_since = Some(opened);
            self.shared.outages.over(&self.followed);
        }
    }

    fn stand_at(&mut self, version: String) {
        self.version = Some(version);
        self.stuck = 0;
        self.page_size = self.shared.timing.page_size;
    }

    async fn ask(&self, url: &str) -> Result<Answer, Failure> {
        send(self.shared.connection, get(url)?, self.shared.timing.answer).await
    }

    async fn send(&self, batch: Vec<Event>) -> Result<(), Stop> {
        self.shared.events.send(batch).await.map_err(|_| Stop::Closed)
    }
}
