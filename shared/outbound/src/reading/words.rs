//! What others said, made fit to be shown.

use serde_json::Value;

/// How much of a text that somebody else wrote is shown, in characters.
const QUOTED: usize = 60;

/// One line: control characters, and those that turn the direction of what follows, become spaces; cut at `most` characters.
pub(crate) fn line(text: &str, most: usize) -> String {
    let clean = |letter: char| if is_shown(letter) { letter } else { ' ' };
    let mut line: String = text.chars().take(most).map(clean).collect();
    if text.chars().nth(most).is_some() {
        line.pop();
        line.push('…');
    }
    line
}

/// A text of somebody else, in quotes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", line(text, QUOTED))
}

/// A JSON value: itself if it is a single one, else what it is.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => line(&number.to_string(), QUOTED),
        Value::String(text) => quoted(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn is_shown(letter: char) -> bool {
    let is_format = matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !letter.is_control() && !is_format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_and_has_nothing_that_hides() {
        assert_eq!(line("a\nb\u{202e}c\u{1b}[0m", 20), "a b c [0m");
        assert_eq!(line("abcdef", 6), "abcdef");
        assert_eq!(line("abcdefg", 6), "abcde…");
        assert_eq!(line("üüüü", 3), "üü…");
    }

    #[test]
    fn a_value_shows_itself_if_it_is_a_single_one() {
        for (json, shown) in [
            ("null", "null"),
            ("true", "true"),
            ("1.50", "1.5"),
            (r#""a\nb""#, r#""a b""#),
            (r#"{"secret":1}"#, "an object"),
            (r#"["secret"]"#, "a list"),
        ] {
            assert_eq!(value(&serde_json::from_str(json).unwrap()), shown);
        }
    }
}
