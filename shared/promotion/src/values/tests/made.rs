//! Files that are made up: their values, comments, quotes, indentation and line breaks.

use proptest::prelude::*;

use super::*;

/// A value, and how it is laid out.
#[derive(Clone, Debug)]
pub(super) enum Made {
    /// The text of a scalar as it is written.
    Scalar(&'static str),
    List(Vec<Self>),
    Map(Vec<(usize, Self)>),
}

pub(super) const KEYS: [&str; 8] = ["a", "b", "image", "\"tag\"", "'x y'", "ключ", "a.b/c", "8080"];
pub(super) const TOML_KEYS: [&str; 8] = [
    "a",
    "b",
    "image",
    "\"tag\"",
    "'x y'",
    "\"ключ\"",
    "\"a.b/c\"",
    "8080",
];
/// The same keys in a key path.
pub(super) const SEGMENTS: [&str; 8] = ["a", "b", "image", "tag", "\"x y\"", "ключ", "\"a.b/c\"", "8080"];
pub(super) const YAML_SCALARS: [&str; 14] = [
    "v1",
    "1.10",
    "\"1.10\"",
    "'it''s'",
    "true",
    "null",
    "~",
    "some words",
    "\"\\u00e9 \\\"\"",
    "http://x/y?z=1#f",
    "-1e3",
    "'#'",
    "日本",
    "\"\"",
];
pub(super) const JSON_SCALARS: [&str; 9] = [
    "\"v1\"",
    "1.10",
    "1e3",
    "true",
    "null",
    "\"\\u00e9\"",
    "\"日本\"",
    "-0",
    "\"\"",
];

pub(super) const TOML_SCALARS: [&str; 8] = [
    "\"v1\"",
    "1.10",
    "1e3",
    "true",
    "'lit'",
    "1979-05-27",
    "\"日本\"",
    "0x1F",
];

pub(super) fn made(scalars: &'static [&'static str]) -> impl Strategy<Value = Made> {
    let scalar = prop::sample::select(scalars).prop_map(Made::Scalar);
    let tree = scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Made::List),
            entries(inner).prop_map(Made::Map),
        ]
    });
    entries(tree).prop_map(Made::Map)
}

pub(super) fn entries(value: impl Strategy<Value = Made>) -> impl Strategy<Value = Vec<(usize, Made)>> {
    let entry = (0..KEYS.len(), value);
    prop::collection::vec(entry, 1..5).prop_map(|mut entries| {
        let mut seen = std::collections::HashSet::new();
        entries.retain(|(key, _)| seen.insert(*key));
        entries
    })
}

/// Choices of layout, taken one after the other.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    choices: Vec<u8>,
    at: usize,
    step: usize,
    dash: usize,
    newline: &'static str,
}

pub(super) fn layouts() -> impl Strategy<Value = Layout> {
    let newline = prop::sample::select(vec!["\n", "\n", "\r\n"]);
    (
        prop::collection::vec(any::<u8>(), 1..40),
        1_usize..5,
        0_usize..3,
        newline,
    )
        .prop_map(|(choices, step, dash, newline)| Layout {
            choices,
            at: 0,
            step,
            dash,
            newline,
        })
}

impl Layout {
    pub(super) fn one_of(&mut self, n: u8) -> u8 {
        self.at += 1;
        self.choices[self.at % self.choices.len()] % n
    }

    /// What may stand at the end of a line.
    pub(super) fn tail(&mut self) -> String {
        let tail = ["", "", " ", "  # c: [x", "\t# 'é", " #"][usize::from(self.one_of(6))];
        format!("{tail}{}", self.newline)
    }

    /// Lines between others.
    pub(super) fn between(&mut self, indent: usize) -> String {
        let newline = self.newline;
        match self.one_of(6) {
            0 => newline.to_owned(),
            1 => format!("{:indent$}# note: |{newline}", ""),
            2 => format!("# far left{newline}{newline}"),
            _ => String::new(),
        }
    }

    /// A value behind `key:` or `-`, with the end of its line, in a collection at `indent`.
    pub(super) fn yaml(&mut self, value: &Made, indent: usize, item: bool, out: &mut String) {
        match value {
            Made::Scalar(text) if self.one_of(8) == 0 && !text.starts_with(['\'', '"', '~']) => {
                // The same as text of lines; another value, but that is no matter.
                let (newline, inner) = (self.newline, indent + self.step);
                let header = ["|", ">-", "|+"][usize::from(self.one_of(3))];
                out.push_str(&format!(
                    " {header}{newline}{:inner$}{text}{newline}{:inner$}{text}{newline}",
                    "", ""
                ));
            }
            Made::Scalar(text) => {
                let gap = [" ", "  ", " "][usize::from(self.one_of(3))];
                out.push_str(&format!("{gap}{text}{}", self.tail()));
            }
            value if self.one_of(4) == 0 => {
                out.push(' ');
                self.flow(value, out);
                out.push_str(&self.tail());
            }
            Made::List(items) => {
                let inner = indent + if item { self.step } else { self.dash };
                out.push_str(&self.tail());
                for value in items {
                    out.push_str(&self.between(inner));
                    out.push_str(&format!("{:inner$}-", ""));
                    self.yaml(value, inner, true, out);
                }
            }
            Made::Map(entries) => {
                let inner = indent + self.step;
                if item && self.one_of(2) == 0 {
                    // Begins on the line of the dash.
                    let mut map = String::new();
                    self.entries(entries, indent + 2, &mut map);
                    match map.get(indent + 2..) {
                        Some(rest)
                            if map.starts_with(' ') && !rest.starts_with(' ') && !rest.starts_with('#') =>
                        {
                            out.push_str(&format!(" {rest}"));
                        }
                        _ => {
                            out.push_str(self.newline);
                            out.push_str(&map);
                        }
                    }
                    return;
                }
                out.push_str(&self.tail());
                self.entries(entries, inner, out);
            }
        }
    }

