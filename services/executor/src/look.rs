//! Looks how the steps of a plan are: at the forge, and for those that have no pull request at git.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::Failure;
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_forge::{PullRequest, PullRequestState};
use lockflight_git::port::{MirrorPort as _, MirrorsPort};
use lockflight_promotion::change::Change;
use lockflight_promotion::plan::Step;
use lockflight_promotion::progress::Seen;
use lockflight_promotion::{BranchName, CommitOid, RepoId};

use crate::Executor;
use crate::assess::{Assessment, assess};
use crate::places::{Places, Tips};
use crate::promote::is_of;
use crate::supersede::may_be_taken_over;

/// What is seen of a step.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) seen: Seen,
    /// Its pull request; none if it has none, or a newer change carries the step on.
    pub(crate) pull_request: Option<PullRequest>,
}

/// A look at the steps of one change. What several of them need is asked for once.
pub(crate) struct Look<'e, L, F: ForgePort, G: MirrorsPort> {
    executor: &'e Executor<L, F, G>,
    change: &'e Change,
    /// Where the branch of the change is, if that is known already.
    head: Option<CommitOid>,
    repositories: BTreeMap<RepoId, Repository<F::Repository>>,
    places: BTreeMap<(RepoId, BranchName), Fetched<G::Mirror>>,
    /// The open pull requests into each branch that steps lead to.
    open: BTreeMap<(RepoId, BranchName), Vec<PullRequest>>,
    /// What we have said on the pull request of the change.
    ours: Option<Vec<String>>,
}

/// Where steps are from and lead to, and where those branches are; none if one is gone.
type Fetched<M> = (Places<M>, Option<Tips>);

/// One repository that steps lead to.
struct Repository<R> {
    client: R,
    /// Its pull requests that were opened last: they tell of nearly all steps.
    recent: Vec<PullRequest>,
}

impl<'e, L: RepoLock, F: ForgePort, G: MirrorsPort> Look<'e, L, F, G> {
    pub(crate) fn new(executor: &'e Executor<L, F, G>, change: &'e Change, head: Option<CommitOid>) -> Self {
        Self {
            executor,
            change,
            head,
            repositories: BTreeMap::new(),
            places: BTreeMap::new(),
            open: BTreeMap::new(),
            ours: None,
        }
    }

    /// The way to the repository of a step's pull request.
    pub(crate) async fn client(&mut self, step: &Step) -> Result<F::Repository, Failure> {
        Ok(self.repository(step).await?.client.clone())
    }

    async fn repository(&mut self, step: &Step) -> Result<&Repository<F::Repository>, Failure> {
        let repo = step.repo(self.change);
        Ok(match self.repositories.entry(repo.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => {
                let client = self.executor.forge.repository(repo).await?;
                let recent = client.recent_pull_requests().await?;
                slot.insert(Repository { client, recent })
            }
        })
    }

    /// How a step is.
    pub(crate) async fn at(&mut self, step: &Step) -> Result<Sight, Failure> {
        let change = self.change;
        let repository = self.repository(step).await?;
        let listed = repository
            .recent
            .iter()
            .find(|recent| is_of(recent, change, step));
        let pull_request = match listed {
            Some(pull_request) => Some(pull_request.clone()),
            // One that is older than what the list holds is asked for by itself.
            None => {
                let older = repository.client.find_pull_requests(&step.branch).await?;
                match older.into_iter().find(|older| is_of(older, change, step)) {
                    Some(older) => Some(older),
                    None => Box::pin(self.taken_for(step)).await?,
                }
            }
        };
        let seen = match &pull_request {
            Some(pull_request) => match self.executor.superseded(pull_request, change, step) {
                Some(by) => {
                    let seen = Seen::Superseded { by };
                    return Ok(Sight {
                        seen,
                        pull_request: None,
                    });
                }
                None => seen_of(pull_request),
            },
            None => match self.without_pull_request(step).await? {
                Seen::Unopened if step.track.is_some() => {
                    let open = self.open(step).await?.to_vec();
                    let order = Box::pin(self.executor.order_among(open, change, step)).await?;
                    match order.overtaken_by() {
                        Some(by) => Seen::Superseded { by },
                        None => Seen::Unopened,
                    }
                }
                seen => seen,
            },
        };
        Ok(Sight { seen, pull_request })
    }

    /// The pull request of an older change that was taken over for a step.
    async fn taken_for(&mut self, step: &Step) -> Result<Option<PullRequest>, Failure> {
        if !may_be_taken_over(step) {
            return Ok(None);
        }
        let (executor, change) = (self.executor, self.change);
        if let Some(found) = executor.taken_among(self.open(step).await?, change, step) {
            return Ok(Some(found.clone()));
        }
        let ours = match &mut self.ours {
            Some(ours) => ours,
            none => none.insert(executor.our_words(change).await?),
        };
        Ok(match executor.carried(ours, change, step) {
            Some(number) => Some(self.client(step).await?.pull_request(number).await?),
            None => None,
        })
    }

    /// The open pull requests into the branch that a step leads to.
    async fn open(&mut self, step: &Step) -> Result<&[PullRequest], Failure> {
        let base = step.base(self.change).clone();
        let key = (step.repo(self.change).id, base.clone());
        if !self.open.contains_key(&key) {
            let open = self.client(step).await?.open_pull_requests(&base).await?;
            self.open.insert(key.clone(), open);
        }
        Ok(self.open.get(&key).map_or(&[], Vec::as_slice))
    }

    /// A step without a pull request may need none, or be unable to have one.
    async fn without_pull_request(&mut self, step: &Step) -> Result<Seen, Failure> {
        let change = self.change;
        let key = (step.repo(change).id, step.base(change).clone());
        if !self.places.contains_key(&key) {
            let client = self.client(step).await?;
            let places = self.executor.places(&client, change, step).await?;
            let tips = match self.head.clone().filter(|_| !step.leads_elsewhere()) {
                Some(head) => {
                    places.source.fetch(&change.branch, &change.merged_as).await?;
                    Some(Tips::of_one(head))
                }
                None => places.fetch(change, step).await?,
            };
            self.places.insert(key.clone(), (places, tips));
        }
        let Some((places, Some(tips))) = self.places.get(&key) else {
            return Ok(Seen::Unopened);
        };
        places.bring(change, step, &step.sync).await?;
        let assessed = assess(&places.source, &places.target, change, step, tips.heads()).await?;
        Ok(match assessed {
            Assessment::Carried => Seen::Carried,
            Assessment::Unsafe { .. } => Seen::Stopped,
            Assessment::Needed(_) => Seen::Unopened,
        })
    }
}

fn seen_of(pull_request: &PullRequest) -> Seen {
    let number = pull_request.number;
    match pull_request.state {
        _ if pull_request.merged => Seen::Merged {
            number,
            at: pull_request.merged_at.unwrap_or(pull_request.updated_at),
        },
        PullRequestState::Open => Seen::Open { number },
        PullRequestState::Closed => Seen::Closed { number },
    }
}
