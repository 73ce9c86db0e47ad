//! Pushing: receive-pack.

use std::path::Path;
use std::time::Instant;

use git2::{Oid, Repository};
use lockflight_promotion::{BranchName, CommitOid, Lease, RepoId};

use super::AGENT;
use super::client::Wire;
use super::http::{Deadline, said};
use super::offer::ReceiveOffer;
use super::outgoing::{Outgoing, Spool};
use super::pack::written;
use super::packets::{Band, Packets, bad};
use super::pkt::{Decoder, Encoder, Packet, text};
use crate::blocking::blocking;
use crate::mirrors::Remote;
use crate::push::{PushError, RefUpdate};
use crate::push_report::{Report, Reported};
use crate::read::ReadError;
use crate::transport_error::TransportError;

/// How much of what the server writes for people is kept.
const MOST_WORDS: usize = 64 * 1024;

impl Wire {
    /// Moves branches, each only from where it is expected: all of them or none, where the server can do that (`atomic`). Sends exactly
    /// `new_objects`, read from the bare repository at `repository`.
    ///
    /// The lease is checked right before the request with the commands is sent, which is sent once. Two kinds of update are not sent, and reported as
    /// `stale info`, so that where the branch is decides: those that would leave a branch as it is expected, and removals of a branch that is not
    /// where it is expected (git's receive-pack removes a branch without a look where it does not know the expected commit).
    ///
    /// What the server can do is asked once an hour for each host, and not before each push: receive-pack keeps nothing between requests, and nothing that matters here
    /// depends on the repository.
    ///
    /// # Errors
    /// The lease; [`TransportError::LacksObjects`] when the server needs more than `new_objects` (no branch was moved then); else when the server can't be
    /// talked to, after which the branches may have been moved.
    #[tracing::instrument(skip_all, fields(branches = updates.len(), objects = new_objects.len()))]
    pub(crate) async fn push(
        &self,
        remote: &Remote,
        repository: &Path,
        lease: &Lease,
        repo: RepoId,
        updates: &[RefUpdate],
        new_objects: &[Oid],
    ) -> Result<Report, PushError> {
        let deadline = self.deadline();
        lease.check(repo, Instant::now())?;
        let stale = self.stale(remote, updates, deadline).await?;
        let (held_back, sent): (Vec<_>, Vec<_>) =
            updates.iter().partition(|update| stale.contains(&&update.branch));
        let mut report = if sent.is_empty() {
            Report {
                refs: Vec::new(),
                server: String::new(),
            }
        } else if !held_back.is_empty() {
            // All or none: what is pushed does not depend on what is not.
            Report {
                refs: sent
                    .into_iter()
                    .map(|update| rejected(update, "[rejected] (atomic push failed)"))
                    .collect(),
                server: String::new(),
            }
        } else {
            let offer = self.receive_offer(remote, deadline).await?;
            let commands = commands(&sent, offer)?;
            let body = if sent.iter().any(|update| update.new.is_some()) {
                let (repository, objects) = (repository.to_owned(), new_objects.to_vec());
                blocking(move || pack(&repository, &objects, &commands)).await?
            } else {
                commands.into()
            };
            lease.check(repo, Instant::now())?;
            let packets = self.receive(remote, body, deadline).await?;
            read_report(packets, offer, &sent).await?
        };
        report.refs.extend(
            held_back
                .into_iter()
                .map(|update| rejected(update, "[rejected] (stale info)")),
        );
        Ok(report)
    }

    /// The branches whose updates must not be sent.
    async fn stale<'a>(
        &self,
        remote: &Remote,
        updates: &'a [RefUpdate],
        deadline: Deadline,
    ) -> Result<Vec<&'a BranchName>, TransportError> {
        let mut stale: Vec<&BranchName> = updates
            .iter()
            .filter(|update| update.new == update.expected)
            .map(|update| &update.branch)
            .collect();
        let removed: Vec<&RefUpdate> = updates
            .iter()
            .filter(|update| update.new.is_none() && update.expected.is_some())
            .collect();
        if !removed.is_empty() {
            let branches: Vec<BranchName> = removed.iter().map(|update| update.branch.clone()).collect();
            let heads = self.list_by(remote, &branches, deadline).await?;
            let is_elsewhere =
                |update: &&&RefUpdate| heads.get(update.branch.as_str()) != update.expected.as_ref();
            stale.extend(removed.iter().filter(is_elsewhere).map(|update| &update.branch));
        }
        Ok(stale)
    }
}

fn rejected(update: &RefUpdate, summary: &str) -> Reported {
    Reported {
        flag: '!',
        reference: reference(&update.branch),
        summary: summary.to_owned(),
    }
}

fn reference(branch: &BranchName) -> String {
    format!("refs/heads/{branch}")
}

/// The lines that say what to move.
fn commands(updates: &[&RefUpdate], offer: ReceiveOffer) -> Result<Vec<u8>, TransportError> {
    let id = |id: &Option<CommitOid>| id.as_ref().map_or_else(|| "0".repeat(40), ToString::to_string);
    let mut capabilities = vec![if offer.report_v2 {
        "report-status-v2"
    } else {
        "report-status"
    }];
    if offer.side_band {
        capabilities.push("side-band-64k");
    }
    if offer.atomic && updates.len() > 1 {
        capabilities.push("atomic");
    }
    if offer.names_format {
        capabilities.push("object-format=sha1");
    }
    capabilities.push(AGENT);
    let mut request = Encoder::default();
    for (index, update) in updates.iter().enumerate() {
        let command = format!(
            "{} {} {}",
            id(&update.expected),
            id(&update.new),
            reference(&update.branch)
        );
        if index == 0 {
            request.line(&format!("{command}\0 {}", capabilities.join(" ")));
        } else {
            request.line(&command);
        }
    }
    request.flush();
    Ok(request.finish()?)
}

