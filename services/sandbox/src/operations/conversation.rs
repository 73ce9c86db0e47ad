//! Comments, labels, assignees and reviews.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::Actor;
use crate::change::Change;
use crate::clock::Timestamp;
use crate::error::{FieldError, ForgeError};
use crate::forge::Inner;
use crate::model::{Access, Comment, Label, PullRequest, Reaction, Review, ReviewState, UserKind};
use crate::operations::pull_requests::{self, announce};
use crate::state::{RepoRef, State};
use crate::webhook::payload;

/// GitHub takes no more assignees.
const ASSIGNEES: usize = 10;
/// GitHub's colour for a label that is made by putting it on.
const NEW_LABEL_COLOR: &str = "ededed";

fn check_comment(inner: &Inner, body: &str, resource: &'static str) -> Result<(), ForgeError> {
    let refuse = |message: String| {
        let error = FieldError {
            resource,
            field: Some("data"),
            code: "unprocessable",
            message: Some(message),
        };
        Err(ForgeError::field(error))
    };
    if body.trim().is_empty() {
        return refuse("Body can't be blank".into());
    }
    let longest = inner.options.limits.body_characters;
    if body.chars().count() > longest {
        return refuse(format!("Body is too long (maximum is {longest} characters)"));
    }
    Ok(())
}

/// Writes a comment and gives it.
pub(crate) async fn comment(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    body: String,
) -> Result<Comment, ForgeError> {
    check_comment(inner, &body, "IssueComment")?;
    let comment = {
        let mut state = inner.state();
        let via_app = actor
            .app()
            .and_then(|app| state.apps.get(&app))
            .map(|app| app.slug.clone());
        let id = state.fresh_id();
        let now = Timestamp::now();
        let author = actor.login().to_owned();
        let comment = Comment {
            id,
            author,
            via_app,
            body,
            minimized: None,
            reactions: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        let pull = state.repository_mut(&repo.key)?.pull_mut(number)?;
        pull.comments.push(comment.clone());
        pull.updated_at = now;
        comment
    };
    announce_comment(inner, repo, actor, number, &comment, "created", None)?;
    Ok(comment)
}

/// Replaces the text of a comment.
pub(crate) async fn edit_comment(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    id: u64,
    body: String,
) -> Result<(u64, Comment), ForgeError> {
    check_comment(inner, &body, "IssueComment")?;
    let (number, before, comment) = {
        let mut state = inner.state();
        let (number, comment) = find(&mut state, repo, id)?;
        let before = std::mem::replace(&mut comment.body, body);
        comment.updated_at = Timestamp::now();
        (number, before, comment.clone())
    };
    announce_comment(inner, repo, actor, number, &comment, "edited", Some(&before))?;
    Ok((number, comment))
}

/// Deletes a comment.
pub(crate) async fn delete_comment(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    id: u64,
) -> Result<(), ForgeError> {
    let (number, comment) = {
        let mut state = inner.state();
        let (number, comment) = find(&mut state, repo, id)?;
        let comment = comment.clone();
        let pull = state.repository_mut(&repo.key)?.pull_mut(number)?;
        pull.comments.retain(|other| other.id != id);
        (number, comment)
    };
    announce_comment(inner, repo, actor, number, &comment, "deleted", None)
}

/// Minimizes a comment for a reason, or shows it again without one.
pub(crate) fn minimize(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    id: u64,
    reason: Option<String>,
) -> Result<(), ForgeError> {
    let number = {
        let mut state = inner.state();
        let (number, comment) = find(&mut state, repo, id)?;
        comment.minimized = reason;
        number
    };
    inner.tell(Change::Comment {
        repository: repo.full_name.clone(),
        number,
        id,
        action: "minimized",
    });
    Ok(())
}

/// The reactions that there are.
pub(crate) const REACTIONS: [&str; 8] = [
    "+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket",
];

/// Reacts to a comment, and tells whether that is new.
pub(crate) fn react(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    id: u64,
    content: &str,
) -> Result<(Reaction, bool), ForgeError> {
    if !REACTIONS.contains(&content) {
        return Err(ForgeError::field(FieldError::coded(
            "Reaction", "content", "invalid",
        )));
    }
    let (number, reaction) = {
        let mut state = inner.state();
        let reaction = Reaction {
            id: state.fresh_id(),
            author: actor.login().to_owned(),
            content: content.to_owned(),
            created_at: Timestamp::now(),
        };
        let (number, comment) = find(&mut state, repo, id)?;
        let present = comment
            .reactions
            .iter()
            .find(|one| one.content == content && one.author == reaction.author);
        if let Some(present) = present {
            return Ok((present.clone(), false));
        }
        comment.reactions.push(reaction.clone());
        (number, reaction)
    };
    inner.tell(Change::Comment {
        repository: repo.full_name.clone(),
        number,
        id,
        action: "reacted",
    });
    Ok((reaction, true))
}

fn find<'a>(state: &'a mut State, repo: &RepoRef, id: u64) -> Result<(u64, &'a mut Comment), ForgeError> {
    state
        .repository_mut(&repo.key)?
        .pulls
        .values_mut()
        .find_map(|pull| {
            let number = pull.number;
            pull.comments
                .iter_mut()
                .find(|comment| comment.id == id)
                .map(|comment| (number, comment))
        })
        .ok_or_else(ForgeError::not_found)
}

