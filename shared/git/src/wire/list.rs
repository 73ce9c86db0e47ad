//! Listing branches: `ls-refs`.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_promotion::{BranchName, CommitOid};

use super::client::{MOST_ANSWER, Wire};
use super::offer::UploadOffer;
use super::packets::bad;
use super::pkt::{Encoder, Packet, text};
use super::{AGENT, http};
use crate::mirrors::Remote;
use crate::transport_error::TransportError;

impl Wire {
    /// Where each of `branches` is; those that do not exist are left out. The keys are short names, as in [`BranchName`].
    ///
    /// One request, when it is known what the server speaks.
    ///
    /// # Errors
    /// When the server can't be talked to, or with [`TransportError::NoVersion2`].
    #[tracing::instrument(skip_all, fields(branches = branches.len()))]
    pub(crate) async fn list(
        &self,
        remote: &Remote,
        branches: &[BranchName],
    ) -> Result<BTreeMap<String, CommitOid>, TransportError> {
        self.list_by(remote, branches, self.deadline()).await
    }

    pub(super) async fn list_by(
        &self,
        remote: &Remote,
        branches: &[BranchName],
        deadline: http::Deadline,
    ) -> Result<BTreeMap<String, CommitOid>, TransportError> {
        let UploadOffer::Version2 { names_format, .. } = self.upload_offer(remote, deadline).await? else {
            return Err(TransportError::NoVersion2);
        };
        let mut heads = BTreeMap::new();
        if branches.is_empty() {
            return Ok(heads);
        }
        let wanted: BTreeSet<&str> = branches.iter().map(BranchName::as_str).collect();
        let mut request = Encoder::default();
        request.line("command=ls-refs");
        request.line(AGENT);
        if names_format {
            request.line("object-format=sha1");
        }
        request.delimiter();
        for branch in &wanted {
            request.line(&format!("ref-prefix refs/heads/{branch}"));
        }
        request.flush();
        let mut packets = self
            .command(remote, request.finish()?, deadline, MOST_ANSWER)
            .await?;
        // A prefix is that of longer names too, and a server may ignore it: only what was asked for is taken.
        while let Packet::Data(line) = packets.next().await? {
            // What is asked for has a name that is text; what others call their branches is no concern here.
            let Some(line) = text(&line) else {
                continue;
            };
            let mut words = line.split(' ');
            let (Some(id), Some(name)) = (words.next(), words.next()) else {
                return Err(bad("a line of the list is no ref"));
            };
            let Some(branch) = name
                .strip_prefix("refs/heads/")
                .filter(|name| wanted.contains(name))
            else {
                continue;
            };
            // The id is not shown: a server may have put anything there.
            let id = CommitOid::parse(id).map_err(|_invalid| {
                bad(format!("what it says branch {branch} is at is no id of a commit"))
            })?;
            heads.insert(branch.to_owned(), id);
        }
        packets.finish().await;
        Ok(heads)
    }
}
