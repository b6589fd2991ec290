//! Bytes that tell where in a stream they belong.

use std::sync::LazyLock;

/// Length after which the pattern repeats: a prime, so that no exchange of whole segments or pages goes unnoticed.
const PERIOD: usize = 65_521;
/// Longest slice that [`at`] gives.
pub(super) const CHUNK: usize = 65_536;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_u32;
    let period: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    })
    .take(PERIOD)
    .collect();
    period.iter().copied().cycle().take(PERIOD + CHUNK).collect()
});

/// The bytes that stand at `offset` of every stream, at most [`CHUNK`] of them.
pub(super) fn at(offset: u64, length: usize) -> &'static [u8] {
    let start = (offset % PERIOD as u64) as usize;
    &TABLE[start..start + length.min(CHUNK)]
}

/// The position in the stream of the first byte of `bytes` that does not belong there, if any.
pub(super) fn first_wrong(offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut position = offset;
    for chunk in bytes.chunks(CHUNK) {
        let expected = at(position, chunk.len());
        if chunk != expected {
            let good = chunk.iter().zip(expected).take_while(|(a, b)| a == b).count();
            return Some(position + good as u64);
        }
        position += chunk.len() as u64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_byte_is_found_where_it_is() {
        let mut bytes = [at(70_000, CHUNK), at(70_000 + CHUNK as u64, 5_000)].concat();
        assert_eq!(first_wrong(70_000, &bytes), None);
        bytes[CHUNK + 17] ^= 1;
        assert_eq!(first_wrong(70_000, &bytes), Some(70_000 + CHUNK as u64 + 17));
    }

    #[test]
    fn swapped_segments_are_found() {
        for segment in [1_448, 1_460, 4_096, 65_536] {
            let swapped = [at(segment, segment as usize), at(0, segment as usize)].concat();
            assert!(first_wrong(0, &swapped).is_some(), "segments of {segment}");
        }
    }
}
