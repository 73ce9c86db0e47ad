//! Fetching: the command `fetch`.

use std::path::Path;

use git2::Oid;

use super::client::Wire;
use super::offer::UploadOffer;
use super::pack::Receiver;
use super::packets::{Packets, bad};
use super::pkt::Encoder;
use super::{AGENT, Deepen, Filter, Received, Request};
use crate::mirrors::Remote;
use crate::transport_error::TransportError;

/// The most commits at which history ends.
const MOST_BOUNDARY: usize = 1 << 20;

impl Wire {
    /// Brings what `request` names into the object database of the bare repository at `repository`, in one request.
    ///
    /// A handle of the repository that was open before finds the new objects when it misses one; a new handle finds them at once.
    /// Dropping the future leaves either all of the pack or nothing. The pack is marked as one that lacks what its objects name (`.promisor`), so that
    /// `git` does not take the repository for damaged; for that the repository needs `extensions.partialClone` too.
    ///
    /// # Errors
    /// [`TransportError::NoSuchObject`] when the server hasn't one of the wants (nothing was fetched then), [`TransportError::NoFilter`] and
    /// [`TransportError::NoVersion2`] when the server can't do what is asked, else when the server or the disk fails.
    #[tracing::instrument(skip_all, fields(wants = request.wants.len(), haves = request.haves.len()))]
    pub(crate) async fn fetch(
        &self,
        remote: &Remote,
        repository: &Path,
        request: &Request,
    ) -> Result<Received, TransportError> {
        let deadline = self.deadline();
        let UploadOffer::Version2 { filter, names_format } = self.upload_offer(remote, deadline).await?
        else {
            return Err(TransportError::NoVersion2);
        };
        if request.filter.is_some() && !filter {
            return Err(TransportError::NoFilter);
        }
        if request.wants.is_empty() {
            return Ok(Received::default());
        }
        let body = request.encode(names_format)?;
        let most = self.limits.answer().min(request.most_bytes.unwrap_or(u64::MAX));
        let mut packets = self.command(remote, body, deadline, most).await?;
        let mut received = Received::default();
        loop {
            let Some(heading) = packets.next_text().await? else {
                return Err(bad("it has no pack"));
            };
            match heading.as_str() {
                "shallow-info" => read_boundary(&mut packets, &mut received).await?,
                "packfile" => break,
                // Nothing was left open that an acknowledgment could settle, and no ref was asked for.
                "acknowledgments" | "wanted-refs" => while packets.next_text().await?.is_some() {},
                _ => return Err(bad("it has a section that was not asked for")),
            }
        }
        let receiver = Receiver::new(repository, self.limits.bounds(request), deadline);
        received.objects = receiver.take(&mut packets).await?;
        received.bytes = packets.bytes();
        packets.finish().await;
        Ok(received)
    }
}

impl Request {
    fn encode(&self, names_format: bool) -> Result<Vec<u8>, TransportError> {
        let mut request = Encoder::default();
        request.line("command=fetch");
        request.line(AGENT);
        if names_format {
            request.line("object-format=sha1");
        }
        request.delimiter();
        request.line("no-progress");
        request.line("ofs-delta");
        let ids = [
            ("shallow", &self.shallow),
            ("want", &self.wants),
            ("have", &self.haves),
        ];
        for (word, ids) in ids {
            for id in ids {
                request.line(&format!("{word} {id}"));
            }
        }
        if let Some(Deepen::To(depth)) = self.deepen {
            request.line(&format!("deepen {depth}"));
        }
        match self.filter {
            Some(Filter::BlobNone) => request.line("filter blob:none"),
            Some(Filter::TreeDepth(depth)) => request.line(&format!("filter tree:{depth}")),
            None => {}
        }
        // Without a round of negotiation: what is here is known to be there, since it came from there.
        request.line("done");
        request.flush();
        Ok(request.finish()?)
    }
}

async fn read_boundary(packets: &mut Packets<'_>, received: &mut Received) -> Result<(), TransportError> {
    while let Some(line) = packets.next_text().await? {
        let line = line.as_str();
        let (list, id) = if let Some(id) = line.strip_prefix("shallow ") {
            (&mut received.shallow, id)
        } else if let Some(id) = line.strip_prefix("unshallow ") {
            (&mut received.unshallow, id)
        } else {
            return Err(bad(
                "a line about the end of history is neither shallow nor unshallow",
            ));
        };
        if list.len() == MOST_BOUNDARY {
            return Err(TransportError::TooLarge {
                what: "ends of history",
                most: MOST_BOUNDARY as u64,
            });
        }
        if id.len() != 40 {
            return Err(bad("a commit at the end of history has no whole id"));
        }
        list.push(Oid::from_str(id).map_err(|error| bad(error.message().to_owned()))?);
    }
    Ok(())
}