    pub(super) fn entries(&mut self, entries: &[(usize, Made)], indent: usize, out: &mut String) {
        for (i, (key, value)) in entries.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.between(indent));
            }
            out.push_str(&format!("{:indent$}{}:", "", KEYS[*key]));
            self.yaml(value, indent, false, out);
        }
    }

    pub(super) fn flow(&mut self, value: &Made, out: &mut String) {
        match value {
            Made::Scalar(text) => out.push_str(text),
            Made::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    self.flow(item, out);
                }
                out.push(']');
            }
            Made::Map(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { " " });
                    out.push_str(&format!("{}: ", KEYS[*key]));
                    self.flow(value, out);
                }
                out.push_str(" }");
            }
        }
    }

    pub(super) fn json(&mut self, value: &Made, indent: usize, out: &mut String) {
        let gap = |layout: &mut Self, indent: usize| match layout.one_of(3) {
            0 => String::new(),
            1 => " ".to_owned(),
            _ => format!("{}{:indent$}", layout.newline, ""),
        };
        let inner = indent + self.step;
        match value {
            Made::Scalar(text) => out.push_str(text),
            Made::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    out.push_str(&gap(self, inner));
                    self.json(item, inner, out);
                }
                out.push_str(&gap(self, indent));
                out.push(']');
            }
            Made::Map(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    out.push_str(&gap(self, inner));
                    let name = KEYS[*key].trim_matches(['"', '\'']);
                    out.push_str(&format!("\"{name}\":{}", gap(self, inner)));
                    self.json(value, inner, out);
                }
                out.push_str(&gap(self, indent));
                out.push('}');
            }
        }
    }

    /// The entries of the table at `path`: lines first, since headers end them.
    pub(super) fn toml(&mut self, entries: &[(usize, Made)], path: &str, out: &mut String) {
        let (mut lines, mut below) = (String::new(), String::new());
        for (key, value) in entries {
            let key = TOML_KEYS[*key];
            match value {
                Made::Map(entries) if self.one_of(3) > 0 => {
                    let path = if path.is_empty() {
                        key.to_owned()
                    } else {
                        format!("{path}.{key}")
                    };
                    let mut table = String::new();
                    self.toml(entries, &path, &mut table);
                    below.push_str(&format!("{}[{path}]{}{table}", self.between(0), self.tail()));
                }
                value => {
                    let mut text = String::new();
                    self.toml_inline(value, &mut text);
                    lines.push_str(&format!("{}{key} = {text}{}", self.between(0), self.tail()));
                }
            }
        }
        out.push_str(&lines);
        out.push_str(&below);
    }

    pub(super) fn toml_inline(&mut self, value: &Made, out: &mut String) {
        match value {
            Made::Scalar(text) => out.push_str(text),
            Made::List(items) => {
                let tail = if self.one_of(2) == 0 {
                    self.tail()
                } else {
                    String::new()
                };
                out.push('[');
                for item in items {
                    out.push_str(&tail);
                    self.toml_inline(item, out);
                    out.push(',');
                }
                out.push_str(&tail);
                out.push(']');
            }
            Made::Map(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { " " });
                    out.push_str(&format!("{} = ", TOML_KEYS[*key]));
                    self.toml_inline(value, out);
                }
                out.push_str(" }");
            }
        }
    }

    pub(super) fn write(mut self, format: Format, value: &Made) -> String {
        let mut out = String::new();
        match (format, value) {
            (Format::Toml, Made::Map(entries)) => self.toml(entries, "", &mut out),
            (Format::Json, value) => {
                self.json(value, 0, &mut out);
                out.push_str(self.newline);
            }
            (_, Made::Map(entries)) => {
                out.push_str(&self.between(0));
                self.entries(entries, 0, &mut out);
                if self.one_of(3) == 0 {
                    out.truncate(out.trim_end().len());
                }
            }
            _ => {}
        }
        out
    }
}

/// All keys of a value.
pub(super) fn paths(value: &Made, prefix: &str, found: &mut Vec<(String, Made)>) {
    let mut each = |path: String, value: &Made| {
        found.push((path.clone(), value.clone()));
        paths(value, &path, found);
    };
    match value {
        Made::Scalar(_) => {}
        Made::List(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, v)| each(format!("{prefix}[{i}]"), v)),
        Made::Map(entries) => entries.iter().for_each(|(key, v)| {
            let dot = if prefix.is_empty() { "" } else { "." };
            each(format!("{prefix}{dot}{}", SEGMENTS[*key]), v);
        }),
    }
}

pub(super) fn file(
    format: Format,
    scalars: &'static [&'static str],
) -> impl Strategy<Value = (String, Vec<(String, Made)>)> {
    (made(scalars), layouts()).prop_map(move |(value, layout)| {
        let mut found = Vec::new();
        paths(&value, "", &mut found);
        (layout.write(format, &value), found)
    })
}
