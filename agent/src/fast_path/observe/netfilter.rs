//! nf_tables: the chains that the kernel calls, and whether they do anything.

use std::io;

use rtnetlink::packet_core::DefaultNla;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::super::facts::{self, Chain, ChainFamily};
use crate::links::netlink::Netlink;
use crate::links::raw::{Attributes, RawMessage, text};

/// Types of messages and attributes: `include/uapi/linux/netfilter/nf_tables.h` of the kernel.
mod nft {
    pub(super) const SUBSYSTEM: u16 = 10;
    pub(super) const GET_CHAIN: u16 = 4;
    pub(super) const GET_RULE: u16 = 7;
    pub(super) const GET_GENERATION: u16 = 16;
    pub(super) const GET_FLOWTABLE: u16 = 23;

    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_DEVICE: u16 = 3;
    pub(super) const HOOK_DEVICES: u16 = 4;
    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const GENERATION_ID: u16 = 1;
    pub(super) const FLOWTABLE_TABLE: u16 = 1;
    pub(super) const FLOWTABLE_NAME: u16 = 2;
    pub(super) const POLICY_ACCEPT: u32 = 1;
}

/// Size of `struct nfgenmsg`: family, version, and a number that means nothing here.
const HEADER: usize = 4;

/// What nf_tables holds, read anew when it has changed.
#[derive(Default, Debug)]
pub(super) struct Netfilter {
    netlink: Option<Netlink<RawMessage>>,
    known: Option<(u32, facts::Netfilter)>,
}

impl Netfilter {
    /// What there is now; nothing where the kernel has no nf_tables.
    pub(super) async fn look(&mut self) -> io::Result<facts::Netfilter> {
        if self.netlink.is_none() {
            match Netlink::open_protocol(NETLINK_NETFILTER) {
                Err(error) if is_absent(&error) => return Ok(facts::Netfilter::default()),
                netlink => self.netlink = Some(netlink?),
            }
        }
        let Some(netlink) = &self.netlink else { return Ok(facts::Netfilter::default()) };
        let generation = match netlink.get(request(nft::GET_GENERATION, 0, &[])).await {
            Err(error) if is_absent(&error) => return Ok(facts::Netfilter::default()),
            answer => answer?.and_then(|message| message.attributes(HEADER).number(nft::GENERATION_ID)),
        };
        if let (Some(generation), Some((known, netfilter))) = (generation, &self.known)
            && generation == *known
        {
            return Ok(netfilter.clone());
        }
        let netfilter = facts::Netfilter { chains: chains(netlink).await?, flowtables: flowtables(netlink).await? };
        // What changed while it was read has another generation by now.
        self.known = generation.map(|generation| (generation, netfilter.clone()));
        Ok(netfilter)
    }
}

/// Whether the kernel lacks nf_tables, as it answers then.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT))
}

fn request(kind: u16, family: u8, attributes: &[DefaultNla]) -> RawMessage {
    RawMessage::new(nft::SUBSYSTEM << 8 | kind, &[family, 0, 0, 0], attributes)
}

async fn chains(netlink: &Netlink<RawMessage>) -> io::Result<Vec<Chain>> {
    let mut chains = Vec::new();
    for message in netlink.list(request(nft::GET_CHAIN, 0, &[])).await? {
        let attributes = message.attributes(HEADER);
        // Without a hook, nothing but other chains leads here.
        let (Some(hook), Some(family)) = (attributes.nested(nft::CHAIN_HOOK), message.payload.first()) else { continue };
        let (table, name) =
            (attributes.get(nft::CHAIN_TABLE).unwrap_or_default(), attributes.get(nft::CHAIN_NAME).unwrap_or_default());
        let of_chain = [DefaultNla::new(nft::RULE_TABLE, table.into()), DefaultNla::new(nft::RULE_CHAIN, name.into())];
        let rules = match netlink.list(request(nft::GET_RULE, *family, &of_chain)).await {
            // It went meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            other => other?.len(),
        };
        chains.push(Chain {
            family: ChainFamily::of(*family),
            table: text(table),
            name: text(name),
            hook: hook.number(nft::HOOK_NUMBER).unwrap_or_default(),
            devices: devices(hook),
            accepts: attributes.number(nft::CHAIN_POLICY).is_none_or(|policy| policy == nft::POLICY_ACCEPT),
            rules,
        });
    }
    Ok(chains)
}

fn devices(hook: Attributes<'_>) -> Vec<String> {
    let several = hook.nested(nft::HOOK_DEVICES).into_iter().flat_map(Attributes::all).map(|(_, device)| text(device));
    hook.text(nft::HOOK_DEVICE).into_iter().chain(several).collect()
}

async fn flowtables(netlink: &Netlink<RawMessage>) -> io::Result<Vec<String>> {
    let messages = match netlink.list(request(nft::GET_FLOWTABLE, 0, &[])).await {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        other => other?,
    };
    let name = |message: &RawMessage| {
        let attributes = message.attributes(HEADER);
        let family = ChainFamily::of(*message.payload.first()?).name();
        Some(format!("{family} {} {}", attributes.text(nft::FLOWTABLE_TABLE)?, attributes.text(nft::FLOWTABLE_NAME)?))
    };
    Ok(messages.iter().filter_map(name).collect())
}
