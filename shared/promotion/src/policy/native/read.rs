//! Reads typed values strictly: what is not known is an error, and text is only what YAML takes for text.
//!
//! This is what the JSON Schema of the policy says, too, so that an editor and the compiler are of one mind.

use super::super::read::Findings;
use super::super::yaml::{Mark, Node, Scalar, Value, key_name};

/// The most unknown keys of one map that are told of.
const MAX_UNKNOWN: usize = 5;

/// A map whose keys are known.
pub(crate) struct Map<'n> {
    pub(crate) mark: Mark,
    entries: Vec<(&'n str, &'n Node)>,
}

impl<'n> Map<'n> {
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        let found = self.entries.iter().find(|(name, _)| *name == key);
        found.map(|(_, node)| *node)
    }
}

impl Findings<'_> {
    /// Says what was found in place of what was expected.
    pub(crate) fn mismatch(&mut self, node: &Node, expected: &str) {
        self.error(
            node.mark,
            format!("found {}; expected {expected}", kind(&node.value)),
        );
    }

    /// A map with no other keys than these.
    pub(crate) fn map<'n>(&mut self, node: &'n Node, known: &[&str], expected: &str) -> Option<Map<'n>> {
        let Value::Map(entries) = &node.value else {
            self.mismatch(node, expected);
            return None;
        };
        let mut unknown = 0;
        let mut found = Vec::with_capacity(entries.len().min(known.len()));
        for (key, value) in entries {
            match &key.value {
                Value::Scalar(Scalar { text, .. }) if known.contains(&text.as_str()) => {
                    found.push((text.as_str(), value));
                }
                Value::Scalar(Scalar { text, .. }) if unknown < MAX_UNKNOWN => {
                    unknown += 1;
                    self.unknown(key.mark, text, known);
                }
                Value::Scalar(_) => {}
                Value::Null | Value::List(_) | Value::Map(_) => {
                    self.error(
                        key.mark,
                        format!("found {} as a key; expected text", kind(&key.value)),
                    );
                }
            }
        }
        Some(Map {
            mark: node.mark,
            entries: found,
        })
    }

    fn unknown(&mut self, mark: Mark, text: &str, known: &[&str]) {
        let name = key_name(text).map_or_else(|| "this".to_owned(), |name| format!("`{name}`"));
        let known_keys = || {
            let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
            known.join(", ")
        };
        let end = match nearest(text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected one of {}", known_keys()),
        };
        self.error(mark, format!("{name} is not a key here; {end}"));
    }

    /// The value of a key that has to be there.
    pub(crate) fn required<'n>(&mut self, map: &Map<'n>, key: &str, expected: &str) -> Option<&'n Node> {
        let found = map.get(key);
        if found.is_none() {
            self.error(map.mark, format!("`{key}` is missing; expected {expected}"));
        }
        found
    }

    /// Text, which YAML takes for nothing else.
    pub(crate) fn word<'n>(&mut self, node: Option<&'n Node>, expected: &str) -> Option<(Mark, &'n str)> {
        let node = node?;
        match &node.value {
            Value::Scalar(scalar) if is_text(scalar) => {
                if scalar.text.trim().is_empty() {
                    self.error(node.mark, format!("found an empty text; expected {expected}"));
                    return None;
                }
                Some((node.mark, scalar.text.as_str()))
            }
            Value::Scalar(_) => {
                self.error(
                    node.mark,
                    format!(
                        "found {}; expected {expected}; put quotes around it if it is meant as text",
                        kind(&node.value)
                    ),
                );
                None
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.mismatch(node, expected);
                None
            }
        }
    }

    /// The items of a list that has at least one.
    pub(crate) fn items<'n>(&mut self, node: Option<&'n Node>, expected: &str) -> &'n [Node] {
        let Some(node) = node else { return &[] };
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.error(node.mark, format!("found an empty list; expected {expected}"));
                &[]
            }
            Value::List(items) => items,
            Value::Null | Value::Scalar(_) | Value::Map(_) => {
                self.mismatch(node, expected);
                &[]
            }
        }
    }

    /// The texts of a list that has at least one.
    pub(crate) fn words<'n>(&mut self, node: Option<&'n Node>, expected: &str) -> Vec<(Mark, &'n str)> {
        let each = format!("a text, as one of {expected}");
        let items = self.items(node, expected);
        items
            .iter()
            .filter_map(|item| self.word(Some(item), &each))
            .collect()
    }

    /// `true` or `false`; none if it is missing.
    pub(crate) fn flag(&mut self, node: Option<&Node>) -> Option<bool> {
        let node = node?;
        let flag = match &node.value {
            Value::Scalar(Scalar { text, plain: true }) => match text.as_str() {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => None,
            },
            Value::Null | Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        };
        if flag.is_none() {
            self.mismatch(node, "`true` or `false`, without quotes");
        }
        flag
    }

    /// A whole number within bounds; none if it is missing.
    pub(crate) fn whole(&mut self, node: Option<&Node>, least: usize, most: usize) -> Option<usize> {
        let node = node?;
        let number = match &node.value {
            Value::Scalar(Scalar { text, plain: true }) if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok().filter(|number| (least..=most).contains(number))
            }
            Value::Null | Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        };
        if number.is_none() {
            self.error(
                node.mark,
                format!("expected a whole number from {least} to {most}, without quotes"),
            );
        }
        number
    }

    /// One of some words; none if it is missing.
    pub(crate) fn choice<T: Copy>(&mut self, node: Option<&Node>, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let expected = words.join(" or ");
        let (mark, text) = self.word(node, &expected)?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let near = nearest(text, choices.iter().map(|(word, _)| *word));
            let near = near
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            self.error(mark, format!("found another word; expected {expected}{near}"));
        }
        found.map(|(_, choice)| *choice)
    }

    /// A duration in seconds, within bounds; none if it is missing.
    pub(crate) fn duration(&mut self, node: Option<&Node>, least: u64, most: u64) -> Option<u64> {
        let expected = "a duration such as `30m`, `4h`, `2d` or `1h30m`";
        let (mark, text) = self.word(node, expected)?;
        let Some(seconds) = seconds(text) else {
            self.error(
                mark,
                format!("found text that is no duration; expected {expected}: numbers with `w`, `d`, `h`, `m`, `s`, the largest first"),
            );
            return None;
        };
        if !(least..=most).contains(&seconds) {
            self.error(
                mark,
                format!(
                    "this duration is out of bounds; expected from {} to {}",
                    spelled(least),
                    spelled(most)
                ),
            );
            return None;
        }
        Some(seconds)
    }
}

