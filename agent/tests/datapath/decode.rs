//! What two frames differ in, for people to read.

use std::fmt::Write as _;

use etherparse::LaxPacketHeaders;

/// Tells frames apart; the error shows both, decoded.
pub(crate) fn difference(actual: &[u8], expected: &[u8]) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    let common = actual.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let mut text = format!("frames of {} and {} bytes differ from byte {common} on", actual.len(), expected.len());
    let _ = write!(text, "\n  is       {}\n  expected {}", decoded(actual), decoded(expected));
    Err(text)
}

/// A frame's headers and bytes.
pub(crate) fn decoded(frame: &[u8]) -> String {
    let bytes = frame.iter().enumerate().fold(String::new(), |mut text, (at, byte)| {
        let gap = if matches!(at, 14 | 34 | 54) { " | " } else { "" };
        let _ = write!(text, "{gap}{byte:02x}");
        text
    });
    match LaxPacketHeaders::from_ethernet(frame) {
        Ok(headers) => format!("{:?} {:?}\n           {bytes}", headers.net, headers.transport),
        Err(error) => format!("({error})\n           {bytes}"),
    }
}
