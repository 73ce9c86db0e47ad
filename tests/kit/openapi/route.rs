//! Path templates of OpenAPI, with GitHub's `x-multi-segment` parameters.

/// One piece between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One(String),
    /// Takes one segment or more, or a single empty one: `/contents/` names the root folder.
    Many(String),
}

/// `/repos/{owner}/{repo}/git/ref/{ref}`, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Template {
    segments: Vec<Segment>,
}

impl Template {
    /// Takes a template apart; `is_multi` says which parameters may hold slashes.
    pub(super) fn parse(path: &str, is_multi: impl Fn(&str) -> bool) -> Self {
        let segments = path
            .split('/')
            .skip(1)
            .map(
                |piece| match piece.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) if is_multi(name) => Segment::Many(name.to_owned()),
                    Some(name) => Segment::One(name.to_owned()),
                    None => Segment::Literal(piece.to_owned()),
                },
            )
            .collect();
        Self { segments }
    }

    /// Returns how many pieces are fixed. Where two templates match one path, more fixed pieces win.
    pub(super) fn literals(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| matches!(segment, Segment::Literal(_)))
            .count()
    }

    /// Returns the parameters of a path that matches, as they were written, so still percent-encoded.
    pub(super) fn captures(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let pieces: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let mut found = Vec::new();
        matches(&self.segments, &pieces, &mut found).then_some(found)
    }
}

fn matches<'t>(segments: &'t [Segment], pieces: &[&str], found: &mut Vec<(&'t str, String)>) -> bool {
    let Some((segment, segments)) = segments.split_first() else {
        return pieces.is_empty();
    };
    let Some((piece, rest)) = pieces.split_first() else {
        return false;
    };
    match segment {
        Segment::Literal(literal) => literal == piece && matches(segments, rest, found),
        Segment::One(name) => {
            found.push((name, (*piece).to_owned()));
            (!piece.is_empty() && matches(segments, rest, found)) || {
                found.pop();
                false
            }
        }
        Segment::Many(name) => (1..=pieces.len()).rev().any(|taken| {
            let (value, rest) = pieces.split_at(taken);
            found.push((name, value.join("/")));
            matches(segments, rest, found) || {
                found.pop();
                false
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(path: &str) -> Template {
        Template::parse(path, |name| matches!(name, "ref" | "path"))
    }

    #[test]
    fn a_multi_segment_parameter_takes_slashes() {
        let found = template("/repos/{owner}/{repo}/git/ref/{ref}");
        let captures = found.captures("/repos/o/r/git/ref/heads/a/b").unwrap();
        assert_eq!(captures.last().unwrap(), &("ref", "heads/a/b".to_owned()));
    }

    #[test]
    fn a_multi_segment_parameter_gives_back_what_a_literal_needs() {
        let found = template("/repos/{owner}/{repo}/commits/{ref}/status");
        let captures = found.captures("/repos/o/r/commits/heads/main/status").unwrap();
        assert_eq!(captures.last().unwrap(), &("ref", "heads/main".to_owned()));
        assert!(found.captures("/repos/o/r/commits/heads/main").is_none());
    }

    #[test]
    fn a_single_segment_parameter_takes_no_slash_and_is_never_empty() {
        assert!(
            template("/repos/{owner}/{repo}")
                .captures("/repos/o/r/x")
                .is_none()
        );
        assert!(template("/repos/{owner}/{repo}").captures("/repos/o/").is_none());
    }

    #[test]
    fn the_root_folder_is_an_empty_path() {
        assert!(
            template("/repos/{owner}/{repo}/contents/{path}")
                .captures("/repos/o/r/contents/")
                .is_some()
        );
    }
}
