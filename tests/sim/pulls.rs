//! Pull requests as the forge in memory shows and opens them.

use std::collections::BTreeSet;

use lockflight_forge::{
    AccountType, CreatePullRequest, NewPullRequest, PullRequest, PullRequestState, RepoRef,
};
use lockflight_promotion::{Login, PrNumber, RepoId};

use crate::world::{Pull, Repo, World};

/// A pull request as a list shows it.
fn listed(pull: &Pull) -> PullRequest {
    PullRequest {
        commits: None,
        changed_files: None,
        mergeable: None,
        mergeable_state: None,
        ..pull.info.clone()
    }
}

pub(crate) fn newest_first<'r>(repo: &'r Repo, of: impl Fn(&PullRequest) -> bool + 'r) -> Vec<PullRequest> {
    repo.pulls
        .iter()
        .rev()
        .filter(|pull| of(&pull.info))
        .map(listed)
        .collect()
}

impl World {
    /// A pull request as it is shown by itself.
    pub(crate) fn shown(&mut self, id: RepoId, number: PrNumber) -> PullRequest {
        let repo = self.repo_mut(id);
        let head = repo.head();
        let needs_approval = repo.needs_approval;
        let pull = repo.pull_mut(number);
        let mut shown = pull.info.clone();
        if !pull.is_open() {
            return shown;
        }
        shown.mergeable_state = Some("unknown".to_owned());
        let undecided = pull.undecided > 0;
        pull.undecided = pull.undecided.saturating_sub(1);
        let approved = pull.is_approved();
        shown.commits = Some(self.objects.ahead(&shown.head, &head) as u64);
        let base = self.objects.merge_base(&shown.head, &head);
        shown.changed_files = Some(self.objects.differing(&base, &shown.head).len() as u64);
        if !undecided {
            let fits = self.objects.merged(&head, &shown.head).is_ok();
            shown.mergeable = Some(fits);
            let state = match (fits, needs_approval && !approved) {
                (false, _) => "dirty",
                (true, true) => "blocked",
                (true, false) => "clean",
            };
            shown.mergeable_state = Some(state.to_owned());
        }
        shown
    }

    /// Opens a pull request, as GitHub would.
    pub(crate) fn open_pull(&mut self, id: RepoId, new: &NewPullRequest, author: &str) -> CreatePullRequest {
        let undecided = u32::try_from(self.dice.below(3)).unwrap_or(0);
        let repo = self.repo(id);
        let head = repo.branches.get(&new.head).cloned().unwrap();
        let base = repo.head();
        let exists = |pull: &Pull| pull.is_open() && pull.info.head_branch == new.head.as_str();
        if repo.pulls.iter().any(exists) {
            return CreatePullRequest::AlreadyExists;
        }
        if self.objects.ahead(&head, &base) == 0 {
            return CreatePullRequest::NoCommitsBetween;
        }
        let (repo, now) = (self.repo(id), self.now());
        let own = RepoRef {
            id,
            name: repo.repo.name.clone(),
            default_branch: repo.main.to_string(),
        };
        let number = repo.next_number();
        let by_bot = author == crate::world::BOT;
        let info = PullRequest {
            number,
            node_id: format!("PR_{number}"),
            html_url: format!("https://forge.test/{}/pull/{number}", repo.repo.name),
            title: new.title.clone(),
            body: new.body.clone(),
            author: Login::parse(author).unwrap(),
            author_type: if by_bot {
                AccountType::Bot
            } else {
                AccountType::User
            },
            state: PullRequestState::Open,
            draft: false,
            merged: false,
            merged_at: None,
            merge_commit: None,
            head,
            head_branch: new.head.to_string(),
            head_repo: Some(own.clone()),
            base_branch: new.base.clone(),
            base,
            base_repo: own,
            labels: BTreeSet::new(),
            assignees: Vec::new(),
            commits: None,
            changed_files: None,
            mergeable: None,
            mergeable_state: None,
            created_at: now,
            updated_at: now,
        };
        self.say(|| format!("{id}: {author} opens #{number} from {}", new.head));
        self.repo_mut(id).pulls.push(Pull {
            info: info.clone(),
            comments: Vec::new(),
            reviews: Vec::new(),
            undecided,
            by_bot,
        });
        CreatePullRequest::Created(Box::new(info))
    }
}
