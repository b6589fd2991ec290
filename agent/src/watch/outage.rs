//! What fails for how long: each outage is told once when it begins, and once when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::failure::{Failure, Reason};
use super::kinds::Followed;
use crate::metrics::WatchMetrics;
use crate::model::Kind;

/// Something that does not work.
#[derive(Debug)]
struct Outage {
    since: Instant,
    /// What was told of it; none: it may be over before it is worth a warning.
    told: Option<Reason>,
    /// The kinds that are not followed because of it.
    kinds: BTreeSet<Kind>,
}

/// What an outage is about: the server as a whole, or one kind.
type About = Option<Kind>;

/// All outages of one API server.
#[derive(Debug)]
pub(super) struct Outages {
    server: String,
    metrics: WatchMetrics,
    open: Mutex<BTreeMap<About, Outage>>,
}

impl Outages {
    pub(super) fn new(server: &str, metrics: WatchMetrics) -> Self {
        Self { server: server.to_owned(), metrics, open: Mutex::default() }
    }

    /// Following a kind failed. A watch that worked until then is no news for a warning: mostly it goes on at once.
    pub(super) fn failed(&self, followed: &Followed, failure: &Failure, was_working: bool) {
        self.metrics.failed(followed.kind, failure.reason);
        let kind = followed.kind.name();
        if failure.reason == Reason::Expired {
            return info!(
                kind,
                answer = failure.message,
                "the API server has forgotten where the watch stood: everything is listed again"
            );
        }
        let about = (!failure.reason.is_about_the_server()).then_some(followed.kind);
        if about.is_some() {
            self.answered(followed);
        }
        let mut open = self.open();
        let outage = open.entry(about).or_insert_with(|| Outage { since: Instant::now(), told: None, kinds: BTreeSet::new() });
        outage.kinds.insert(followed.kind);
        if outage.told == Some(failure.reason) {
            debug!(kind, reason = %failure.reason, answer = failure.message, "still failing");
        } else if was_working && outage.told.is_none() {
            info!(kind, reason = %failure.reason, answer = failure.message, "the watch broke off: it goes on where it stood");
        } else {
            outage.told = Some(failure.reason);
            self.tell(followed, failure, outage.since);
        }
    }

    /// A kind is followed.
    pub(super) fn over(&self, followed: &Followed) {
        self.metrics.connected(followed.kind, true);
        self.leave(followed, |_| true);
    }

    /// The server answered something about a kind: whatever it was, the server is there.
    pub(super) fn answered(&self, followed: &Followed) {
        self.leave(followed, |about| about.is_none());
    }

    /// A kind is not concerned any more by those outages that are `over`.
    fn leave(&self, followed: &Followed, over: impl Fn(About) -> bool) {
        self.open().retain(|about, outage| {
            if !over(*about) {
                return true;
            }
            outage.kinds.remove(&followed.kind);
            if outage.kinds.is_empty() && outage.told.is_some() {
                let (server, after) = (&self.server, outage.since.elapsed());
                match about {
                    None => info!(server, ?after, "the API server answers again"),
                    Some(kind) => info!(server, kind = kind.name(), ?after, "the API server serves this kind again"),
                }
            }
            !outage.kinds.is_empty()
        });
    }

    fn tell(&self, followed: &Followed, failure: &Failure, since: Instant) {
        let Failure { reason, message: answer, .. } = failure;
        let (kind, server, what, remedy) = (followed.kind.name(), &self.server, reason.what(), reason.remedy());
        // It is another failure that began the outage.
        let failing_for = Some(since.elapsed()).filter(|time| *time > Duration::from_secs(1)).map(tracing::field::debug);
        if reason.is_about_the_server() {
            warn!(server, %reason, answer, failing_for, "{what}; {remedy} What was programmed stays, and it is tried again");
        } else {
            let goes_on = if followed.is_optional { "the node is served without it" } else { "what was programmed stays" };
            warn!(server, kind, %reason, answer, failing_for, "{what}; {remedy} Meanwhile {goes_on}, and it is tried again");
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<About, Outage>> {
        self.open.lock().expect("nobody panics while holding it")
    }
}