fn announce_comment(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    comment: &Comment,
    action: &'static str,
    before: Option<&str>,
) -> Result<(), ForgeError> {
    if payload::is_heard(inner, repo) {
        let mut body = Map::new();
        {
            let state = inner.state();
            let shaper = inner.shaper(&state);
            let repository = state.repository(&repo.key)?;
            let pull = repository.pull(number)?;
            body.insert("issue".into(), shaper.issue(repository, pull));
            body.insert("comment".into(), shaper.comment(repository, pull, comment));
            if let Some(before) = before {
                body.insert("changes".into(), serde_json::json!({"body": {"from": before}}));
            }
        }
        payload::send(inner, repo, "issue_comment", Some(action), actor.login(), body)?;
    }
    let (repository, id) = (repo.full_name.clone(), comment.id);
    inner.tell(Change::Comment {
        repository,
        number,
        id,
        action,
    });
    Ok(())
}

/// Makes a label in a repository. One that exists already is refused.
pub(crate) fn create_label(
    inner: &Inner,
    repo: &RepoRef,
    name: &str,
    color: Option<&str>,
    description: Option<String>,
) -> Result<Label, ForgeError> {
    let name = checked_label(name)?;
    let color = color
        .unwrap_or(NEW_LABEL_COLOR)
        .trim_start_matches('#')
        .to_lowercase();
    if color.len() != 6 || !color.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ForgeError::field(FieldError::coded("Label", "color", "invalid")));
    }
    let mut state = inner.state();
    let id = state.fresh_id();
    let repository = state.repository_mut(&repo.key)?;
    let label = Label {
        id,
        name: name.to_owned(),
        color,
        description,
    };
    if repository.labels.contains_key(&name.to_lowercase()) {
        return Err(ForgeError::field(FieldError::coded(
            "Label",
            "name",
            "already_exists",
        )));
    }
    repository.labels.insert(name.to_lowercase(), label.clone());
    Ok(label)
}

fn checked_label(name: &str) -> Result<&str, ForgeError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(ForgeError::field(FieldError::coded(
            "Label",
            "name",
            "missing_field",
        )));
    }
    if name.chars().count() > 50 {
        let message = "name is too long (maximum is 50 characters)";
        let error = FieldError {
            field: Some("name"),
            ..FieldError::custom("Label", message)
        };
        return Err(ForgeError::field(error));
    }
    Ok(name)
}

