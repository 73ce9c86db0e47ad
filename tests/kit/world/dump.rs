//! What a story that failed has to show.

use std::fmt::Write as _;

use super::{REPOSITORY, World};

/// So many of the last requests are shown.
const REQUESTS: usize = 60;

/// So many of the last lines of `serve` are shown.
const LINES: usize = 120;

impl World {
    /// Returns everything that helps to see what happened.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        // A string can always be written to.
        self.write_dump(&mut out).ok();
        out
    }

    fn write_dump(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n==== pull requests")?;
        for pull in self.forge.pull_requests(REPOSITORY).unwrap_or_default() {
            let state = if pull.merged {
                "merged"
            } else {
                pull.state.as_str()
            };
            writeln!(
                out,
                "#{} {state} {:?} by {}: {} at {:.10}, labels {:?}, assignees {:?}",
                pull.number,
                pull.title,
                pull.author,
                pull.head.branch,
                pull.head.sha,
                pull.labels,
                pull.assignees
            )?;
            for status in self
                .forge
                .statuses(REPOSITORY, &pull.head.sha)
                .unwrap_or_default()
            {
                let description = status.description.unwrap_or_default();
                writeln!(
                    out,
                    "     status {} {}: {description}",
                    status.state, status.context
                )?;
            }
            for review in &pull.reviews {
                writeln!(
                    out,
                    "     review {} by {} of {:.10}",
                    review.state.as_str(),
                    review.author,
                    review.commit_id
                )?;
            }
            for comment in &pull.comments {
                writeln!(
                    out,
                    "     comment by {}: {}",
                    comment.author,
                    comment.body.replace('\n', "\n       ")
                )?;
            }
        }
        writeln!(out, "==== branches")?;
        for (branch, commit) in self.forge.branches(REPOSITORY).unwrap_or_default() {
            writeln!(out, "{commit:.10} {branch}")?;
        }
        writeln!(out, "==== webhooks that were not taken")?;
        for delivery in self
            .forge
            .deliveries()
            .iter()
            .filter(|delivery| !delivery.succeeded())
        {
            writeln!(
                out,
                "{} {:?}: {}",
                delivery.event, delivery.action, delivery.status
            )?;
        }
        let requests = self.forge.requests();
        let hidden = requests.len().saturating_sub(REQUESTS);
        writeln!(out, "==== requests ({hidden} earlier ones left out)")?;
        for request in requests.iter().skip(hidden) {
            let status = request
                .status
                .map_or("no answer".to_owned(), |status| status.to_string());
            writeln!(
                out,
                "{status} {} {} by {}",
                request.method, request.path, request.actor
            )?;
        }
        let log = self.log.text();
        let lines: Vec<&str> = log.lines().collect();
        let hidden = lines.len().saturating_sub(LINES);
        writeln!(out, "==== what `serve` wrote ({hidden} earlier lines left out)")?;
        for line in lines.iter().skip(hidden) {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "====")
    }
}
