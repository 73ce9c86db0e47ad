//! The body of a request.
//!
//! Most are small and lie in memory. A push that carries much, as one to another repository may, goes through a file without a name, and is read from there
//! piece by piece while it is sent.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tempfile::{SpooledData, SpooledTempFile};
use tokio::sync::mpsc;

use crate::blocking::blocking;

/// So many bytes are kept in memory.
const MOST_IN_MEMORY: usize = 8 << 20;

/// How much of a file is read at a time.
const PIECE: usize = 256 << 10;

/// How many pieces may wait for the network.
const WAITING: usize = 4;

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    Memory(Bytes),
    File { file: File, size: u64 },
}

impl Outgoing {
    /// The number of bytes.
    pub(super) const fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

impl From<Vec<u8>> for Outgoing {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes.into())
    }
}

/// Takes what is to be sent, in memory or in a file in some directory.
pub(super) struct Spool(SpooledTempFile);

impl Spool {
    pub(super) fn new(dir: &Path) -> Self {
        Self(tempfile::spooled_tempfile_in(MOST_IN_MEMORY, dir))
    }

    pub(super) fn add(&mut self, part: &[u8]) -> io::Result<()> {
        self.0.write_all(part)
    }

    pub(super) fn finish(self) -> io::Result<Outgoing> {
        Ok(match self.0.into_inner() {
            SpooledData::InMemory(cursor) => cursor.into_inner().into(),
            SpooledData::OnDisk(mut file) => {
                let size = file.stream_position()?;
                file.seek(SeekFrom::Start(0))?;
                Outgoing::File { file, size }
            }
        })
    }
}

/// A body on its way. Counts what of it was handed over.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: Option<Bytes>,
    pieces: Option<mpsc::Receiver<io::Result<Bytes>>>,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl Payload {
    pub(super) fn memory(bytes: Bytes) -> Self {
        Self {
            left: bytes.len() as u64,
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            pieces: None,
            sent: Arc::default(),
        }
    }

    /// Begins to read the file. The reading ends when this is dropped.
    pub(super) fn file(file: File, size: u64) -> Self {
        let (sender, pieces) = mpsc::channel(WAITING);
        tokio::spawn(blocking(move || feed(file, size, &sender)));
        Self {
            bytes: None,
            pieces: Some(pieces),
            left: size,
            sent: Arc::default(),
        }
    }

    /// How many bytes were handed over, as it goes on.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }
}

/// Reads a file to those who take it. Blocks.
fn feed(mut file: File, size: u64, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let mut piece = vec![0; length];
        let read = file.read_exact(&mut piece).map(|()| Bytes::from(piece));
        let has_ended = read.is_err();
        if sender.blocking_send(read).is_err() || has_ended {
            return;
        }
        left -= length as u64;
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let has_more = self.left > 0;
        let piece = match (self.bytes.take(), &mut self.pieces) {
            (Some(bytes), _) => bytes,
            (None, Some(pieces)) if has_more => match ready!(pieces.poll_recv(context)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            },
            (None, _) => return Poll::Ready(None),
        };
        let length = piece.len() as u64;
        self.left = self.left.saturating_sub(length);
        self.sent.fetch_add(length, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_large_goes_through_a_file_and_arrives_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        for length in [
            0,
            1,
            MOST_IN_MEMORY,
            MOST_IN_MEMORY + 1,
            MOST_IN_MEMORY + 3 * PIECE,
        ] {
            let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut spool = Spool::new(dir.path());
            for part in bytes.chunks(1 << 20) {
                spool.add(part).unwrap();
            }
            let payload = match spool.finish().unwrap() {
                Outgoing::Memory(bytes) => {
                    assert!(length <= MOST_IN_MEMORY);
                    Payload::memory(bytes)
                }
                Outgoing::File { file, size } => {
                    assert!(length > MOST_IN_MEMORY);
                    Payload::file(file, size)
                }
            };
            assert_eq!(payload.size_hint().exact(), Some(length as u64));
            let sent = payload.sent();
            let arrived = payload.collect().await.unwrap().to_bytes();
            assert!(arrived == bytes, "{length}");
            assert_eq!(sent.load(Ordering::Relaxed), length as u64);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