/// Puts labels on a pull request; those that the repository does not have yet are made.
pub(crate) async fn add_labels(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    names: &[String],
) -> Result<(), ForgeError> {
    for name in names {
        let name = checked_label(name)?;
        let label = {
            let mut state = inner.state();
            let id = state.fresh_id();
            let repository = state.repository_mut(&repo.key)?;
            repository.pull(number)?;
            let made = || Label {
                id,
                name: name.to_owned(),
                color: NEW_LABEL_COLOR.into(),
                description: None,
            };
            let label = repository
                .labels
                .entry(name.to_lowercase())
                .or_insert_with(made)
                .clone();
            let pull = repository.pull_mut(number)?;
            if pull
                .labels
                .iter()
                .any(|other| other.eq_ignore_ascii_case(&label.name))
            {
                continue;
            }
            pull.labels.push(label.name.clone());
            pull.updated_at = Timestamp::now();
            label
        };
        announce_label(inner, repo, actor, number, "labeled", &label).await?;
    }
    Ok(())
}

/// Takes a label off a pull request.
pub(crate) async fn remove_label(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    name: &str,
) -> Result<(), ForgeError> {
    let label = {
        let mut state = inner.state();
        let repository = state.repository_mut(&repo.key)?;
        let label = repository.labels.get(&name.to_lowercase()).cloned();
        let pull = repository.pull_mut(number)?;
        let at = pull
            .labels
            .iter()
            .position(|other| other.eq_ignore_ascii_case(name));
        let (Some(label), Some(at)) = (label, at) else {
            return Err(ForgeError::NotFound("Label does not exist".into()));
        };
        pull.labels.remove(at);
        pull.updated_at = Timestamp::now();
        label
    };
    announce_label(inner, repo, actor, number, "unlabeled", &label).await
}

async fn announce_label(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    action: &str,
    label: &Label,
) -> Result<(), ForgeError> {
    let mut extra = Map::new();
    {
        let state = inner.state();
        let shaper = inner.shaper(&state);
        extra.insert("label".into(), shaper.label(state.repository(&repo.key)?, label));
    }
    announce(inner, repo, number, action, actor.login(), extra).await
}

/// Tells whether a login can be assigned to, or asked for a review: a person who may write.
fn is_collaborator(state: &State, repo: &RepoRef, login: &str) -> bool {
    let person = state
        .users
        .get(&login.to_lowercase())
        .is_some_and(|user| user.kind == UserKind::User);
    person
        && state
            .repository(&repo.key)
            .is_ok_and(|repository| repository.access_of(login) >= Access::Write)
}

/// Assigns a pull request. Logins that cannot be assigned to are passed over without a word, as on GitHub.
pub(crate) async fn assign(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    logins: &[String],
) -> Result<(), ForgeError> {
    for login in logins {
        let login = {
            let mut state = inner.state();
            let possible = is_collaborator(&state, repo, login);
            let login = state.user(login).login;
            let pull = state.repository_mut(&repo.key)?.pull_mut(number)?;
            if !possible || pull.assignees.contains(&login) || pull.assignees.len() >= ASSIGNEES {
                continue;
            }
            pull.assignees.push(login.clone());
            pull.updated_at = Timestamp::now();
            login
        };
        let mut extra = Map::new();
        extra.insert("assignee".into(), user_shape(inner, &login));
        announce(inner, repo, number, "assigned", actor.login(), extra).await?;
    }
    Ok(())
}

fn user_shape(inner: &Inner, login: &str) -> Value {
    let state = inner.state();
    inner.shaper(&state).user(login)
}

