//! The lines of an answer.

use bytes::{Buf as _, Bytes};

use super::http::{Answer, said};
use super::pkt::{Decoder, Packet, text};
use crate::mirrors::Remote;
use crate::transport_error::{TransportError, excerpt};

/// The lines of an answer, as they come.
#[derive(Debug)]
pub(super) struct Packets<'a> {
    answer: Answer<'a>,
    decoder: Decoder,
}

impl<'a> Packets<'a> {
    pub(super) fn new(answer: Answer<'a>) -> Self {
        Self {
            answer,
            decoder: Decoder::default(),
        }
    }

    /// Whose answer it is.
    pub(super) const fn remote(&self) -> &'a Remote {
        self.answer.remote
    }

    /// The size of what came so far.
    pub(super) const fn bytes(&self) -> u64 {
        self.answer.bytes
    }

    /// The next line. The end of the answer is an error, since every answer has an end of its own; so is a line by which the server gives up.
    pub(super) async fn next(&mut self) -> Result<Packet, TransportError> {
        loop {
            match self.decoder.next() {
                Ok(Some(Packet::Data(line))) => {
                    return match line.strip_prefix(b"ERR ") {
                        Some(reason) => Err(self.given_up(reason)),
                        None => Ok(Packet::Data(line)),
                    };
                }
                Ok(Some(packet)) => return Ok(packet),
                Ok(None) => {}
                Err(error) => return Err(bad(error.to_string())),
            }
            match self.answer.chunk().await? {
                Some(chunk) => self.decoder.push(&chunk),
                None => {
                    return Err(TransportError::Network {
                        detail: "the answer broke off".to_owned(),
                    });
                }
            }
        }
    }

    /// The next line, when it has to be text or an end.
    pub(super) async fn next_text(&mut self) -> Result<Option<Line>, TransportError> {
        match self.next().await? {
            Packet::Data(line) if text(&line).is_some() => Ok(Some(Line(line))),
            Packet::Data(_) => Err(bad("a line is not text")),
            Packet::Flush | Packet::Delimiter | Packet::ResponseEnd => Ok(None),
        }
    }

    /// The next part of a pack; `None` at its end.
    pub(super) async fn pack_part(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            match self.next().await? {
                Packet::Data(line) => match Band::of(line)? {
                    Band::Data(part) if part.is_empty() => {}
                    Band::Data(part) => return Ok(Some(part)),
                    Band::Message(text) => tracing::debug!(text = self.shown(&text), "the server says"),
                    Band::GaveUp(text) => {
                        return Err(TransportError::Network {
                            detail: self.shown(&text),
                        });
                    }
                },
                Packet::Flush => return Ok(None),
                Packet::Delimiter | Packet::ResponseEnd => return Err(bad("the pack ends in the middle")),
            }
        }
    }

    /// Reads to the end of the connection's turn, so that the connection can be used again. An answer that goes on for long is not worth that.
    pub(super) async fn finish(mut self) {
        const WORTH_READING: u64 = 256 * 1024;
        let read = self.answer.bytes;
        while self.answer.bytes - read < WORTH_READING {
            if !matches!(self.answer.chunk().await, Ok(Some(_))) {
                return;
            }
        }
    }

    /// A text of the server, as it may be shown.
    pub(super) fn shown(&self, text: &[u8]) -> String {
        excerpt(&said(self.answer.remote, &String::from_utf8_lossy(text)))
    }

    /// What the server's last words mean.
    fn given_up(&self, reason: &[u8]) -> TransportError {
        let detail = self.shown(reason);
        let own = detail.to_lowercase();
        let says = |texts: &[&str]| texts.iter().any(|text| own.contains(text));
        // Of git, and of JGit.
        if says(&["not our ref", "not valid"]) {
            TransportError::NoSuchObject { detail }
        } else if says(&["repository not found", "not exported", "access denied"]) {
            TransportError::NotFound { detail }
        } else if says(&["object format", "object-format"]) {
            TransportError::ObjectFormat { detail }
        } else {
            TransportError::Network { detail }
        }
    }
}

/// A line of text.
#[derive(Debug)]
pub(super) struct Line(Bytes);

impl Line {
    /// Without its newline.
    pub(super) fn as_str(&self) -> &str {
        text(&self.0).unwrap_or_default()
    }
}

/// What one line of a multiplexed answer carries (`side-band-64k`).
#[derive(Debug)]
pub(super) enum Band {
    /// A part of the answer.
    Data(Bytes),
    /// Something for people to read.
    Message(Bytes),
    /// The server gives up.
    GaveUp(Bytes),
}

impl Band {
    pub(super) fn of(mut line: Bytes) -> Result<Self, TransportError> {
        let band = line.first().copied();
        if band.is_some() {
            line.advance(1);
        }
        match band {
            Some(1) => Ok(Self::Data(line)),
            Some(2) => Ok(Self::Message(line)),
            Some(3) => Ok(Self::GaveUp(line)),
            _ => Err(bad("a line is on no known band")),
        }
    }
}

/// An answer that is not what the protocol has here.
pub(super) fn bad(detail: impl Into<String>) -> TransportError {
    TransportError::BadAnswer {
        detail: detail.into(),
    }
}
