//! What a server says that it can do.

use super::packets::{Packets, bad};
use super::pkt::Packet;
use super::{MOST_CAPABILITIES, Speech};
use crate::transport_error::TransportError;

/// What can be asked about fetching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadOffer {
    /// Version 2, with all that is relied on.
    Version2 {
        filter: bool,
        /// Whether the format of object ids is to be named.
        names_format: bool,
    },
    /// Something older.
    Other,
}

impl UploadOffer {
    pub(super) const fn speech(self) -> Speech {
        match self {
            Self::Version2 { filter, .. } => Speech::Version2 { filter },
            Self::Other => Speech::Other,
        }
    }

    /// Reads the answer of a server that was asked for version 2.
    pub(super) async fn read(mut packets: Packets<'_>) -> Result<Self, TransportError> {
        let mut lines = Vec::new();
        // Some servers put a heading of its own in front.
        let mut first = packets.next_text().await?;
        if first
            .as_ref()
            .is_some_and(|line| line.as_str().starts_with("# service="))
        {
            if packets.next_text().await?.is_some() {
                return Err(bad("the heading has no end"));
            }
            first = packets.next_text().await?;
        }
        if first.is_none_or(|line| line.as_str() != "version 2") {
            return Ok(Self::Other);
        }
        while let Some(line) = packets.next_text().await? {
            if lines.len() == MOST_CAPABILITIES {
                return Err(bad("it names too many capabilities"));
            }
            lines.push(line.as_str().to_owned());
        }
        let offer = Self::of(&lines, &packets);
        packets.finish().await;
        offer
    }

    fn of(lines: &[String], packets: &Packets<'_>) -> Result<Self, TransportError> {
        let value = |name: &str| {
            lines.iter().find_map(|line| match line.strip_prefix(name)? {
                "" => Some(""),
                rest => rest.strip_prefix('='),
            })
        };
        let format = value("object-format");
        if let Some(other) = format.filter(|format| *format != "sha1") {
            return Err(TransportError::ObjectFormat {
                detail: packets.shown(other.as_bytes()),
            });
        }
        let Some(features) = value("fetch") else {
            return Ok(Self::Other);
        };
        let has = |feature: &str| features.split(' ').any(|word| word == feature);
        if value("ls-refs").is_none() || !has("shallow") {
            return Ok(Self::Other);
        }
        Ok(Self::Version2 {
            filter: has("filter"),
            names_format: format.is_some(),
        })
    }
}

/// What can be asked about pushing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveOffer {
    pub(super) report_v2: bool,
    pub(super) side_band: bool,
    pub(super) atomic: bool,
    pub(super) names_format: bool,
}

impl ReceiveOffer {
    /// Reads the answer's first line, which has all of it. The refs that follow may be many, and are of no use here.
    pub(super) async fn read(mut packets: Packets<'_>) -> Result<Self, TransportError> {
        let mut is_past_heading = false;
        let offer = loop {
            match packets.next().await? {
                Packet::Data(line) if line.starts_with(b"# service=") => {}
                Packet::Data(line) if line.starts_with(b"version ") => {}
                Packet::Data(line) => break Self::of(&line, &packets)?,
                Packet::Flush if !is_past_heading => is_past_heading = true,
                Packet::Flush | Packet::Delimiter | Packet::ResponseEnd => {
                    return Err(bad("it does not say what it can do"));
                }
            }
        };
        packets.finish().await;
        Ok(offer)
    }

    fn of(line: &[u8], packets: &Packets<'_>) -> Result<Self, TransportError> {
        let capabilities = line
            .split(|byte| *byte == 0)
            .nth(1)
            .and_then(|text| std::str::from_utf8(text).ok())
            .ok_or_else(|| bad("it does not say what it can do"))?;
        let words = capabilities.split_ascii_whitespace();
        let format = words.clone().find_map(|word| word.strip_prefix("object-format="));
        if let Some(other) = format.filter(|format| *format != "sha1") {
            return Err(TransportError::ObjectFormat {
                detail: packets.shown(other.as_bytes()),
            });
        }
        let has = |capability: &str| words.clone().any(|word| word == capability);
        let report_v2 = has("report-status-v2");
        if !report_v2 && !has("report-status") {
            return Err(bad("the server would not report what becomes of a push"));
        }
        Ok(Self {
            report_v2,
            side_band: has("side-band-64k"),
            atomic: has("atomic"),
            names_format: format.is_some(),
        })
    }
}
