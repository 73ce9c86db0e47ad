//! Enough Markdown to read a description: headings, lists, tables, code, emphasis and links.
//!
//! Whatever is not understood is shown as it is. Nothing in the text can become HTML of its own: maud escapes all of
//! it, and HTML comments are left out as on GitHub.

use maud::{Markup, html};

/// Renders a text.
pub(super) fn markdown(text: &str) -> Markup {
    let text = without_comments(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    let mut blocks = Vec::new();
    while let Some(line) = lines.get(at) {
        let (block, used) = block(line, lines.get(at..).unwrap_or_default());
        blocks.push(block);
        at += used.max(1);
    }
    html! { @for block in &blocks { (block) } }
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once("<!--") {
        kept.push_str(before);
        rest = after.split_once("-->").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("- ") || line.starts_with("* ") || ordered(line).is_some()
}

fn ordered(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(". ")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
}

fn is_row(line: &str) -> bool {
    line.trim_start().starts_with('|')
}

fn fence(line: &str) -> Option<usize> {
    let length = line.trim_start().bytes().take_while(|byte| *byte == b'`').count();
    (length >= 3).then_some(length)
}

/// Renders the block that begins with the first line, and tells how many lines it takes.
fn block(first: &str, lines: &[&str]) -> (Markup, usize) {
    let run = |wanted: &dyn Fn(&str) -> bool| lines.iter().take_while(|line| wanted(line)).count();
    if first.trim().is_empty() {
        return (html! {}, 1);
    }
    if let Some(length) = fence(first) {
        let inside: Vec<&str> = lines
            .iter()
            .skip(1)
            .take_while(|line| {
                !(fence(line).is_some_and(|end| end >= length) && line.trim().bytes().all(|b| b == b'`'))
            })
            .copied()
            .collect();
        return (
            html! { pre tabindex="0" { (inside.join("\n")) } },
            inside.len() + 2,
        );
    }
    let level = first.bytes().take_while(|byte| *byte == b'#').count();
    if let (1..=6, Some(title)) = (level, first.get(level..).and_then(|rest| rest.strip_prefix(' '))) {
        // The page has the first heading; those of a text come below it.
        return (html! { h3 { (inline(title)) } }, 1);
    }
    if is_row(first) {
        let count = run(&is_row);
        return (table(lines.get(..count).unwrap_or_default()), count);
    }
    if is_item(first) {
        let count = run(&|line| is_item(line));
        let items = lines.iter().take(count).map(|line| {
            let line = line.trim_start();
            ordered(line).unwrap_or_else(|| line.get(2..).unwrap_or_default())
        });
        let items: Vec<&str> = items.collect();
        let list = html! { @for item in &items { li { (inline(item)) } } };
        let numbered = ordered(first.trim_start()).is_some();
        return (
            if numbered {
                html! { ol { (list) } }
            } else {
                html! { ul { (list) } }
            },
            count,
        );
    }
    let plain = |line: &str| {
        !line.trim().is_empty()
            && !is_row(line)
            && !is_item(line)
            && fence(line).is_none()
            && !line.starts_with("# ")
    };
    let count = run(&plain).max(1);
    let text = lines.get(..count).unwrap_or_default().join("\n");
    (html! { p { (inline(&text)) } }, count)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

fn table(lines: &[&str]) -> Markup {
    let ruled = lines
        .get(1)
        .is_some_and(|line| line.bytes().all(|byte| b"|-: \t".contains(&byte)));
    let (head, rows) = match lines.split_first() {
        Some((head, rest)) if ruled => (Some(head), rest.get(1..).unwrap_or_default()),
        _ => (None, lines),
    };
    html! {
        div.wide {
            table {
                @if let Some(head) = head { thead { tr { @for cell in cells(head) { th { (inline(cell)) } } } } }
                tbody { @for row in rows { tr { @for cell in cells(row) { td { (inline(cell)) } } } } }
            }
        }
    }
}

/// Renders code, emphasis and links inside a line.
fn inline(text: &str) -> Markup {
    let mut parts: Vec<Markup> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(at) = rest.find(['`', '*', '[']) else {
            parts.push(html! { (rest) });
            break;
        };
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        if !before.is_empty() {
            parts.push(html! { (before) });
        }
        if let Some((part, after)) = special(from) {
            parts.push(part);
            rest = after;
        } else {
            let mut letters = from.chars();
            let letter = letters.next().map(String::from).unwrap_or_default();
            parts.push(html! { (letter) });
            rest = letters.as_str();
        }
    }
    html! { @for part in &parts { (part) } }
}

/// Renders what begins here, and gives what comes after it. Nothing where it is no markup after all.
fn special(from: &str) -> Option<(Markup, &str)> {
    if let Some(rest) = from.strip_prefix('`') {
        let (code, after) = rest.split_once('`')?;
        return Some((html! { code { (code) } }, after));
    }
    if let Some(rest) = from.strip_prefix("**") {
        let (strong, after) = rest.split_once("**").filter(|(strong, _)| !strong.is_empty())?;
        return Some((html! { strong { (inline(strong)) } }, after));
    }
    let rest = from.strip_prefix('[')?;
    let (label, rest) = rest.split_once("](")?;
    let (address, after) = rest.split_once(')')?;
    let safe = ["http://", "https://", "/", "#"]
        .iter()
        .any(|start| address.starts_with(start));
    (safe && !label.contains('[')).then(|| (html! { a href=(address) rel="noreferrer" { (label) } }, after))
}

#[cfg(test)]
mod tests {
    use super::markdown;

    #[test]
    fn text_never_becomes_html_of_its_own() {
        let text = "<script>alert(1)</script> [x](javascript:alert(1)) [y](https://e.x/\"onclick=\"z)\n\
            <!-- hidden -->**<b>**";
        let shown = markdown(text).into_string();
        assert!(
            !shown.contains("<script") && !shown.contains("href=\"javascript"),
            "{shown}"
        );
        assert!(
            !shown.contains("hidden") && !shown.contains("\"onclick"),
            "{shown}"
        );
        assert!(shown.contains("<strong>&lt;b&gt;</strong>"), "{shown}");
    }

    #[test]
    fn blocks_are_told_apart() {
        let text = "# Title\nPara `code`\nmore\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n```\n| x |\n```\n1. first";
        let shown = markdown(text).into_string();
        for part in [
            "<h3>Title</h3>",
            "<p>Para <code>code</code>\nmore</p>",
            "<ul><li>one</li><li>two</li></ul>",
            "<th>a</th>",
            "<td>2</td>",
            "<pre tabindex=\"0\">| x |</pre>",
            "<ol><li>first</li></ol>",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn unfinished_markup_and_letters_of_all_kinds_are_shown_as_they_are() {
        for text in [
            "**",
            "`",
            "[",
            "[a](",
            "***",
            "ü`é*ñ[",
            "```\nopen",
            "|",
            "#",
            "<!-- open",
        ] {
            drop(markdown(text).into_string());
        }
        assert!(markdown("ünï **ö").into_string().contains("ünï **ö"));
    }
}
