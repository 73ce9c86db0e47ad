//! `lockflight init`: writes a first policy, or rewrites Telefonistka's.

mod look;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lockflight_promotion::policy::{
    MAX_BYTES, NATIVE_FILE, Policy, PolicyErrors, TELEFONISTKA_FILE, Unmigratable, decode, migrate,
    migrate_component,
};

use crate::cli::{InitArgs, ReportFormat};
use crate::cmd::validate;
use crate::exit::Exit;

/// A file to be written, and what it says.
type Written = (PathBuf, String);

/// Writes the policy of a repository. Whatever is there already stays, unless it may be overwritten.
pub(crate) fn run(args: &InitArgs) -> anyhow::Result<Exit> {
    if !args.path.is_dir() {
        crate::complain(&anyhow::anyhow!(
            "{} is no directory; expected a work tree",
            args.path.display()
        ));
        return Ok(Exit::NotFound);
    }
    let files = match &args.from {
        Some(from) => match migrated(args, from)? {
            Ok(files) => files,
            Err(exit) => return Ok(exit),
        },
        None => {
            let found = look::at(&args.path)?;
            let Some(text) = look::policy(&found) else {
                crate::complain(&anyhow::anyhow!(
                    "nothing in {} looks like environments: neither directories nor branches such as `staging` and `production`, \
                     nor files such as `values-staging.yaml`; docs/policy.md shows what to write by hand",
                    args.path.display()
                ));
                return Ok(Exit::NotFound);
            };
            vec![(args.path.join(NATIVE_FILE), text)]
        }
    };
    let files: Vec<Written> = files
        .into_iter()
        .enumerate()
        .map(|(index, (path, text))| {
            // The schema of components is another one.
            let text = if index == 0 {
                format!("# yaml-language-server: $schema={}\n{text}", args.schema)
            } else {
                text
            };
            (path, text)
        })
        .collect();
    if args.stdout {
        let mut out = std::io::stdout().lock();
        for (path, text) in &files {
            if files.len() > 1 {
                writeln!(out, "# {}", path.display())?;
            }
            write!(out, "{text}")?;
        }
        return Ok(Exit::Success);
    }
    if let Some((path, _)) = files
        .iter()
        .find(|(path, _)| !args.force && fs::symlink_metadata(path).is_ok())
    {
        crate::complain(&anyhow::anyhow!(
            "{} is there already and stays as it is; `--force` overwrites it, `--stdout` only prints",
            path.display()
        ));
        return Ok(Exit::Failed);
    }
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink());
    if let Some((path, _)) = files.iter().find(|(path, _)| is_link(path)) {
        crate::complain(&anyhow::anyhow!(
            "{} is a symbolic link, and what it leads to is not overwritten, `--force` or not; remove the link first. Nothing was written",
            path.display()
        ));
        return Ok(Exit::Failed);
    }
    for (path, text) in &files {
        fs::write(path, text).with_context(|| format!("{} can't be written", path.display()))?;
        say(&format!("wrote {}", path.display()));
    }
    if !args.schema.contains("://") && !args.path.join(&args.schema).exists() {
        say(&format!(
            "for completion in editors: lockflight schema > {}",
            args.schema
        ));
    }
    say("next: read it, then try `lockflight validate` and `lockflight plan --base HEAD~1`");
    Ok(Exit::Success)
}

#[expect(clippy::print_stderr, reason = "progress goes to stderr")]
fn say(what: &str) {
    eprintln!("{what}");
}

/// Telefonistka's policies in our own form: the repository's first.
fn migrated(args: &InitArgs, from: &Path) -> anyhow::Result<Result<Vec<Written>, Exit>> {
    let invalid = |errors: &PolicyErrors| -> anyhow::Result<Result<Vec<Written>, Exit>> {
        validate::print(ReportFormat::Human, errors.iter(), [], &mut std::io::stderr())?;
        Ok(Err(Exit::Invalid))
    };
    if !from.is_file() {
        crate::complain(&anyhow::anyhow!(
            "{} is no file; expected a {TELEFONISTKA_FILE}",
            from.display()
        ));
        return Ok(Err(Exit::NotFound));
    }
    let compiled = match text(from)? {
        Ok(text) => Policy::compile(TELEFONISTKA_FILE, &text),
        Err(errors) => Err(errors),
    };
    let policy = match compiled {
        Ok(policy) => policy,
        Err(errors) => return invalid(&errors),
    };
    let mut files = match migrate(&policy) {
        Ok(text) => vec![(args.path.join(NATIVE_FILE), text)],
        Err(Unmigratable::NoForm(errors)) => {
            crate::complain(&anyhow::anyhow!(
                "the policy says something that a {NATIVE_FILE} has no form for; what follows is about the {NATIVE_FILE} that would be written"
            ));
            return invalid(&errors);
        }
        Err(error) => {
            crate::complain(&error.into());
            return Ok(Err(Exit::Invalid));
        }
    };
    let tops = [args.path.join(TELEFONISTKA_FILE), from.to_owned()];
    for path in validate::policy_files(&args.path)? {
        if tops.contains(&path) || path.file_name().is_none_or(|name| name != TELEFONISTKA_FILE) {
            continue;
        }
        let name = path
            .strip_prefix(&args.path)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        let component = match text(&path)? {
            Ok(text) => migrate_component(&name, &text),
            Err(errors) => Err(errors),
        };
        match component {
            Ok(Some(text)) => files.push((path.with_file_name(NATIVE_FILE), text)),
            Ok(None) => {}
            Err(errors) => return invalid(&errors),
        }
    }
    Ok(Ok(files))
}

fn text(path: &Path) -> anyhow::Result<Result<String, PolicyErrors>> {
    let name = path.to_string_lossy();
    let length = fs::metadata(path)
        .with_context(|| format!("{name} can't be read"))?
        .len();
    if length > MAX_BYTES {
        return Ok(Err(PolicyErrors::whole(
            name,
            format!("the file has {length} bytes; a policy may have {MAX_BYTES}"),
        )));
    }
    let bytes = fs::read(path).with_context(|| format!("{name} can't be read"))?;
    Ok(decode(&name, bytes))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("staging")).unwrap();
        fs::create_dir_all(tree.join("production")).unwrap();
        for environment in ["staging", "production"] {
            fs::create_dir_all(tree.join(environment).join("web")).unwrap();
            fs::write(tree.join(environment).join("web/values.yaml"), "a: 1\n").unwrap();
        }
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "mine\n").unwrap();
        std::os::unix::fs::symlink(&elsewhere, tree.join(NATIVE_FILE)).unwrap();
        let args = InitArgs {
            path: tree.clone(),
            from: None,
            stdout: false,
            force: true,
            schema: "x".to_owned(),
        };
        assert_eq!(run(&args).unwrap(), Exit::Failed);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine\n");
        fs::remove_file(tree.join(NATIVE_FILE)).unwrap();
        assert_eq!(run(&args).unwrap(), Exit::Success);
    }
}
