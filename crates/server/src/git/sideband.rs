//! The end of what `git receive-pack` answers, and lines for whoever pushes (gitprotocol-pack(5), "Packfile
//! data"; gitprotocol-common(5), "pkt-line"). Git has said all when it flushes; what the platform has
//! to say goes before that. Not what is said.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

/// The packet that ends the answer.
const FLUSH: &[u8] = b"0000";

/// The most of a line that is sent in one packet.
const LINE_BYTES_MAX: usize = 900;

/// Hands an answer on, but for its last packet.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// What may be the last packet.
    tail: BytesMut,
    /// How much was handed on or is held.
    seen: usize,
    /// The first byte behind the length of the first packet: the number of the band, where the client
    /// wished for bands.
    band: Option<u8>,
}

impl Held {
    /// Takes in a piece. Returns what may go on.
    pub(super) fn pass(&mut self, piece: &[u8]) -> Bytes {
        let band_at = FLUSH.len().checked_sub(self.seen.min(FLUSH.len() + 1));
        if let (None, Some(at)) = (self.band, band_at) {
            self.band = piece.get(at).copied();
        }
        self.seen += piece.len();
        self.tail.extend_from_slice(piece);
        let passed = self.tail.len().saturating_sub(FLUSH.len());
        self.tail.split_to(passed).freeze()
    }

    /// Tells, at the end of the answer, whether lines can be sent before its last packet.
    pub(super) fn takes_lines(&self) -> bool {
        matches!(self.band, Some(1..=3)) && self.tail == FLUSH
    }

    /// Returns what is left of the answer.
    pub(super) fn rest(self) -> Bytes {
        self.tail.freeze()
    }
}

/// Which of the bands a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Band {
    /// It is shown, as `remote: ...`.
    Progress,
    /// It is shown, and the push has failed.
    Failure,
}

/// Writes a line as a packet.
pub(super) fn line(band: Band, text: &str) -> Bytes {
    let mut end = text.len().min(LINE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    let band = match band {
        Band::Progress => '\u{2}',
        Band::Failure => '\u{3}',
    };
    let mut packet = String::with_capacity(end + 6);
    // The length counts itself, the band and the line's end.
    writeln!(packet, "{:04x}{band}{text}", end + 6).expect("writing to a string cannot fail");
    Bytes::from(packet)
}

/// Returns a packet without anything in it.
pub(super) fn alive() -> Bytes {
    Bytes::from_static(b"0005\x02")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass_all(held: &mut Held, bytes: &[u8], by: usize) -> Vec<u8> {
        let pieces = bytes.chunks(by).map(|piece| held.pass(piece));
        pieces.flat_map(Vec::from).collect()
    }

    #[test]
    fn all_but_the_last_packet_goes_on_however_the_bytes_come() {
        let answer = b"000e\x01unpack ok0000";
        for by in 1..=answer.len() {
            let mut held = Held::default();
            let passed = pass_all(&mut held, answer, by);
            assert_eq!(passed, b"000e\x01unpack ok", "by {by}");
            assert!(held.takes_lines(), "by {by}");
            assert_eq!(held.rest(), FLUSH);
        }
    }

    #[test]
    fn an_answer_without_bands_takes_no_lines() {
        for answer in [
            &b"000eunpack ok\n0000"[..],
            b"000e\x01unpack ok",
            b"00",
            b"",
        ] {
            let mut held = Held::default();
            let mut passed = pass_all(&mut held, answer, 3);
            assert!(!held.takes_lines(), "{answer:?}");
            passed.extend(held.rest());
            assert_eq!(passed, answer);
        }
    }

    #[test]
    fn a_line_is_a_packet_of_its_length() {
        assert_eq!(line(Band::Progress, "run 7"), &b"000b\x02run 7\n"[..]);
        assert_eq!(line(Band::Failure, "no"), &b"0008\x03no\n"[..]);
        let long = line(Band::Progress, &"ü".repeat(1000));
        assert_eq!(long.len(), 906);
        assert!(long.starts_with(b"038a"));
    }
}
