//! Worlds with a policy in Lockflight's own format.

use lockflight_sandbox::Status;
use lockflight_tests::world::{MONA, Setup, World, put};

use crate::LOCKFLIGHT;

/// A world with a policy in Lockflight's own format.
pub(crate) fn native(policy: &str) -> Setup {
    Setup::new(LOCKFLIGHT).file("lockflight.yaml", policy)
}

/// The sentence of a status.
pub(crate) fn said(status: &Status) -> &str {
    status.description.as_deref().unwrap_or_default()
}

/// Waits until the last status of a change says this.
pub(crate) async fn until_said(world: &World, change: u64, text: &str) {
    world
        .until(&format!("a status on #{change} that says {text:?}"), |_| {
            said(&world.statuses(change).pop()?).contains(text).then_some(())
        })
        .await;
}

/// A person merges a change of one component.
pub(crate) async fn change(world: &World) -> u64 {
    world
        .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
        .await
}

/// Somebody gives a command, and it is done.
pub(crate) async fn done(world: &World, number: u64, command: &str) {
    let comment = world.say(number, command, MONA).await;
    world.until_reaction(number, comment, "rocket").await;
}

/// Somebody gives a command, and it is refused for this reason.
pub(crate) async fn refused(world: &World, number: u64, command: &str, by: &str, why: &str) {
    let comment = world.say(number, command, by).await;
    world.until_reaction(number, comment, "confused").await;
    world.until_comment(number, why).await;
}
