//! Text of unknown origin, made harmless in GitHub's Markdown.
//!
//! GitHub renders in two passes. The first is Markdown, where a backslash or an entity takes the meaning from a character. The
//! second walks over the *rendered* text outside code and links what looks like a mention, a reference or an address; by
//! then entities and backslashes are gone, so they do not help there. What the second pass looks for is broken up by a
//! zero-width space, written as an entity so that it can be seen in the source. Neither pass looks into code.
//! See <https://github.github.com/gfm/> and
//! <https://docs.github.com/en/get-started/writing-on-github/working-with-advanced-formatting/autolinked-references-and-urls>.

use std::borrow::Cow;

/// A zero-width space: nothing to the eye, the end of a word to GitHub.
const BREAK: &str = "&#8203;";

/// The most characters that a name has in a text before it is cut.
const NAME_LIMIT: usize = 300;

/// The text on one line, without control characters and without characters that are invisible or turn the text around them.
/// White space becomes single spaces.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in visible(text).split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// The text as words in a Markdown document: on one line, without any effect on GitHub. It may stand anywhere in a line,
/// in a table, and at the start of a list item.
#[must_use]
pub fn text(text: &str) -> String {
    let chars: Vec<char> = one_line(text).chars().collect();
    let mut out = String::with_capacity(chars.len() + 16);
    for (at, &c) in chars.iter().enumerate() {
        let before = chars.get(..at).unwrap_or_default();
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => push_all(&mut out, &["@", BREAK]),
            '#' if next.is_ascii_digit() => {
                push_all(&mut out, &[if at == 0 { "\\#" } else { "#" }, BREAK]);
            }
            '-' if next.is_ascii_digit() && ends_with(before, "gh") => push_all(&mut out, &["-", BREAK]),
            ':' if next == '/' => push_all(&mut out, &[":", BREAK]),
            '.' if ends_with(before, "www") => push_all(&mut out, &[BREAK, "."]),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // What begins a heading, a list or a rule, but only at the start of a block.
            '#' | '+' | '-' | '=' | ':' if at == 0 => {
                out.push('\\');
                out.push(c);
            }
            '.' | ')' if at > 0 && before.iter().all(char::is_ascii_digit) => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// A name (path, branch, component, login) as code, on one line, cut after 300 characters. It may stand anywhere, also in a
/// table and as the text of a link.
#[must_use]
pub fn code(name: &str) -> String {
    let name = visible(name);
    let name = cut(&name, NAME_LIMIT);
    if name.is_empty() {
        return "(empty)".to_owned();
    }
    let spaced = name.starts_with(' ') || name.ends_with(' ');
    if !spaced && !name.contains(['`', '|', '<', '>', '\\']) {
        return format!("`{name}`");
    }
    // A code span can't hold these in every place, an element can: nothing inside it has a meaning when it is written as entities.
    let mut out = "<code>".to_owned();
    for c in name.chars() {
        match c {
            '@' => push_all(&mut out, &["&#64;", BREAK]),
            _ if c.is_ascii_alphanumeric() || !c.is_ascii() || matches!(c, ' ' | '/' | '-') => out.push(c),
            _ => out.push_str(&format!("&#{};", u32::from(c))),
        }
    }
    out.push_str("</code>");
    out
}

/// A block of code in `language`, between fences that are longer than any run of backticks in it. Ends with a line end.
///
/// Characters that are invisible or turn the text around them are spelt out (`\u{202e}`), so that nobody is deceived about
/// what a file says.
#[must_use]
pub fn fence(language: &'static str, block: &str) -> String {
    let mut run = 0;
    let mut longest = 2;
    let mut inner = String::with_capacity(block.len());
    for c in block.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
        match c {
            '\r' => {}
            '\n' | '\t' => inner.push(c),
            _ if c.is_control() || is_line_end(c) || is_deceptive(c) => inner.extend(c.escape_unicode()),
            _ => inner.push(c),
        }
    }
    if !inner.ends_with('\n') {
        inner.push('\n');
    }
    let ticks = "`".repeat(longest + 1);
    format!("{ticks}{language}\n{inner}{ticks}\n")
}

/// The text on one line for places that are not Markdown but where GitHub still looks for mentions and references: commit
/// messages. What it would find is broken by a space that everyone can see.
#[must_use]
pub fn plain(text: &str) -> String {
    let chars: Vec<char> = one_line(text).chars().collect();
    let mut out = String::with_capacity(chars.len());
    for (at, &c) in chars.iter().enumerate() {
        let before = chars.get(..at).unwrap_or_default();
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        out.push(c);
        let effect = match c {
            '@' => next != ' ',
            '#' => next.is_ascii_digit(),
            '-' => next.is_ascii_digit() && ends_with(before, "gh"),
            ':' => next == '/',
            _ => false,
        };
        if effect {
            out.push(' ');
        }
    }
    out
}

/// The first `max` characters; if there are more, the last one kept is `…`.
#[must_use]
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.chars().count() <= max {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    if max > 0 {
        short.push('…');
    }
    Cow::Owned(short)
}

/// Control characters and line ends become spaces; characters that deceive are left out.
fn visible(text: &str) -> String {
    text.chars()
        .filter(|&c| !is_deceptive(c))
        .map(|c| if c.is_control() || is_line_end(c) { ' ' } else { c })
        .collect()
}

/// Line ends that are no control characters.
const fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Characters that turn the direction of text, or that nobody sees. Joiners (U+200C, U+200D) stay: scripts and emoji need them.
const fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{00ad}'
            | '\u{061c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

fn push_all(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

/// Whether the characters end with `word`, which is in lower case.
fn ends_with(chars: &[char], word: &str) -> bool {
    let mut at = chars.iter().rev();
    word.chars()
        .rev()
        .all(|w| at.next().is_some_and(|c| c.to_ascii_lowercase() == w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_title_stay_readable_and_lose_their_effect() {
        for (given, expected) in [
            ("Bump nginx to 1.27.1", "Bump nginx to 1.27.1"),
            ("ping @alice", "ping @&#8203;alice"),
            ("fixes #12", "fixes #&#8203;12"),
            (
                "closes acme/app#7 and GH-8",
                "closes acme/app#&#8203;7 and GH-&#8203;8",
            ),
            ("see https://example.com/x", "see https:&#8203;//example.com/x"),
            ("see www.example.com", "see www&#8203;.example.com"),
            ("<!-- lockflight:end -->", "&lt;!-- lockflight:end --&gt;"),
            ("![x](y) [z]", "!\\[x\\](y) \\[z\\]"),
            (
                "a | b `c` *d* _e_ ~~f~~ $g$",
                "a \\| b \\`c\\` \\*d\\* \\_e\\_ \\~\\~f\\~\\~ \\$g\\$",
            ),
            ("a\\`b", "a\\\\\\`b"),
            ("two\r\n\r\nlines\tand\0more", "two lines and more"),
            ("\u{202e}txt.exe\u{2066}", "txt.exe"),
            ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
            ("# heading", "\\# heading"),
            ("#12", "\\#&#8203;12"),
            ("- item", "\\- item"),
            ("12. item", "12\\. item"),
            ("C# at 5 %", "C# at 5 %"),
        ] {
            assert_eq!(text(given), expected, "{given:?}");
        }
    }

    #[test]
    fn a_name_is_code_in_every_place() {
        for (given, expected) in [
            ("workspace/nginx", "`workspace/nginx`"),
            ("apps/@acme/*", "`apps/@acme/*`"),
            (
                "clusters/(stg|dev)",
                "<code>clusters/&#40;stg&#124;dev&#41;</code>",
            ),
            ("a`b", "<code>a&#96;b</code>"),
            ("<!-- x -->", "<code>&#60;&#33;-- x --&#62;</code>"),
            ("|@me", "<code>&#124;&#64;&#8203;me</code>"),
            ("a\nb", "`a b`"),
            ("", "(empty)"),
        ] {
            assert_eq!(code(given), expected, "{given:?}");
        }
        assert_eq!(code(&"x".repeat(400)), format!("`{}…`", "x".repeat(299)));
    }

    #[test]
    fn a_fence_is_longer_than_any_run_of_backticks_inside() {
        assert_eq!(fence("diff", "-a\r\n+b"), "```diff\n-a\n+b\n```\n");
        assert_eq!(
            fence("diff", "+```\n+x ````` y\n"),
            "``````diff\n+```\n+x ````` y\n``````\n"
        );
        assert_eq!(
            fence("diff", "+a\u{202e}b\0\u{feff}"),
            "```diff\n+a\\u{202e}b\\u{0}\\u{feff}\n```\n"
        );
    }

    #[test]
    fn words_of_a_commit_message_ping_nobody_and_close_nothing() {
        assert_eq!(
            plain("fixes #12, GH-3, by @alice\nX: y"),
            "fixes # 12, GH- 3, by @ alice X: y"
        );
        assert_eq!(plain("closes https://a/1"), "closes https: //a/1");
    }

    #[test]
    fn a_cut_falls_between_characters() {
        assert_eq!(cut("日本語", 3), "日本語");
        assert_eq!(cut("日本語", 2), "日…");
        assert_eq!(cut("x", 0), "");
    }
}
