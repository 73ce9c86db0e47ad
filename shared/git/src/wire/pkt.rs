//! pkt-lines: git's framing (gitprotocol-common(5)).

use bytes::{Buf as _, Bytes, BytesMut};

use crate::transport_error::TransportError;

/// The longest line with its four digits.
const LONGEST: usize = 65_520;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section.
    Delimiter,
    /// `0002`: the end of an answer, where it is not the end of the connection.
    ResponseEnd,
    /// Anything else, without the four digits.
    Data(Bytes),
}

/// Four bytes that are not the length of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is not the length of a line", String::from_utf8_lossy(.0))]
pub(super) struct BadLength([u8; 4]);

/// Cuts a stream into lines. Holds one line at most, and what was pushed last.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Adds what came next.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line; `None` until more comes.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, BadLength> {
        let Some(&digits) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = length(digits).ok_or(BadLength(digits))?;
        if length < 4 {
            self.buffer.advance(4);
            return Ok(Some(match length {
                0 => Packet::Flush,
                1 => Packet::Delimiter,
                _ => Packet::ResponseEnd,
            }));
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let mut line = self.buffer.split_to(length);
        line.advance(4);
        Ok(Some(Packet::Data(line.freeze())))
    }
}

fn length(digits: [u8; 4]) -> Option<usize> {
    let mut length = 0;
    for digit in digits {
        length = length * 16 + char::from(digit).to_digit(16)? as usize;
    }
    (length != 3 && length <= LONGEST).then_some(length)
}

/// A text line without its newline; `None` when it is not UTF-8.
pub(super) fn text(line: &[u8]) -> Option<&str> {
    std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(line)).ok()
}

/// Writes lines.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
    is_too_long: bool,
}

/// A line was longer than git's framing allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl From<TooLong> for TransportError {
    fn from(TooLong: TooLong) -> Self {
        Self::Other {
            status: "nothing was sent".to_owned(),
            detail: "the name of a branch is too long for git's protocol".to_owned(),
        }
    }
}

impl Encoder {
    /// Adds a line with a newline at its end.
    pub(super) fn line(&mut self, line: &str) {
        let length = line.len() + 5;
        if length > LONGEST {
            self.is_too_long = true;
            return;
        }
        self.bytes.extend_from_slice(format!("{length:04x}").as_bytes());
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
    }

    /// Adds the end of a message.
    pub(super) fn flush(&mut self) {
        self.bytes.extend_from_slice(b"0000");
    }

    /// Adds the end of a section.
    pub(super) fn delimiter(&mut self) {
        self.bytes.extend_from_slice(b"0001");
    }

    /// All lines; an error when one of them was too long.
    pub(super) fn finish(self) -> Result<Vec<u8>, TooLong> {
        if self.is_too_long {
            Err(TooLong)
        } else {
            Ok(self.bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Result<(Vec<Packet>, bool), BadLength> {
        let mut decoder = Decoder::default();
        let mut packets = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(packet) = decoder.next()? {
                packets.push(packet);
            }
        }
        Ok((packets, decoder.buffer.is_empty()))
    }

    fn data(bytes: &'static [u8]) -> Packet {
        Packet::Data(Bytes::from_static(bytes))
    }

    #[test]
    fn lines_are_cut_where_their_length_says() {
        let stream = b"0006a\n0005b000000010002000bfoobar\n0004";
        let packets = vec![
            data(b"a\n"),
            data(b"b"),
            Packet::Flush,
            Packet::Delimiter,
            Packet::ResponseEnd,
            data(b"foobar\n"),
            data(b""),
        ];
        assert_eq!(all(&[stream]), Ok((packets, true)));
    }

    #[test]
    fn what_is_no_length_is_refused_before_more_is_read() {
        for bad in [b"0003", b"fff1", b"ffff", b"xyz0", b"<!DO", b"+005", b" 005"] {
            assert_eq!(all(&[bad]), Err(BadLength(*bad)), "{bad:?}");
        }
        assert_eq!(all(&[b"fff0"]), Ok((vec![], false)), "the longest");
        assert_eq!(
            all(&[b"00FF"]),
            Ok((vec![], false)),
            "large letters are digits too"
        );
    }

    #[test]
    fn a_line_that_is_too_long_spoils_the_message() {
        let mut encoder = Encoder::default();
        encoder.line(&"x".repeat(LONGEST - 5));
        assert!(encoder.finish().is_ok());
        let mut encoder = Encoder::default();
        encoder.line(&"x".repeat(LONGEST - 4));
        assert_eq!(encoder.finish(), Err(TooLong));
    }

    proptest! {
        #[test]
        fn a_stream_gives_the_same_lines_however_it_is_cut(
            lines in prop::collection::vec(prop::option::of("[a-z ]{0,300}"), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut encoder = Encoder::default();
            for line in &lines {
                match line {
                    Some(line) => encoder.line(line),
                    None => encoder.flush(),
                }
            }
            let stream = encoder.finish().unwrap();
            let expected: Vec<Packet> = lines
                .iter()
                .map(|line| line.as_ref().map_or(Packet::Flush, |line| Packet::Data(Bytes::from(format!("{line}\n")))))
                .collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            places.extend([0, stream.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            prop_assert_eq!(all(&pieces), Ok((expected, true)));
        }

        #[test]
        fn garbage_is_read_or_refused_and_never_more_than_a_line_is_kept(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        ) {
            let mut decoder = Decoder::default();
            'stream: for piece in &pieces {
                decoder.push(piece);
                loop {
                    match decoder.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
                prop_assert!(decoder.buffer.len() < LONGEST);
            }
        }
    }
}
