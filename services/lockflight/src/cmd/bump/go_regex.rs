//! Regular expressions as Go reads them, for those that were written for Telefonistka.
//!
//! Both engines prefer the leftmost match and the first alternative, and expand `$1` alike. What differs is rewritten: Go's
//! `\d`, `\s`, `\w` and `\b` mean ASCII only, `[`, `&&`, `--` and `~~` mean nothing special within a class, `{` that begins no count is
//! itself, and there is `\Q..\E` (<https://pkg.go.dev/regexp/syntax>).

use regex::{Regex, RegexBuilder};

/// The most bytes that a compiled expression may take.
const MAX_COMPILED: usize = 4 << 20;

/// Compiles an expression in Go's syntax.
///
/// # Errors
/// When it is none.
pub(super) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(MAX_COMPILED)
        .build()
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut class: Option<Class> = None;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\\' {
            rest = escape(after, class.is_some(), &mut out);
            if let Some(class) = &mut class {
                class.is_first = false;
            }
            continue;
        }
        rest = after;
        match &mut class {
            Some(here) => {
                let first = std::mem::take(&mut here.is_first);
                match c {
                    ']' if !first => {
                        out.push(']');
                        class = None;
                    }
                    '^' if first && !here.is_negated => {
                        here.is_negated = true;
                        here.is_first = true;
                        out.push('^');
                    }
                    '[' => match posix(after) {
                        Some((name, behind)) => {
                            out.push_str(name);
                            rest = behind;
                        }
                        None => out.push_str("\\["),
                    },
                    ']' | '&' | '~' => {
                        out.push('\\');
                        out.push(c);
                    }
                    // Two of them would take something away; one alone makes a range, or stands at an end.
                    '-' if after.starts_with('-') => out.push_str("\\-"),
                    _ => out.push(c),
                }
            }
            None => match c {
                '[' => {
                    out.push('[');
                    class = Some(Class {
                        is_first: true,
                        is_negated: false,
                    });
                }
                '{' if !is_count(after) => out.push_str("\\{"),
                _ => out.push(c),
            },
        }
    }
    out
}

struct Class {
    is_first: bool,
    is_negated: bool,
}

/// Writes what an escape means, and returns what comes after it.
fn escape<'p>(after: &'p str, in_class: bool, out: &mut String) -> &'p str {
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = after.get(c.len_utf8()..).unwrap_or_default();
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str("[\\t\\n\\x0C\\r\\x20]"),
        'S' => out.push_str("[^\\t\\n\\x0C\\r\\x20]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'Q' if !in_class => {
            let (literal, behind) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(literal));
            return behind;
        }
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    rest
}

/// `[:alpha:]` and its like, with what comes after; the opening bracket is already read.
fn posix(after: &str) -> Option<(&'static str, &str)> {
    const NAMES: [&str; 14] = [
        "[:alnum:]",
        "[:alpha:]",
        "[:ascii:]",
        "[:blank:]",
        "[:cntrl:]",
        "[:digit:]",
        "[:graph:]",
        "[:lower:]",
        "[:print:]",
        "[:punct:]",
        "[:space:]",
        "[:upper:]",
        "[:word:]",
        "[:xdigit:]",
    ];
    NAMES.into_iter().find_map(|name| {
        let bare = name.get(1..)?;
        Some((name, after.strip_prefix(bare)?))
    })
}

/// Whether `{` is followed by a count: `2}`, `2,}` or `2,3}`.
fn is_count(after: &str) -> bool {
    let Some((count, _)) = after.split_once('}') else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match count.split_once(',') {
        None => is_number(count),
        Some((from, to)) => is_number(from) && (to.is_empty() || is_number(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, text: &str, replacement: &str) -> String {
        compile(pattern)
            .unwrap()
            .replace_all(text, replacement)
            .into_owned()
    }

    #[test]
    fn expressions_mean_what_they_mean_in_go() {
        for (pattern, text, replacement, expected) in [
            (
                r"tag:\s*(\S*)",
                "image:\n  tag:  v1\n",
                "tag: v2",
                "image:\n  tag: v2\n",
            ),
            (r"(tag: )v\d+", "tag: v12", "${1}v13", "tag: v13"),
            (r"(?P<key>tag): .*", "tag: v1", "$key: v2", "tag: v2"),
            (r"{{ \w+ }}", "a {{ b }} c", "x", "a x c"),
            (r"\Qa.b\E+", "a.bb axb", "x", "x axb"),
            (r"[[]x", "[x", "y", "y"),
            (r"[]a]+", "]a]", "y", "y"),
            (r"[^]a]", "]ab", "y", "]ay"),
            (r"[[:digit:]]+", "v12", "3", "v3"),
            (r"[a&&b]+", "a&b", "x", "x"),
            (r"\d+", "١٢ 3", "x", "١٢ x"),
            (r"[\d.]+", "1.2.3", "9", "9"),
            (r"[^\d]+", "ab1", "x", "x1"),
            (r"a{2}", "aaa", "b", "ba"),
            (r"\bv1\b", "v1 v10", "v2", "v2 v10"),
        ] {
            assert_eq!(replaced(pattern, text, replacement), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for pattern in ["(", "[a", r"(?=a)", "a**b("] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
