//! Reads typed values out of YAML nodes and collects what is wrong and what is odd.
//!
//! The leniencies are those of Go's yaml.v2, which Telefonistka uses: a missing value is the type's empty one, YAML 1.1 truths are
//! truths, unquoted numbers and truths do as text, and unknown keys do no harm.

use super::error::{PolicyError, PolicyErrors};
use super::yaml::{Mark, Node, Scalar, Value, key_name};

/// What is wrong and what is odd in one file.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) file: &'a str,
    errors: Vec<PolicyError>,
    warnings: Vec<PolicyError>,
}

impl<'a> Findings<'a> {
    pub(super) const fn new(file: &'a str) -> Self {
        Self {
            file,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, mark: Mark, message: impl Into<String>) {
        self.errors.push(mark.error(self.file, message));
    }

    pub(super) fn warn(&mut self, mark: Mark, message: impl Into<String>) {
        self.warnings.push(mark.error(self.file, message));
    }

    fn expected(&mut self, node: &Node, expected: &str) {
        self.error(
            node.mark,
            format!("found {}; expected {expected}", node.value.kind()),
        );
    }

    /// The warnings, or the errors if there is one.
    pub(super) fn finish(mut self) -> Result<Vec<PolicyError>, PolicyErrors> {
        match PolicyErrors::of(self.errors) {
            Some(errors) => Err(errors),
            None => {
                self.warnings.sort();
                self.warnings.dedup();
                Ok(self.warnings)
            }
        }
    }

    /// The entries of a map whose keys are among `known`; the others are warned of.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, known: &[&str], expected: &str) -> Fields<'n> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            Value::Scalar(_) | Value::List(_) => {
                self.expected(node, expected);
                &[]
            }
        };
        let mut fields = Vec::new();
        for (key, value) in entries {
            match &key.value {
                Value::Scalar(scalar) if known.contains(&scalar.text.as_str()) => {
                    fields.push((scalar.text.as_str(), value));
                }
                Value::Scalar(scalar) => self.unknown_key(key.mark, &scalar.text, known),
                Value::Null | Value::List(_) | Value::Map(_) => {
                    self.warn(key.mark, "a key that is no text is ignored");
                }
            }
        }
        Fields { fields }
    }

    fn unknown_key(&mut self, mark: Mark, key: &str, known: &[&str]) {
        let Some(name) = key_name(key) else {
            self.warn(mark, "an unknown key is ignored");
            return;
        };
        let near = known
            .iter()
            .map(|known| (distance(&name.to_lowercase(), &known.to_lowercase()), known))
            .min()
            .filter(|(distance, known)| *distance <= known.len() / 3);
        self.warn(
            mark,
            match near {
                Some((_, known)) => format!("unknown key `{name}` is ignored; did you mean `{known}`?"),
                None => format!("unknown key `{name}` is ignored"),
            },
        );
    }

    /// A truth; false if it is missing.
    pub(super) fn truth(&mut self, node: Option<&Node>) -> bool {
        let Some(node) = node else { return false };
        match &node.value {
            Value::Null => false,
            Value::Scalar(Scalar { text, plain: true }) if is_yaml_1_1_true(text) => true,
            Value::Scalar(Scalar { text, plain: true }) if is_yaml_1_1_false(text) => false,
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                self.expected(node, "`true` or `false` without quotes");
                false
            }
        }
    }

    /// A whole number from 0 to `max`; 0 if it is missing.
    pub(super) fn count(&mut self, node: Option<&Node>, max: usize) -> usize {
        let Some(node) = node else { return 0 };
        let number = match &node.value {
            Value::Null => Some(0),
            Value::Scalar(Scalar { text, plain: true }) => {
                let digits = text.strip_prefix('+').unwrap_or(text);
                // yaml.v2 takes `1.0` for a whole number too.
                let digits = digits.strip_suffix(".0").unwrap_or(digits);
                digits.parse().ok().filter(|number| *number <= max)
            }
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        };
        number.unwrap_or_else(|| {
            self.expected(node, &format!("a whole number from 0 to {max} without quotes"));
            0
        })
    }

    /// A text with its place; none if it is missing.
    pub(super) fn text<'n>(&mut self, node: Option<&'n Node>, expected: &str) -> Option<(Mark, &'n str)> {
        let node = node?;
        match &node.value {
            Value::Null => None,
            Value::Scalar(scalar) => Some((node.mark, scalar.text.as_str())),
            Value::List(_) | Value::Map(_) => {
                self.expected(node, expected);
                None
            }
        }
    }

    /// The items of a list; none of them if it is missing.
    pub(super) fn list<'n>(&mut self, node: Option<&'n Node>, expected: &str) -> &'n [Node] {
        match node.map(|node| (node, &node.value)) {
            None | Some((_, Value::Null)) => &[],
            Some((_, Value::List(items))) => items,
            Some((node, Value::Scalar(_) | Value::Map(_))) => {
                self.expected(node, expected);
                &[]
            }
        }
    }

    /// The texts of a list with their places. A missing item is an error: nobody means it.
    pub(super) fn texts<'n>(&mut self, node: Option<&'n Node>, expected: &str) -> Vec<(Mark, &'n str)> {
        let mut texts = Vec::new();
        for item in self.list(node, expected) {
            match &item.value {
                Value::Scalar(scalar) => texts.push((item.mark, scalar.text.as_str())),
                Value::Null | Value::List(_) | Value::Map(_) => {
                    self.expected(item, &format!("a text, as one item of {expected}"));
                }
            }
        }
        texts
    }
}

/// The known entries of a map.
pub(super) struct Fields<'n> {
    fields: Vec<(&'n str, &'n Node)>,
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.fields
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }
}

/// <https://yaml.org/type/bool.html>, as yaml.v2 takes it.
fn is_yaml_1_1_true(text: &str) -> bool {
    [
        "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON",
    ]
    .contains(&text)
}

fn is_yaml_1_1_false(text: &str) -> bool {
    [
        "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF",
    ]
    .contains(&text)
}

/// How many letters to insert, remove or change to come from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, a) in from.chars().enumerate() {
        let mut left = index + 1;
        let mut diagonal = index;
        for (b, above) in to.iter().zip(row.iter_mut().skip(1)) {
            let cost = (left + 1).min(*above + 1).min(diagonal + usize::from(a != *b));
            diagonal = *above;
            *above = cost;
            left = cost;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_changed_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
