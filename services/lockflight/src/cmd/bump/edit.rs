//! The new content of the file, made of the old one.

use std::fmt::Write as _;
use std::time::Duration;

use lockflight_promotion::PathInRepo;
use lockflight_promotion::values::{self, Format, KeyPath, Problem, Scalar, ValueError};
use regex::Regex;

use crate::cmd::drift::printable;

/// How long the smallest difference is looked for; after that a larger one is shown.
const LOOKS: Duration = Duration::from_secs(2);

/// How a file is changed.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// It becomes this.
    Overwrite(Vec<u8>),
    /// Each match becomes the replacement.
    Regex {
        /// As it was given.
        pattern: String,
        regex: Regex,
        replacement: String,
    },
    /// A key gets this text.
    Key { key: KeyPath, value: String },
}

/// Why there is no new content.
#[derive(Debug, thiserror::Error)]
pub(super) enum EditError {
    #[error("there is no file {0} on the default branch; only `bump overwrite` makes a new one")]
    NoFile(PathInRepo),
    #[error("nothing in {path} matches {pattern:?}, so there is nothing to replace")]
    NoMatch { path: PathInRepo, pattern: String },
    #[error("{path} has no key `{key}`; add it once by hand, or name one that is there")]
    NoKey { path: PathInRepo, key: KeyPath },
    #[error("{0} is not UTF-8 text; only `bump overwrite` can change it")]
    NotText(PathInRepo),
    #[error("the name of {0} does not end in .yaml, .yml, .json or .toml, so its format is not known")]
    NoFormat(PathInRepo),
    #[error("{path} can't be edited")]
    Value {
        path: PathInRepo,
        #[source]
        source: ValueError,
    },
}

impl EditError {
    /// Whether what is to be changed is not there.
    pub(super) const fn is_absence(&self) -> bool {
        match self {
            Self::NoFile(_) | Self::NoMatch { .. } | Self::NoKey { .. } => true,
            Self::NotText(_) | Self::NoFormat(_) => false,
            Self::Value { source, .. } => matches!(source.problem, Problem::NoSuchItem { .. }),
        }
    }
}

impl Edit {
    /// What the file shall be. `before` is none if there is no such file.
    pub(super) fn apply(&self, path: &PathInRepo, before: Option<&[u8]>) -> Result<Vec<u8>, EditError> {
        let (text, edit) = match (self, before) {
            (Self::Overwrite(content), _) => return Ok(content.clone()),
            (_, None) => return Err(EditError::NoFile(path.clone())),
            (edit, Some(before)) => {
                let text = std::str::from_utf8(before);
                (text.map_err(|_not_text| EditError::NotText(path.clone()))?, edit)
            }
        };
        let after = match edit {
            Self::Overwrite(content) => return Ok(content.clone()),
            Self::Regex {
                pattern,
                regex,
                replacement,
            } => {
                if !regex.is_match(text) {
                    return Err(EditError::NoMatch {
                        path: path.clone(),
                        pattern: pattern.clone(),
                    });
                }
                regex.replace_all(text, replacement.as_str()).into_owned()
            }
            Self::Key { key, value } => {
                let format = Format::of(path).ok_or_else(|| EditError::NoFormat(path.clone()))?;
                let failed = |source| EditError::Value {
                    path: path.clone(),
                    source,
                };
                if values::get(format, text, key).map_err(failed)?.is_none() {
                    return Err(EditError::NoKey {
                        path: path.clone(),
                        key: key.clone(),
                    });
                }
                values::set(format, text, key, &Scalar::Text(value.clone())).map_err(failed)?
            }
        };
        Ok(after.into_bytes())
    }

    /// What tells two bumps of one file by one repository apart, so that each has its own pull request.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Overwrite(_) => "overwrite".to_owned(),
            Self::Regex { pattern, .. } => format!("regex\n{pattern}"),
            Self::Key { key, .. } => format!("key\n{key}"),
        }
    }
}

