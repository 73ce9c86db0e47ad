//! The paths that a pull request changed.

use lockflight_fleet::worker::Failure;
use lockflight_forge::PullRequest;
use lockflight_forge::port::RepositoryPort;
use lockflight_git::port::MirrorPort;
use lockflight_git::{ChangedPaths, MergedPullRequest};
use lockflight_promotion::{CommitOid, ErrorClass};

/// The paths that the pull request changed, and the commit that stood before it. Git alone tells for most; where its history can be read
/// in more than one way, the forge's complete list of files decides.
pub(crate) async fn changed_paths(
    mirror: &impl MirrorPort,
    client: &impl RepositoryPort,
    pull_request: &PullRequest,
    merged_as: &CommitOid,
) -> Result<(Vec<String>, Option<CommitOid>), Failure> {
    if !pull_request.merged {
        let files = client.files(pull_request.number).await?;
        let paths = files
            .into_iter()
            .flat_map(|file| [Some(file.path), file.previous_path])
            .flatten();
        return Ok((paths.collect(), None));
    }
    let (Some(commits), Some(changed_files)) = (pull_request.commits, pull_request.changed_files) else {
        let reason = "GitHub did not say how many commits and files the pull request has";
        return Err(Failure::new(ErrorClass::Retry, reason));
    };
    let mut question = MergedPullRequest {
        merged_as: merged_as.clone(),
        commits,
        changed_files,
        files: None,
    };
    let mut answer = ask(mirror, question.clone()).await?;
    if answer == ChangedPaths::NeedsFileList {
        let files = client.files(pull_request.number).await?;
        question.files = Some(
            files
                .into_iter()
                .map(|file| (file.path, file.previous_path))
                .collect(),
        );
        answer = ask(mirror, question).await?;
    }
    match answer {
        ChangedPaths::Known { paths, before } => Ok((paths, before)),
        ChangedPaths::NeedsFileList => Err(Failure::new(
            ErrorClass::Bug,
            "the list of files was given and is asked for again",
        )),
    }
}

async fn ask(mirror: &impl MirrorPort, question: MergedPullRequest) -> Result<ChangedPaths, Failure> {
    Ok(mirror.changed_paths(question).await?)
}
