//! What YAML scalars mean, and how to write text so that it stays text.

use super::super::tree::Meaning;

/// What `text` means without quotes.
///
/// The readers that matter (Go's `yaml` in its versions 2 and 3, which Kubernetes, Helm and Argo CD use, and those of YAML 1.1
/// and 1.2) disagree about some: whatever one of them takes for something other than text is no text here.
pub(super) fn plain_meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "true" | "True" | "TRUE" => Meaning::Truth(true),
        "false" | "False" | "FALSE" => Meaning::Truth(false),
        _ if is_other(text) => Meaning::Other(text.to_owned()),
        _ => Meaning::Text(text.to_owned()),
    }
}

/// Whether some reader takes `text` for a number, a date, a truth, or for something special.
fn is_other(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y"
            | "n"
            | "N"
            | "yes"
            | "Yes"
            | "YES"
            | "no"
            | "No"
            | "NO"
            | "on"
            | "On"
            | "ON"
            | "off"
            | "Off"
            | "OFF"
    ) || matches!(text, "<<" | "=" | ".nan" | ".NaN" | ".NAN")
        || is_number(text.strip_prefix(['+', '-']).unwrap_or(text))
        || is_date(text)
}

/// Whether `text` is a number, its sign taken off.
fn is_number(text: &str) -> bool {
    let digits = |text: &str, allowed: fn(&u8) -> bool| {
        text.bytes().any(|b| b != b'_') && text.bytes().all(|b| b == b'_' || allowed(&b))
    };
    if matches!(text, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    for (prefix, allowed) in [
        ("0x", u8::is_ascii_hexdigit as fn(&u8) -> bool),
        ("0X", u8::is_ascii_hexdigit),
        ("0o", |b| (b'0'..=b'7').contains(b)),
        ("0O", |b| (b'0'..=b'7').contains(b)),
        ("0b", |b| matches!(b, b'0' | b'1')),
        ("0B", |b| matches!(b, b'0' | b'1')),
    ] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return digits(rest, allowed);
        }
    }
    // 1:30:00 in base 60, of YAML 1.1.
    if let Some((first, rest)) = text.split_once(':') {
        let small = |part: &str| {
            (1..=2).contains(&part.len())
                && part.parse::<u8>().is_ok_and(|part| part < 60)
                && part.bytes().all(|b| b.is_ascii_digit())
        };
        let (rest, fraction) = rest.split_once('.').unwrap_or((rest, ""));
        return first.starts_with(|c: char| c.is_ascii_digit())
            && digits(first, u8::is_ascii_digit)
            && rest.split(':').all(small)
            && fraction.bytes().all(|b| b == b'_' || b.is_ascii_digit());
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if exponent.is_empty() || !exponent.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let part = |part: &str| part.bytes().all(|b| b == b'_' || b.is_ascii_digit());
    mantissa.starts_with(|c: char| c == '.' || c.is_ascii_digit())
        && mantissa.bytes().any(|b| b.is_ascii_digit())
        && part(whole)
        && part(fraction)
}

/// Whether `text` begins like a date of YAML 1.1.
fn is_date(text: &str) -> bool {
    let (date, _) = text.split_once(['T', 't', ' ', '\t']).unwrap_or((text, ""));
    let mut parts = date.split('-');
    let mut part = |lengths: std::ops::RangeInclusive<usize>| {
        parts
            .next()
            .is_some_and(|part| lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
    };
    part(4..=4) && part(1..=2) && part(1..=2) && parts.next().is_none()
}

/// Whether `text` may stand without quotes and be text. With `flow`, within brackets.
pub(super) fn is_plain_text(text: &str, flow: bool) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    matches!(plain_meaning(text), Meaning::Text(_))
        && !"-?:,[]{}#&*!|>'\"%@`.=~".contains(first)
        && is_plain(text, flow)
}

/// Whether `text`, which is fine without quotes somewhere, is on one line, with `flow` within brackets: there some readers
/// (`PyYAML`) stop at more characters than YAML has them.
pub(super) fn is_plain(text: &str, flow: bool) -> bool {
    let special =
        |c: char| is_special(c) || (flow && ",[]{}?:".contains(c)) || (c != ' ' && c.is_whitespace());
    !text.is_empty()
        && !text.starts_with(' ')
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains(special)
        && !(flow && text.starts_with('-'))
}

/// Characters that are safer escaped: they are not printable, break lines for some, or are mistaken for a byte order mark.
fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{a0}' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` within `'`, if that is possible.
pub(super) fn single(text: &str) -> Option<String> {
    (!text.contains(is_special)).then(|| format!("'{}'", text.replace('\'', "''")))
}

/// `text` within `"`.
pub(super) fn double(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if is_special(c) => {
                let code = u32::from(c);
                if code > 0xff {
                    quoted.push_str(&format!("\\u{code:04x}"));
                } else {
                    quoted.push_str(&format!("\\x{code:02x}"));
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `text` as it is most natural: without quotes where it then stays text.
pub(super) fn natural(text: &str, flow: bool) -> String {
    if is_plain_text(text, flow) {
        text.to_owned()
    } else {
        double(text)
    }
}

/// The header and the lines of `text` as a literal block scalar, without indentation, if that is possible.
pub(super) fn literal(text: &str) -> Option<(&'static str, Vec<String>)> {
    let (body, header) = match text.strip_suffix('\n') {
        Some(body) => (body, "|"),
        None => (text, "|-"),
    };
    let odd = |line: &str| line.contains(is_special) || line.trim().is_empty() != line.is_empty();
    if body.is_empty() || body.starts_with([' ', '\n']) || body.ends_with('\n') || body.split('\n').any(odd) {
        return None;
    }
    Some((header, body.split('\n').map(str::to_owned).collect()))
}
