//! What has to hold at the end of every story.

use std::collections::BTreeMap;

use super::{REPOSITORY, World, git, lock};

impl World {
    /// Ends the world. Fails the story if `serve` does not end in peace, or if something holds that never may.
    pub(super) async fn finish(self) {
        self.front.point_at(Vec::new());
        let running = std::mem::take(&mut *self.running.lock().await);
        for (place, process) in running {
            let status = process.stop().await;
            assert!(status.success(), "{place:?} ended with {status} after SIGTERM");
        }
        self.assert_nothing_is_there_twice();
        self.assert_every_comment_was_read();
        self.assert_no_secret_is_seen().await;
        let log = self.log();
        assert!(!log.contains("panicked"), "a process panicked");
        let violations = self.proxy.violations();
        assert!(
            violations.is_empty(),
            "GitHub's description was broken:\n{}",
            crate::openapi::report(&violations)
        );
    }

    fn assert_nothing_is_there_twice(&self) {
        let mut branches: BTreeMap<(String, String), u64> = BTreeMap::new();
        for promotion in self.promotions() {
            let (number, branch, base) = (promotion.number, promotion.head.branch, promotion.base.branch);
            if let Some(other) = branches.insert((branch.clone(), base.clone()), number) {
                panic!("{branch} has two pull requests into {base}, #{other} and #{number}");
            }
        }
        for pull in self
            .forge
            .pull_requests(REPOSITORY)
            .expect("every world has a repository")
        {
            let mut tags: Vec<&str> = pull
                .comments
                .iter()
                .filter(|comment| comment.author == self.bot())
                .filter_map(|comment| comment.body.lines().next())
                .collect();
            let all = tags.len();
            tags.sort_unstable();
            tags.dedup();
            assert_eq!(tags.len(), all, "#{} has a comment twice", pull.number);
        }
    }

    fn assert_every_comment_was_read(&self) {
        let read = lock(&self.read_comments).clone();
        for pull in self
            .forge
            .pull_requests(REPOSITORY)
            .expect("every world has a repository")
        {
            let unread = pull
                .comments
                .iter()
                .find(|comment| comment.author == self.bot() && !read.contains(&comment.id));
            if let Some(comment) = unread {
                panic!(
                    "the story says nothing of this comment on #{}:\n{}",
                    pull.number, comment.body
                );
            }
        }
    }

    /// Looks through all that `serve` has written anywhere: its log, pull requests, statuses, commits and branches.
    async fn assert_no_secret_is_seen(&self) {
        let mut seen = vec![("the log".to_owned(), self.log())];
        for pull in self
            .forge
            .pull_requests(REPOSITORY)
            .expect("every world has a repository")
        {
            let place = format!("#{}", pull.number);
            seen.extend([pull.title, pull.body.unwrap_or_default()].map(|text| (place.clone(), text)));
            seen.extend(
                pull.comments
                    .into_iter()
                    .map(|comment| (place.clone(), comment.body)),
            );
            seen.extend(
                pull.reviews
                    .into_iter()
                    .map(|review| (place.clone(), review.body)),
            );
            let statuses = self
                .forge
                .statuses(REPOSITORY, &pull.head.sha)
                .unwrap_or_default();
            for status in statuses {
                let texts = [status.description, status.target_url].into_iter().flatten();
                seen.extend(texts.map(|text| (place.clone(), text)));
            }
        }
        let bare = self
            .forge
            .repository_dir(REPOSITORY)
            .expect("every world has a repository");
        let history = git::run(
            &mut git::command(&bare),
            &["log", "--branches", "--format=%an%ae%cn%ce%B%D"],
        )
        .await;
        seen.push(("the history".to_owned(), history));
        for (place, text) in &seen {
            self.assert_no_secret_in(place, text);
        }
    }

    /// Fails if a secret of this world is in a text.
    pub fn assert_no_secret_in(&self, place: &str, text: &str) {
        for (what, secret) in &self.secrets {
            assert!(!text.contains(secret.as_str()), "{what} is to be seen in {place}");
        }
    }
}
