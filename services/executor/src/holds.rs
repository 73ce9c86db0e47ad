//! Targets that are held: what was rolled back there stays until people let it go, and no other change comes there by us.
//!
//! Which changes hold anything is told by refs of the repository that they were merged in, so that it takes one request where none does. A ref tells only
//! where to look: what is held stands in the sealed comment of that change. The ref is made before the comment says so and taken away after
//! it says otherwise; one that was lost is put back by the next look at the rollback.

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::Failure;
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::change::Change;
use lockflight_promotion::control::ControlsRead;
use lockflight_promotion::plan::Step;
use lockflight_promotion::rollback::{HOLDS, WayBack, hold_ref, holder};
use lockflight_promotion::{CommitOid, PrNumber};

use crate::Executor;

/// How often somebody looks whether a target was let go, in seconds.
pub(crate) const HELD_EVERY_S: u64 = 300;

/// What changes of one repository hold.
#[derive(Debug, Default)]
pub(crate) struct Holds(Vec<(PrNumber, ControlsRead)>);

impl Holds {
    /// What others than its own change keep a step from its targets, to follow "Waiting for"; none if nothing does.
    pub(crate) fn of(&self, change: &Change, step: &Step) -> Option<String> {
        let mut others = self.0.iter().filter(|(number, _)| *number != change.number);
        others.find_map(|(number, controls)| {
            if *controls == ControlsRead::Forged {
                return Some(format!(
                    "#{number}, where the comment with what people decided was edited: it may hold what was rolled back"
                ));
            }
            let rollback = controls
                .rollbacks()
                .iter()
                .find(|rollback| rollback.holds() && rollback.meets(change, step))?;
            Some(format!(
                "/promote release on #{number}, rolled back {}",
                rollback.by_and_why()
            ))
        })
    }
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// What the changes of the repository hold that `client` talks about.
    pub(crate) async fn holds(&self, client: &F::Repository) -> Result<Holds, Failure> {
        let mut holds = Vec::new();
        for name in client.refs_from(HOLDS).await? {
            let Some(number) = holder(&name) else {
                continue;
            };
            let controls = self.controls_of(client, number).await?;
            if controls.holds_targets() {
                holds.push((number, controls));
            }
        }
        Ok(Holds(holds))
    }

    /// Puts the ref back by which others find that a change holds targets, if it was lost.
    pub(crate) async fn keep_hold(
        &self,
        client: &F::Repository,
        change: &Change,
        back: &WayBack,
    ) -> Result<(), Failure> {
        let name = hold_ref(change.number);
        if !client.refs_from(&name).await?.contains(&name) {
            client.create_ref(&name, &back.of).await?;
        }
        Ok(())
    }

    /// Has others find that a change holds targets, or that it holds none.
    pub(crate) async fn tell_hold(
        &self,
        client: &F::Repository,
        number: PrNumber,
        merged_as: Option<&CommitOid>,
    ) -> Result<(), Failure> {
        let name = hold_ref(number);
        match merged_as {
            Some(commit) => client.create_ref(&name, commit).await?,
            None => client.delete_ref(&name).await?,
        }
        Ok(())
    }
}
