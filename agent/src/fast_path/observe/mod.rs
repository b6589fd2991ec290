//! What the kernel says: asked with netlink dumps, one after the other, and awaited as messages.

mod events;
mod links;
mod netfilter;
mod others;
mod routes;
mod xfrm;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

pub use events::Events;
use netfilter::Netfilter;
use tokio::time::timeout;

use super::facts::Facts;
use crate::links::netlink::Netlink;
use crate::model::{Family, Policies};
use crate::pod_links::PodLinkSet;

/// How long the kernel may take to tell everything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at the network namespace of the thread that made it.
#[derive(Debug)]
pub struct Observer {
    netlink: Netlink,
    netfilter: Netfilter,
    own_programs: BTreeSet<u32>,
}

impl Observer {
    /// An observer to whom programs with these numbers are no others'.
    pub fn new(own_programs: BTreeSet<u32>) -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open()?, netfilter: Netfilter::default(), own_programs })
    }

    /// Everything that there is. What happens meanwhile may be seen or not.
    pub async fn look(&mut self, pod_links: &PodLinkSet, policies: Policies) -> io::Result<Facts> {
        let silent = || Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer"));
        let seen = timeout(PATIENCE, self.ask(pod_links, policies)).await.unwrap_or_else(|_| silent());
        if seen.is_err() {
            // A socket that has failed once may be of no use any more.
            self.netlink = Netlink::open()?;
            self.netfilter = Netfilter::default();
        }
        seen
    }

    async fn ask(&mut self, pod_links: &PodLinkSet, policies: Policies) -> io::Result<Facts> {
        let mut links = links::list(&self.netlink, pod_links).await?;
        others::find(&self.netlink, &self.own_programs, &mut links).await?;
        let (neighbours, forwarding) = routes::neighbours(&self.netlink).await?;
        Ok(Facts {
            links,
            neighbours,
            forwarding,
            routes: routes::list(&self.netlink).await?,
            rules: routes::rules(&self.netlink).await?,
            netfilter: self.netfilter.look().await?,
            legacy_tables: legacy_tables()?,
            xfrm_policies: xfrm::policies().await?,
            forwarded: forwarded(),
            policies,
        })
    }
}

/// Tables of the older iptables, and of ebtables, that are loaded.
fn legacy_tables() -> io::Result<Vec<String>> {
    let mut tables = Vec::new();
    for (family, path) in [("ip", "/proc/thread-self/net/ip_tables_names"), ("ip6", "/proc/thread-self/net/ip6_tables_names")] {
        tables.extend(read(path)?.lines().map(|table| format!("{family} {table}")));
    }
    // Nothing lists the tables of ebtables but their modules.
    let modules = read("/proc/modules")?;
    let names = modules.lines().filter_map(|line| line.split(' ').next()?.strip_prefix("ebtable_"));
    tables.extend(names.filter(|table| ["broute", "filter", "nat"].contains(table)).map(|table| format!("bridge {table}")));
    Ok(tables)
}

/// The text of a file that is not there where the kernel lacks what it tells of.
fn read(path: &str) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// Families that are forwarded; what cannot be read is not.
fn forwarded() -> Vec<Family> {
    let settings = [(Family::V4, "/proc/sys/net/ipv4/ip_forward"), (Family::V6, "/proc/sys/net/ipv6/conf/all/forwarding")];
    let is_on = |path: &str| fs::read_to_string(path).is_ok_and(|value| value.trim() != "0");
    settings.into_iter().filter(|(_, path)| is_on(path)).map(|(family, _)| family).collect()
}
