//! `lockflight validate`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lockflight_promotion::policy::{
    ComponentPolicy, NATIVE_FILE, Policy, PolicyError, PolicyErrors, TELEFONISTKA_FILE, decode,
};
use serde::Serialize;

use crate::cli::{ReportFormat, ValidateArgs};
use crate::exit::Exit;

/// Checks a policy file, or all of them below a directory.
pub(crate) fn run(args: &ValidateArgs) -> anyhow::Result<Exit> {
    let metadata = match fs::metadata(&args.path) {
        Ok(metadata) => metadata,
        Err(error) => {
            let error = anyhow::Error::from(error).context(format!("{} can't be read", args.path.display()));
            crate::complain(&error);
            return Ok(Exit::NotFound);
        }
    };
    let files = if metadata.is_dir() {
        policy_files(&args.path)?
    } else {
        vec![args.path.clone()]
    };
    if files.is_empty() {
        crate::complain(&anyhow::anyhow!(
            "there is neither {NATIVE_FILE} nor {TELEFONISTKA_FILE} below {}; `lockflight init` writes one",
            args.path.display()
        ));
        return Ok(Exit::NotFound);
    }
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    // Both kinds may lie in one repository; the one at its top says which kind counts.
    let tops: Vec<&Path> = files
        .iter()
        .filter(|file| metadata.is_dir() && file.parent() == Some(args.path.as_path()))
        .map(PathBuf::as_path)
        .collect();
    let is_native = |path: &Path| path.file_name().is_some_and(|name| name == NATIVE_FILE);
    let wins = if tops.iter().any(|top| is_native(top)) {
        Some(NATIVE_FILE)
    } else {
        (!tops.is_empty()).then_some(TELEFONISTKA_FILE)
    };
    // The files are in order, the one at the top before those of components.
    let mut policy = None;
    for file in &files {
        let is_root = !metadata.is_dir() || file.parent() == Some(args.path.as_path());
        if let Some(wins) = wins.filter(|wins| file.file_name().is_none_or(|name| name != *wins)) {
            warnings.push(unused(file, wins));
            continue;
        }
        match check(file, is_root, policy.as_deref())? {
            Ok(Checked::Policy(found)) => {
                warnings.extend(found.warnings().iter().cloned());
                policy = metadata.is_dir().then_some(found);
            }
            Ok(Checked::Component(found)) => warnings.extend(found.warnings().iter().cloned()),
            Err(found) => errors.extend(found.iter().cloned()),
        }
    }
    print(args.output, &errors, &warnings, &mut std::io::stdout().lock())?;
    Ok(if errors.is_empty() {
        Exit::Success
    } else {
        Exit::Invalid
    })
}

/// A file that nothing reads, because the repository's policy is of the other kind.
fn unused(path: &Path, wins: &str) -> PolicyError {
    let name = path.to_string_lossy();
    PolicyError {
        file: name.strip_prefix("./").unwrap_or(&name).to_owned(),
        line: 1,
        column: 1,
        message: format!(
            "this file is not used and was not checked, because the repository's policy is {wins}"
        ),
    }
}

/// What was found to be right.
enum Checked {
    Policy(Box<Policy>),
    Component(ComponentPolicy),
}

/// Checks one file: the policy of a repository, or that of a component of it. A file that is named by itself is what it looks like.
fn check(
    path: &Path,
    is_root: bool,
    policy: Option<&Policy>,
) -> anyhow::Result<Result<Checked, PolicyErrors>> {
    let name = path.to_string_lossy();
    let name = name.strip_prefix("./").unwrap_or(&name);
    let bytes = fs::read(path).with_context(|| format!("{name} can't be read"))?;
    let text = match decode(name, bytes) {
        Ok(text) => text,
        Err(errors) => return Ok(Err(errors)),
    };
    let begins = |keys: &[&str]| {
        text.lines()
            .any(|line| keys.iter().any(|key| line.starts_with(key)))
    };
    let looks_like_a_component = if path.file_name().is_some_and(|name| name == NATIVE_FILE) {
        begins(&["targets:"]) && !begins(&["flows:", "environments:"])
    } else {
        text.contains("promotionTarget") && !text.contains("promotionPaths")
    };
    Ok(if is_root && !looks_like_a_component {
        Policy::compile(name, &text).map(|policy| Checked::Policy(Box::new(policy)))
    } else {
        let own = match policy {
            Some(policy) => policy.component(name, &text),
            None => ComponentPolicy::compile(name, &text),
        };
        own.map(Checked::Component)
    })
}

/// All policy files below a directory, the root's first, without looking into `.git` or behind symlinks.
pub(crate) fn policy_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let mut entries: Vec<fs::DirEntry> = fs::read_dir(&directory)
            .and_then(Iterator::collect)
            .with_context(|| format!("{} can't be read", directory.display()))?;
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        for entry in entries {
            let kind = entry
                .file_type()
                .with_context(|| format!("{} can't be read", entry.path().display()))?;
            if kind.is_dir() && entry.file_name() != ".git" {
                left.push(entry.path());
            } else if kind.is_file()
                && [NATIVE_FILE, TELEFONISTKA_FILE]
                    .iter()
                    .any(|name| entry.file_name() == *name)
            {
                found.push(entry.path());
            }
        }
    }
    found.sort_by_key(|path| (path.components().count(), path.clone()));
    Ok(found)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'e> {
    api_version: &'static str,
    valid: bool,
    errors: Vec<Line<'e>>,
    warnings: Vec<Line<'e>>,
}

#[derive(Serialize)]
struct Line<'e> {
    file: &'e str,
    line: usize,
    column: usize,
    message: &'e str,
}

impl<'e> From<&'e PolicyError> for Line<'e> {
    fn from(error: &'e PolicyError) -> Self {
        Self {
            file: &error.file,
            line: error.line,
            column: error.column,
            message: &error.message,
        }
    }
}

/// Prints errors and warnings in one of the formats.
pub(crate) fn print<'e>(
    format: ReportFormat,
    errors: impl IntoIterator<Item = &'e PolicyError>,
    warnings: impl IntoIterator<Item = &'e PolicyError>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let errors: Vec<&PolicyError> = errors.into_iter().collect();
    let warnings: Vec<&PolicyError> = warnings.into_iter().collect();
    match format {
        ReportFormat::Human => {
            for error in &errors {
                writeln!(out, "{error}")?;
            }
            for warning in &warnings {
                let PolicyError {
                    file,
                    line,
                    column,
                    message,
                } = warning;
                writeln!(out, "{file}:{line}:{column}: warning: {message}")?;
            }
        }
        ReportFormat::Json => {
            let document = Document {
                api_version: "lockflight/v1",
                valid: errors.is_empty(),
                errors: errors.into_iter().map(Line::from).collect(),
                warnings: warnings.into_iter().map(Line::from).collect(),
            };
            serde_json::to_writer_pretty(&mut *out, &document)?;
            writeln!(out)?;
        }
        ReportFormat::Github => {
            for (level, errors) in [("error", &errors), ("warning", &warnings)] {
                for PolicyError {
                    file,
                    line,
                    column,
                    message,
                } in errors.iter().copied()
                {
                    let (file, message) = (property(file), data(message));
                    writeln!(out, "::{level} file={file},line={line},col={column}::{message}")?;
                }
            }
        }
    }
    Ok(())
}

/// Escapes the message of a workflow command:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