/// Asks people for a review.
pub(crate) async fn request_reviewers(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    logins: &[String],
) -> Result<(), ForgeError> {
    {
        let state = inner.state();
        let author = &state.repository(&repo.key)?.pull(number)?.author;
        if logins.iter().any(|login| login.eq_ignore_ascii_case(author)) {
            let message = "Review cannot be requested from pull request author.";
            return Err(ForgeError::Unprocessable(message.into()));
        }
        if !logins.iter().all(|login| is_collaborator(&state, repo, login)) {
            return Err(ForgeError::Unprocessable(format!(
                "Reviews may only be requested from collaborators. One or more of the users or teams you specified \
                 is not a collaborator of the {} repository.",
                repo.full_name
            )));
        }
    }
    for login in logins {
        let login = {
            let mut state = inner.state();
            let login = state.user(login).login;
            let pull = state.repository_mut(&repo.key)?.pull_mut(number)?;
            if pull.requested_reviewers.contains(&login) {
                continue;
            }
            pull.requested_reviewers.push(login.clone());
            login
        };
        let mut extra = Map::new();
        extra.insert("requested_reviewer".into(), user_shape(inner, &login));
        announce(inner, repo, number, "review_requested", actor.login(), extra).await?;
    }
    Ok(())
}

/// What somebody who reviews gives.
#[derive(Debug, Clone)]
pub(crate) struct Reviewing {
    pub(crate) state: ReviewState,
    pub(crate) body: String,
    pub(crate) commit_id: Option<String>,
}

/// Reviews a pull request and gives the review.
pub(crate) async fn review(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    number: u64,
    reviewing: Reviewing,
) -> Result<Review, ForgeError> {
    let refuse = |sentence: &str| {
        Err(ForgeError::Sentences {
            message: "Unprocessable Entity".into(),
            errors: vec![sentence.to_owned()],
        })
    };
    if !reviewing.body.is_empty() {
        check_comment(inner, &reviewing.body, "PullRequestReview")?;
    } else if matches!(
        reviewing.state,
        ReviewState::Commented | ReviewState::ChangesRequested
    ) {
        return refuse("Body can't be blank");
    }
    if let Some(commit) = &reviewing.commit_id
        && !crate::git::is_oid(commit)
    {
        return refuse("Commit is not part of the pull request");
    }
    let (pull, comparison) = pull_requests::with_comparison(inner, repo, number).await?;
    let commit_id = reviewing.commit_id.unwrap_or_else(|| pull.head.sha.clone());
    if commit_id != pull.head.sha && !comparison.commits.contains(&commit_id) {
        return refuse("Commit is not part of the pull request");
    }
    let own = pull.author.eq_ignore_ascii_case(actor.login());
    match reviewing.state {
        ReviewState::Approved if own => return refuse("Can not approve your own pull request"),
        ReviewState::ChangesRequested if own => {
            return refuse("Can not request changes on your own pull request");
        }
        _ => {}
    }
    let review = {
        let mut state = inner.state();
        let review = Review {
            id: state.fresh_id(),
            author: actor.login().to_owned(),
            state: reviewing.state,
            body: reviewing.body,
            commit_id,
            submitted_at: Timestamp::now(),
        };
        let pull = state.repository_mut(&repo.key)?.pull_mut(number)?;
        pull.reviews.push(review.clone());
        pull.requested_reviewers
            .retain(|login| !login.eq_ignore_ascii_case(actor.login()));
        pull.updated_at = Timestamp::now();
        review
    };
    if review.state != ReviewState::Pending {
        announce_review(inner, repo, actor, &pull, &review)?;
    }
    Ok(review)
}

fn announce_review(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    pull: &PullRequest,
    review: &Review,
) -> Result<(), ForgeError> {
    if payload::is_heard(inner, repo) {
        let mut body = Map::new();
        {
            let state = inner.state();
            let shaper = inner.shaper(&state);
            let repository = state.repository(&repo.key)?;
            let mut told = shaper.review(repository, pull, review);
            // The event writes the state in lower case, the API in capitals.
            told["state"] = review.state.as_str().to_lowercase().into();
            body.insert("review".into(), told);
            body.insert(
                "pull_request".into(),
                shaper.pull_request_simple(repository, pull),
            );
        }
        payload::send(
            inner,
            repo,
            "pull_request_review",
            Some("submitted"),
            actor.login(),
            body,
        )?;
    }
    inner.tell(Change::Review {
        repository: repo.full_name.clone(),
        number: pull.number,
        id: review.id,
    });
    Ok(())
}
