//! Lines out of pieces of any size.

/// The pieces of a stream, of which whole lines are taken.
#[derive(Default, Debug)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes in a piece; all lines that are whole now, with their ends.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
            self.rest.extend(piece);
            return Vec::new();
        };
        let (whole, begun) = piece.split_at(end + 1);
        let mut lines = std::mem::replace(&mut self.rest, begun.to_vec());
        lines.extend(whole);
        lines
    }

    /// How long the line is that is not whole yet.
    pub(super) const fn waiting(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let text = b"one\ntwo\n\nthree\nrest";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let whole: Vec<u8> = text.chunks(size).flat_map(|piece| lines.push(piece)).collect();
            assert_eq!((whole.as_slice(), lines.waiting()), (&b"one\ntwo\n\nthree\n"[..], 4), "{size}");
        }
    }
}