/// What YAML 1.2 takes a value for.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Scalar(Scalar { plain: false, .. }) => "quoted text",
        Value::Scalar(Scalar { text, .. }) if is_truth(text) => "`true` or `false`",
        Value::Scalar(Scalar { text, .. }) if is_number(text) => "a number",
        Value::Scalar(_) => "text",
    }
}

fn is_text(scalar: &Scalar) -> bool {
    !scalar.plain || !(is_truth(&scalar.text) || is_number(&scalar.text))
}

pub(crate) fn is_truth(text: &str) -> bool {
    ["true", "True", "TRUE", "false", "False", "FALSE"].contains(&text)
}

/// The numbers of YAML 1.2's core schema: <https://yaml.org/spec/1.2.2/#1032-tag-resolution>.
pub(crate) fn is_number(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    let bare = text.strip_prefix(['-', '+']).unwrap_or(text);
    if [".inf", ".Inf", ".INF"].contains(&bare) || [".nan", ".NaN", ".NAN"].contains(&text) {
        return true;
    }
    let (mantissa, exponent) = match bare.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        ),
        None => (bare, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(part)
        && !(whole.is_empty() && part.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// The known word that is most like `name`, if one is.
pub(crate) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let name = name.to_lowercase();
    known
        // A cheap look first: words of very different length are not alike.
        .filter(|known| known.len().abs_diff(name.len()) <= known.len() / 3 + 1)
        .map(|known| (strsim::osa_distance(&name, &known.to_lowercase()), known))
        .filter(|(distance, known)| {
            *distance
                <= if known.len() < 3 {
                    0
                } else {
                    (known.len() / 3).max(1)
                }
        })
        .min()
        .map(|(_, known)| known)
}

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// The seconds of `1h30m`: whole numbers with units, the largest unit first, each at most once.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let mut left = UNITS.as_slice();
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest
            .split_at_checked(digits)
            .filter(|_| (1..=9).contains(&digits))?;
        let mut chars = tail.chars();
        let unit = chars.next()?;
        let place = left.iter().position(|(name, _)| *name == unit)?;
        let (_, seconds) = left.get(place)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*seconds)?)?;
        left = left.get(place + 1..).unwrap_or_default();
        rest = chars.as_str();
    }
    (!text.is_empty()).then_some(total)
}

/// Seconds in the way of a policy.
pub(crate) fn spelled(seconds: u64) -> String {
    let mut left = seconds;
    let mut text = String::new();
    for (unit, size) in UNITS.into_iter().skip(1) {
        let count = left / size;
        left %= size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
