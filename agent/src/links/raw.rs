//! Messages of netlink protocols that no library reads: a type, a fixed header, attributes.

use std::convert::Infallible;

use rtnetlink::packet_core::{
    DefaultNla, Emitable as _, NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator,
};

/// A message as bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RawMessage {
    /// Its type.
    pub(crate) kind: u16,
    /// What follows the header that all protocols have.
    pub(crate) payload: Vec<u8>,
}

impl RawMessage {
    /// A message with this header of its protocol and these attributes.
    pub(crate) fn new(kind: u16, header: &[u8], attributes: &[DefaultNla]) -> Self {
        let mut payload = vec![0; header.len() + attributes.buffer_len()];
        payload[..header.len()].copy_from_slice(header);
        attributes.emit(&mut payload[header.len()..]);
        Self { kind, payload }
    }

    /// The attributes behind a header of `skip` bytes.
    pub(crate) fn attributes(&self, skip: usize) -> Attributes<'_> {
        Attributes(self.payload.get(skip..).unwrap_or_default())
    }
}

impl NetlinkSerializable for RawMessage {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for RawMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self { kind: header.message_type, payload: payload.to_owned() })
    }
}

/// Attributes one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first one of type `kind`.
    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.all().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes within the first one of type `kind`.
    pub(crate) fn nested(self, kind: u16) -> Option<Self> {
        self.get(kind).map(Self)
    }

    /// Text, which ends with a zero.
    pub(crate) fn text(self, kind: u16) -> Option<String> {
        self.get(kind).map(text)
    }

    /// A number of 32 bits in network order.
    pub(crate) fn number(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// Types and values, as far as they can be read.
    pub(crate) fn all(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        NlasIterator::new(self.0).map_while(Result::ok).filter_map(|attribute| {
            let (kind, end) = (attribute.kind(), attribute.length().into());
            Some((kind, attribute.into_inner().get(NLA_HEADER_SIZE..end)?))
        })
    }
}

/// The text of an attribute.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_went() {
        let attributes = [DefaultNla::new(1, b"name\0".to_vec()), DefaultNla::new(2, 7_u32.to_be_bytes().to_vec())];
        let inner = RawMessage::new(0, &[], &attributes);
        let outer = RawMessage::new(0, &[9; 4], &[DefaultNla::new(3, inner.payload), attributes[1].clone()]);
        let read = outer.attributes(4);
        assert_eq!((read.number(2), read.number(3), read.text(1)), (Some(7), None, None));
        let nested = read.nested(3).expect("there");
        assert_eq!((nested.text(1).as_deref(), nested.number(2)), (Some("name"), Some(7)));
        assert_eq!(RawMessage { kind: 0, payload: vec![255; 6] }.attributes(0).all().count(), 0, "cut off");
    }
}
