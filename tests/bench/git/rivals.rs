//! The same with the git command line, each in the kindest way.

use std::path::Path;
use std::time::Instant;

use lockflight_promotion::message::Envelope;
use tokio::process::Command;

use crate::command::run;
use crate::stage::{Repository, Stage, promotion};
use crate::stats::millis;

/// (c) Pushes a commit that is there already. Returns the milliseconds.
pub(crate) async fn push(stage: &Stage, repository: &Repository, commit: &str, branch: &str) -> f64 {
    let mut command = stage.git(&repository.clone);
    command
        .args(["push", "--quiet", "--no-verify"])
        .arg(stage.forge.git_url(&repository.twin))
        .arg(format!("{commit}:refs/heads/{branch}"));
    let began = Instant::now();
    run(&mut command).await;
    millis(began.elapsed())
}

/// How much of a repository is cloned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clone {
    /// (a) All of it.
    Whole,
    /// (b) The last commit, and the files of the directories that are worked on.
    Sparse,
}

/// Clones, copies the component to its targets, adds, commits and pushes. Returns the milliseconds.
pub(crate) async fn promote(stage: &Stage, repository: &Repository, message: &Envelope, clone: Clone) -> f64 {
    let step = &promotion(message).step;
    let home = stage.fresh("rival");
    let tree = home.join("tree");
    let url = stage.forge.git_url(&repository.twin);
    let branch = format!("rival/{clone:?}/{}", step.branch);
    let began = Instant::now();
    let mut cloning = stage.git(&home);
    cloning.args(["clone", "--quiet", "--single-branch", "--no-tags"]);
    if matches!(clone, Clone::Sparse) {
        cloning.args(["--depth=1", "--filter=blob:none", "--no-checkout"]);
    }
    run(cloning.arg(&url).arg(&tree)).await;
    if matches!(clone, Clone::Sparse) {
        let mut sparse = stage.git(&tree);
        sparse.args(["sparse-checkout", "set", "--cone", "--sparse-index"]);
        sparse.args(step.sync.iter().map(|sync| sync.from.as_str()).take(1));
        run(sparse.args(step.sync.iter().map(|sync| sync.to.as_str()))).await;
        run(stage.git(&tree).args(["checkout", "--quiet", "main"])).await;
    }
    for sync in &step.sync {
        copy(&tree.join(sync.from.as_str()), &tree.join(sync.to.as_str()));
    }
    let targets = step.sync.iter().map(|sync| sync.to.as_str());
    run(stage.git(&tree).args(["add", "--all", "--"]).args(targets)).await;
    let who = ["-c", "user.name=Rival", "-c", "user.email=rival@example.com"];
    run(stage
        .git(&tree)
        .args(who)
        .args(["commit", "--quiet", "--no-verify", "--message=Promote"]))
    .await;
    run(stage
        .git(&tree)
        .args(["push", "--quiet", "--no-verify", "origin"])
        .arg(format!("HEAD:refs/heads/{branch}")))
    .await;
    let took = millis(began.elapsed());
    let made = run(stage.git(&tree).args(["rev-parse", "HEAD^{tree}"])).await;
    assert_eq!(
        made,
        stage.tree(repository, message).await,
        "both make the same of the repository"
    );
    run(Command::new("rm").arg("-rf").arg(&home)).await;
    took
}

/// Makes a directory of plain files a copy of another.
fn copy(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).expect("the target is checked out");
    std::fs::create_dir(to).expect("a tree can be written");
    for entry in std::fs::read_dir(from).expect("the source is checked out") {
        let entry = entry.expect("a directory can be read");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a file can be copied");
    }
}