/// The commands, and behind them a pack of exactly these objects, none of which builds on one that is not in it. Blocks.
fn pack(repository: &Path, objects: &[Oid], commands: &[u8]) -> Result<Outgoing, PushError> {
    let unwritten = |error| PushError::Transport(written(error));
    let mut body = Spool::new(repository);
    body.add(commands).map_err(unwritten)?;
    let mut failed = None;
    let mut build = || {
        let repo = Repository::open_bare(repository)?;
        let mut builder = repo.packbuilder()?;
        builder.set_threads(1);
        for id in objects {
            builder.insert_object(*id, None)?;
        }
        builder.foreach(|part| match body.add(part) {
            Ok(()) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        })
    };
    let built: Result<(), git2::Error> = build();
    if let Some(error) = failed {
        return Err(unwritten(error));
    }
    built.map_err(ReadError::damaged(|| "an object that is to be pushed"))?;
    body.finish().map_err(unwritten)
}

/// Reads what became of each branch.
async fn read_report(
    mut packets: Packets<'_>,
    offer: ReceiveOffer,
    updates: &[&RefUpdate],
) -> Result<Report, TransportError> {
    let mut reading = Reading {
        remote: packets.remote(),
        updates,
        unpacked: None,
        refs: Vec::new(),
        has_ended: false,
    };
    let mut words = Vec::new();
    let mut inner = Decoder::default();
    while !reading.has_ended {
        match packets.next().await? {
            Packet::Data(line) if offer.side_band => match Band::of(line)? {
                Band::Data(part) => {
                    inner.push(&part);
                    while !reading.has_ended
                        && let Some(packet) = inner.next().map_err(|error| bad(error.to_string()))?
                    {
                        reading.take(&packet)?;
                    }
                }
                Band::Message(text) => {
                    let room = MOST_WORDS - words.len();
                    words.extend_from_slice(text.get(..room).unwrap_or(&text));
                }
                Band::GaveUp(text) => {
                    words.extend_from_slice(text.get(..MOST_WORDS).unwrap_or(&text));
                    return Err(TransportError::Network {
                        detail: packets.shown(&words),
                    });
                }
            },
            Packet::Flush if offer.side_band => return Err(bad("it does not say what became of the push")),
            packet => reading.take(&packet)?,
        }
    }
    let server = packets.shown(&words);
    packets.finish().await;
    reading.finish(server)
}

/// The lines of a report, as they come.
struct Reading<'a> {
    remote: &'a Remote,
    updates: &'a [&'a RefUpdate],
    /// `ok`, or why the pack was not taken.
    unpacked: Option<String>,
    refs: Vec<Reported>,
    has_ended: bool,
}

impl Reading<'_> {
    fn take(&mut self, packet: &Packet) -> Result<(), TransportError> {
        let Packet::Data(line) = packet else {
            self.has_ended = true;
            return Ok(());
        };
        let line = text(line).ok_or_else(|| bad("a line of the report is not text"))?;
        let Some((word, rest)) = line.split_once(' ') else {
            return Err(bad("a line of the report is not a report"));
        };
        let (name, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_ours = || {
            let mut branches = self.updates.iter().map(|update| reference(&update.branch));
            branches.any(|ours| ours == name) && self.refs.iter().all(|known| known.reference != name)
        };
        let (flag, summary) = match word {
            "unpack" => {
                self.unpacked = Some(said(self.remote, rest));
                return Ok(());
            }
            "ok" => (' ', String::new()),
            "ng" => ('!', format!("[remote rejected] ({})", said(self.remote, reason))),
            // `option`: where a hook of the server put the branch instead.
            _ => return Ok(()),
        };
        if is_ours() {
            self.refs.push(Reported {
                flag,
                reference: name.to_owned(),
                summary,
            });
        }
        Ok(())
    }

    fn finish(self, server: String) -> Result<Report, TransportError> {
        let Some(unpacked) = self.unpacked else {
            return Err(bad("it does not say what became of the push"));
        };
        let is_taken = self.refs.iter().any(|reported| reported.flag == ' ');
        let says = |text: &str| LACKING.iter().any(|lacking| text.contains(lacking));
        let lacks = (unpacked != "ok" && (says(&unpacked) || says(&server)))
            || self.refs.iter().any(|reported| says(&reported.summary));
        if lacks && !is_taken {
            let refs = self.refs.into_iter().map(|reported| reported.summary);
            let texts: Vec<String> = [unpacked, server].into_iter().chain(refs.take(1)).collect();
            return Err(TransportError::LacksObjects {
                detail: texts.join("; "),
            });
        }
        Ok(Report {
            refs: self.refs,
            server,
        })
    }
}

/// What git's receive-pack, index-pack and unpack-objects say when an object is neither in the pack nor there.
const LACKING: [&str; 5] = [
    "missing necessary objects",
    "did not receive expected object",
    // What `unpack-objects --strict` finds instead of an object that is not there.
    "object of unexpected type",
    "unresolved delta",
    "bad pack",
];