/// The differences of two contents, for people: a unified diff of at most so many bytes, each line with a mark before it.
pub(super) fn shown(path: &PathInRepo, before: &[u8], after: &[u8], most: usize) -> String {
    let (Ok(before), Ok(after)) = (std::str::from_utf8(before), std::str::from_utf8(after)) else {
        return format!("{path} is not text; its difference is not shown\n");
    };
    let diff = similar::TextDiff::configure()
        .timeout(LOOKS)
        .diff_lines(before, after);
    let mut text = String::new();
    let (from, to) = (format!("a/{path}"), format!("b/{path}"));
    for line in diff
        .unified_diff()
        .context_radius(3)
        .header(&from, &to)
        .to_string()
        .lines()
    {
        let line = printable(line);
        if text.len() + line.len() >= most {
            text.push_str("... and more\n");
            break;
        }
        // Writing to a String cannot fail.
        writeln!(text, "{line}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathInRepo {
        PathInRepo::parse(name).unwrap()
    }

    fn key(key: &str, value: &str) -> Edit {
        Edit::Key {
            key: KeyPath::parse(key).unwrap(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn a_key_is_set_and_all_else_stays_in_each_format() {
        for (file, before, after) in [
            (
                "a.yaml",
                "# ours\nimage:\n    tag:   'v1' # the one\nb: [ 1,2 ]\n",
                "# ours\nimage:\n    tag:   'v2' # the one\nb: [ 1,2 ]\n",
            ),
            (
                "a.json",
                "{ \"image\" : {\"tag\":\"v1\" },\n\"b\": 1}",
                "{ \"image\" : {\"tag\":\"v2\" },\n\"b\": 1}",
            ),
            (
                "a.toml",
                "[image] # it\ntag  = 'v1'\nb = 1\n",
                "[image] # it\ntag  = 'v2'\nb = 1\n",
            ),
        ] {
            let edited = key("image.tag", "v2")
                .apply(&path(file), Some(before.as_bytes()))
                .unwrap();
            assert_eq!(String::from_utf8(edited).unwrap(), after, "{file}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_cannot_be_read() {
        let absent = [
            key("image.tag", "v2").apply(&path("a.yaml"), None),
            key("image.tag", "v2").apply(&path("a.yaml"), Some(b"image: {}\n")),
            key("a[name=x].b", "v2").apply(&path("a.yaml"), Some(b"a: []\n")),
        ];
        for refused in absent {
            assert!(refused.unwrap_err().is_absence());
        }
        let broken = [
            key("image.tag", "v2").apply(&path("a.yaml"), Some(b"image: [\n")),
            key("image.tag", "v2").apply(&path("a.txt"), Some(b"image: {}\n")),
            key("image.tag", "v2").apply(&path("a.yaml"), Some(b"\xff")),
        ];
        for refused in broken {
            assert!(!refused.unwrap_err().is_absence());
        }
    }

    #[test]
    fn what_is_shown_has_a_mark_before_each_line() {
        let shown = shown(&path("a.yaml"), b"a\n", b"::set-env::\x1b\n", 1_000);
        assert_eq!(
            shown,
            "| --- a/a.yaml\n| +++ b/a.yaml\n| @@ -1 +1 @@\n| -a\n| +::set-env::\u{fffd}\n"
        );
    }

    #[test]
    fn the_difference_of_large_files_is_shown_in_good_time() {
        let lines = |by: u64| -> String {
            (0_u64..150_000)
                .map(|n| format!("{}\n", n.wrapping_mul(by) % 99_991))
                .collect()
        };
        let (before, after) = (lines(7_919), lines(104_729));
        let begin = std::time::Instant::now();
        let shown = shown(&path("a.yaml"), before.as_bytes(), after.as_bytes(), 1_000);
        assert!(
            shown.len() < 1_100 && shown.ends_with("... and more\n"),
            "{shown}"
        );
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    }
}
