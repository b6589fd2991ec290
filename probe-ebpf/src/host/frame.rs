//! A packet as a vector of bytes, which changes as an skb does under the kernel's helpers.

use core::mem::MaybeUninit;
use std::collections::BTreeMap;

use viaduct_common::{Addr, Ip, PARKED_BYTES, ParkedFragment, Plain};

use crate::checksum::Sum;
use crate::packet::{Cover, ETHERNET, Fault, LAST_OFFSET, Packet, Route};

/// An Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frame {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// True if the transport checksum holds the pseudo-header's sum only (`CHECKSUM_PARTIAL`).
    pub partial: bool,
    /// Payload of each segment, if it is a train of them, as a socket sends them; otherwise 0.
    pub segment: u32,
    /// True if the frame had an 802.1Q tag, which is not among the bytes.
    pub tagged: bool,
    /// Index of the link that it came in by.
    pub link: u32,
    /// True once the datapath made it one for this machine.
    pub claimed: bool,
    /// The routing table: index of the link to an address, and the largest packet that it takes.
    pub routes: BTreeMap<Addr, (u32, u16)>,
    /// What was sent through the hook again, in order.
    pub replayed: Vec<Vec<u8>>,
}

impl Frame {
    /// A frame with complete checksums.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }

    fn field(&self, offset: u32) -> Result<u16, Fault> {
        let at = offset as usize;
        let bytes = self.bytes.get(at..at + 2).ok_or(Fault)?;
        Ok(u16::from_ne_bytes([bytes[0], bytes[1]]))
    }
}

/// The bytes of a plain value.
fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: a plain value has no padding, so each of its bytes is initialised.
    #[expect(unsafe_code, reason = "a header is stored as its bytes")]
    unsafe {
        core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>())
    }
}

impl Packet for Frame {
    fn ethertype(&self) -> u16 {
        self.field(ETHERNET - 2).map_or(0, u16::from_be)
    }

    fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn load<T: Plain>(&self, offset: u32) -> Option<T> {
        if offset > LAST_OFFSET {
            return None;
        }
        let bytes = self.bytes.get(offset as usize..offset as usize + size_of::<T>())?;
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: as many bytes as the value has are copied, and any bytes are a valid plain value.
        #[expect(unsafe_code, reason = "a header is read as its bytes")]
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast(), size_of::<T>());
            Some(value.assume_init())
        }
    }

    fn store<T: Plain>(&mut self, offset: u32, value: &T) -> Result<(), Fault> {
        let at = offset as usize;
        let place = self.bytes.get_mut(at..at + size_of::<T>()).ok_or(Fault)?;
        place.copy_from_slice(bytes_of(value));
        Ok(())
    }

    fn update_checksum(&mut self, offset: u32, delta: u32, cover: Cover) -> Result<(), Fault> {
        let old = self.field(offset)?;
        if cover.optional && old == 0 {
            return Ok(());
        }
        let new = if !self.partial {
            Sum::new().add(!u32::from(old)).add(delta).field()
        } else if cover.pseudo_header {
            Sum::new().add(u32::from(old)).add(delta).fold()
        } else {
            old
        };
        self.store(offset, &if cover.optional && new == 0 { u16::MAX } else { new })
    }

    fn update_sum(&mut self, _: u32) {}

    fn segment_size(&self) -> u32 {
        self.segment
    }

    fn is_tagged(&self) -> bool {
        self.tagged
    }

    fn link(&self) -> u32 {
        self.link
    }

    fn claim_for_host(&mut self) -> Result<(), Fault> {
        self.claimed = true;
        Ok(())
    }

    fn route<A: Ip>(&mut self, route: &Route<A>) -> u32 {
        let fits = |&&(_, mtu): &&(u32, u16)| route.len <= mtu;
        self.routes.get(&route.tuple.dst.mapped()).filter(fits).map_or(0, |&(link, _)| link)
    }

    fn checksum_is_partial(&mut self) -> bool {
        self.partial
    }

    fn resize(&mut self, len: u32) -> Result<(), Fault> {
        if len < ETHERNET {
            return Err(Fault);
        }
        self.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn insert(&mut self, room: u32) -> Result<(), Fault> {
        let at = ETHERNET as usize;
        self.bytes.splice(at..at, (0..room).map(|_| 0));
        Ok(())
    }

    fn save(&self, place: &mut ParkedFragment) -> Result<(), Fault> {
        if self.bytes.is_empty() || self.bytes.len() > PARKED_BYTES {
            return Err(Fault);
        }
        place.len = self.len();
        place.frame[..self.bytes.len()].copy_from_slice(&self.bytes);
        Ok(())
    }

    fn restore(&mut self, saved: &ParkedFragment) -> Result<(), Fault> {
        self.bytes = saved.frame.get(..saved.len as usize).ok_or(Fault)?.to_vec();
        Ok(())
    }

    fn replay(&mut self) -> Result<(), Fault> {
        self.replayed.push(self.bytes.clone());
        Ok(())
    }
}
