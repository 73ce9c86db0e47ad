//! `lockflight bump`: a new version of something gets into a GitOps repository by a pull request.

mod address;
mod edit;
mod go_regex;
mod names;
mod publish;

use std::collections::HashMap;
use std::io::Write as _;

use anyhow::{Context as _, bail};
use lockflight_forge::{Auth, Forge, ForgeConfig, ForgeError};
use lockflight_promotion::{ErrorClass, Login, TraceParent};
use secrecy::SecretString;
use serde_json::json;

use super::configured::{configuration, runtime};
use crate::cli::bump::{BumpArgs, BumpCommon, BumpMode};
use crate::cli::{ConfigArgs, ListFormat};
use crate::exit::Exit;
use edit::Edit;
use names::Origin;
use publish::{Bump, BumpError, Done, Merge, What};

/// The most bytes of a difference that are printed.
const SHOWN: usize = 20_000;

/// The variables that count. Empty ones do not.
struct Environment(HashMap<String, String>);

impl Environment {
    fn of_process() -> Self {
        const NAMES: [&str; 5] = [
            "GITHUB_OAUTH_TOKEN",
            "GITHUB_APP_ID",
            "GITHUB_APP_PRIVATE_KEY_PATH",
            "GITHUB_HOST",
            "TRACEPARENT",
        ];
        let known = std::env::vars_os().filter_map(|(name, value)| {
            let name = name
                .into_string()
                .ok()
                .filter(|name| NAMES.contains(&name.as_str()))?;
            Some((
                name,
                value
                    .into_string()
                    .ok()
                    .filter(|value| !value.trim().is_empty())?,
            ))
        });
        Self(known.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Opens the pull request, or brings it up to date.
pub(crate) fn run(args: &BumpArgs, log: Option<&str>) -> anyhow::Result<Exit> {
    let environment = Environment::of_process();
    let (common, edit) = match &args.mode {
        BumpMode::Overwrite(args) => match std::fs::read(&args.file) {
            Ok(content) => (&args.common, Edit::Overwrite(content)),
            Err(error) => {
                let what = format!("{} can't be read", args.file.display());
                crate::complain(&anyhow::Error::from(error).context(what));
                return Ok(Exit::NotFound);
            }
        },
        BumpMode::Regex(args) => match go_regex::compile(&args.regex) {
            Ok(regex) => {
                let edit = Edit::Regex {
                    pattern: args.regex.clone(),
                    regex,
                    replacement: args.replacement.clone(),
                };
                (&args.common, edit)
            }
            Err(error) => {
                let what = format!("{:?} is not a regular expression in Go's syntax", args.regex);
                return Ok(wrong_usage(&anyhow::Error::from(error).context(what)));
            }
        },
        BumpMode::Yaml(args) => match address::parse(&args.address) {
            Ok(key) => {
                let value = args.replacement.clone();
                (&args.common, Edit::Key { key, value })
            }
            Err(reason) => return Ok(wrong_usage(&anyhow::anyhow!(reason))),
        },
    };
    let bump = match bump(common, edit, &environment) {
        Ok(bump) => bump,
        Err(error) => return Ok(wrong_usage(&error)),
    };
    let forge = forge_config(common, &environment, log)?;
    let done = runtime()?.block_on(async {
        let forge = Forge::new(forge)?;
        publish::publish(&forge, &bump).await
    });
    match done {
        Ok(done) => {
            tell(&bump, &done, common.output)?;
            Ok(match done.merge {
                Some(Merge::Refused(_)) => Exit::Failed,
                Some(Merge::Merged | Merge::Enabled) | None => Exit::Success,
            })
        }
        Err(error) => {
            let exit = exit_of(&error);
            crate::complain(&error.into());
            Ok(exit)
        }
    }
}

fn wrong_usage(error: &anyhow::Error) -> Exit {
    crate::complain(error);
    Exit::Usage
}

fn bump(common: &BumpCommon, edit: Edit, environment: &Environment) -> anyhow::Result<Bump> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    if common.triggering_repo.trim().is_empty() || common.triggering_repo.chars().count() > 200 {
        bail!("--triggering-repo (GITHUB_REPOSITORY) has to name the source, as owner/name");
    }
    let actor = given(&common.triggering_actor).map(Login::parse).transpose();
    let trace = environment.get("TRACEPARENT").and_then(|text| {
        let parsed = TraceParent::parse(text);
        if parsed.is_err() {
            warn("TRACEPARENT is no W3C trace context, so it is left out");
        }
        parsed.ok()
    });
    Ok(Bump {
        target: common.target_repo.clone(),
        path: common.target_file.clone(),
        edit,
        origin: Origin {
            repo: common.triggering_repo.trim().to_owned(),
            commit: given(&common.triggering_repo_sha).map(|sha| sha.chars().take(200).collect()),
            trace,
        },
        actor: actor.context("--triggering-actor (GITHUB_ACTOR)")?,
        auto_merge: common.auto_merge,
    })
}

/// Which GitHub, and as whom. A token of the environment goes to the host of the environment alone, and the identity of a
/// configuration to the API of that configuration alone.
fn forge_config(
    common: &BumpCommon,
    environment: &Environment,
    log: Option<&str>,
) -> anyhow::Result<ForgeConfig> {
    let host = common
        .github_host
        .as_deref()
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .or_else(|| environment.get("GITHUB_HOST"));
    let auth = if let Some(id) = environment.get("GITHUB_APP_ID") {
        let Some(path) = environment.get("GITHUB_APP_PRIVATE_KEY_PATH") else {
            bail!("GITHUB_APP_ID needs GITHUB_APP_PRIVATE_KEY_PATH, the path of the App's key");
        };
        let id = id.trim().parse().context("GITHUB_APP_ID is not a number")?;
        let pem = std::fs::read_to_string(path)
            .context("the file that GITHUB_APP_PRIVATE_KEY_PATH names can't be read")?;
        Some(Auth::app(id, pem))
    } else {
        environment
            .get("GITHUB_OAUTH_TOKEN")
            .map(|token| Auth::Token(SecretString::from(token.to_owned())))
    };
    if let Some(auth) = auth {
        return Ok(ForgeConfig::new(api_url(host.unwrap_or("github.com")), auth));
    }
    let file = ConfigArgs {
        config: common.config.clone(),
        set: Vec::new(),
        queue: None,
        locks: None,
    };
    if common.config.is_none() {
        bail!(
            "there is no token: set GITHUB_OAUTH_TOKEN, or GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_PATH, or name a configuration \
             with --config"
        );
    }
    let forge = configuration(&file, log)?.forge()?;
    if let Some(host) = host
        && api_url(host).trim_end_matches('/') != forge.api_url.trim_end_matches('/')
    {
        bail!(
            "--github-host or GITHUB_HOST names another GitHub than github.api_url of the configuration ({}); leave one of them out",
            forge.api_url
        );
    }
    Ok(forge)
}

/// The address of the API of a host. A whole address, such as that of a server on this machine, is taken as it is.
fn api_url(host: &str) -> String {
    let host = host.trim_end_matches('/');
    if let Some((_, rest)) = host.split_once("://") {
        return if rest.contains('/') {
            host.to_owned()
        } else {
            format!("{host}/api/v3")
        };
    }
    match host.to_ascii_lowercase().as_str() {
        "github.com" | "api.github.com" | "www.github.com" => "https://api.github.com".to_owned(),
        lower if lower.ends_with(".ghe.com") => {
            format!("https://api.{}", lower.strip_prefix("api.").unwrap_or(lower))
        }
        _ => format!("https://{host}/api/v3"),
    }
}

fn exit_of(error: &BumpError) -> Exit {
    match error {
        BumpError::NoRepository(_) | BumpError::Empty { .. } | BumpError::NoFile { .. } => Exit::NotFound,
        BumpError::Edit(error) if error.is_absence() => Exit::NotFound,
        BumpError::Edit(_) => Exit::Invalid,
        BumpError::Overtaken(_) => Exit::Unavailable,
        BumpError::Foreign { .. } | BumpError::Name(_) => Exit::Failed,
        BumpError::Forge(error) => match error {
            ForgeError::Unauthorized { .. }
            | ForgeError::Forbidden { .. }
            | ForgeError::Installation { .. }
            | ForgeError::Signing { .. } => Exit::Forbidden,
            ForgeError::NotFound { .. } => Exit::NotFound,
            other => match other.class() {
                ErrorClass::Retry | ErrorClass::RetryAfter(_) => Exit::Unavailable,
                ErrorClass::Reject | ErrorClass::User | ErrorClass::Bug => Exit::Failed,
            },
        },
    }
}

#[expect(clippy::print_stderr, reason = "what is no result belongs on stderr")]
fn warn(text: &str) {
    eprintln!("warning: {text}");
}

/// Says what was done: the difference and what is odd on stderr, the result on stdout.
fn tell(bump: &Bump, done: &Done, format: ListFormat) -> anyhow::Result<()> {
    for note in &done.notes {
        warn(note);
    }
    if done.before != done.after {
        let diff = edit::shown(&bump.path, &done.before, &done.after, SHOWN);
        write!(std::io::stderr(), "{diff}")?;
    }
    let mut out = std::io::stdout().lock();
    let (word, sentence) = match done.what {
        What::Unchanged => ("unchanged", "is as it should be; nothing was opened"),
        What::Closed => (
            "closed",
            "is as it should be; a pull request that wanted something else was closed",
        ),
        What::Declined => (
            "declined",
            "is not as asked for, but a person closed the pull request with this content; nothing was opened",
        ),
        What::UpToDate => ("up_to_date", "has an open pull request with this content already"),
        What::Opened => ("opened", "gets a pull request"),
        What::Updated => ("updated", "has an open pull request, which was updated"),
    };
    let merge = done.merge.as_ref().map(|merge| match merge {
        Merge::Merged => ("merged", None),
        Merge::Enabled => ("enabled", None),
        Merge::Refused(reason) => ("refused", Some(reason.as_str())),
    });
    match format {
        ListFormat::Json => {
            let pull = done.pull.as_ref().map(|pull| {
                json!({"number": pull.number.get(), "url": pull.html_url, "title": pull.title, "branch": pull.head_branch})
            });
            let document = json!({
                "apiVersion": "lockflight/v1",
                "outcome": word,
                "repository": bump.target.to_string(),
                "file": bump.path.as_str(),
                "pullRequest": pull,
                "merge": merge.map(|(outcome, reason)| json!({"outcome": outcome, "reason": reason})),
            });
            serde_json::to_writer_pretty(&mut out, &document)?;
            writeln!(out)?;
        }
        ListFormat::Table => {
            writeln!(out, "{} in {} {sentence}", bump.path, bump.target)?;
            if let Some(pull) = &done.pull {
                writeln!(out, "  #{}  {}", pull.number, pull.html_url)?;
            }
            match merge {
                Some(("merged", _)) => writeln!(out, "  merged")?,
                Some(("enabled", _)) => {
                    writeln!(out, "  GitHub merges it as soon as its checks and reviews allow")?;
                }
                Some((_, reason)) => writeln!(out, "  not merged: {}", reason.unwrap_or_default())?,
                None => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_api() {
        for (host, api) in [
            ("github.com", "https://api.github.com"),
            ("ghe.example", "https://ghe.example/api/v3"),
            ("GitHub.com", "https://api.github.com"),
            ("acme.ghe.com", "https://api.acme.ghe.com"),
            ("http://127.0.0.1:4711", "http://127.0.0.1:4711/api/v3"),
            ("http://127.0.0.1:4711/api/v3/", "http://127.0.0.1:4711/api/v3"),
        ] {
            assert_eq!(api_url(host), api, "{host}");
        }
    }
}
