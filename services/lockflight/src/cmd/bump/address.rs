//! The way to a key, as Lockflight writes it or as yq does.
//!
//! Of yq's language that much is read as leads to one place: `.a.b`, `.a["b.c"]`, `.a[0]`, `.a.[0]`, and
//! `.a[] | select(.name == "x") | .b`, where the pipes may be left out before a dot (<https://mikefarah.gitbook.io/yq>).

use lockflight_promotion::values::KeyPath;

/// Reads an address.
///
/// # Errors
/// What was expected, for people.
pub(super) fn parse(address: &str) -> Result<KeyPath, String> {
    let address = address.trim();
    let text = if address.starts_with(['.', '(']) {
        Yq { rest: address }.read().map_err(|expected| {
            format!(
                "{address:?} is not an address that leads to one key: {expected}. Write it as `image.tag`, \
                 `containers[0].image` or `containers[name=app].image`"
            )
        })?
    } else {
        address.to_owned()
    };
    KeyPath::parse(text).map_err(|error| error.to_string())
}

struct Yq<'a> {
    rest: &'a str,
}

impl<'a> Yq<'a> {
    /// The same way in our own syntax.
    fn read(mut self) -> Result<String, &'static str> {
        // Brackets around all that comes before the last step change nothing.
        let mut open = 0;
        let mut out = String::new();
        loop {
            self.blanks();
            if self.rest.is_empty() {
                break;
            }
            if self.eat("(") {
                open += 1;
            } else if self.eat(")") {
                open -= 1;
                if open < 0 {
                    return Err("a bracket closes nothing");
                }
            } else if self.eat("|") {
                self.blanks();
                if self.eat("select(") {
                    return Err(
                        "`select(..)` has to come right after a list, as in `.containers[] | select(..)`",
                    );
                }
            } else if self.eat("..") {
                return Err("`..` means many keys");
            } else if self.eat(".") {
                if !self.rest.starts_with('[') {
                    self.name(&mut out)?;
                }
            } else if self.eat("[") {
                self.item(&mut out)?;
            } else {
                return Err("expected `.`, `[` or `|`");
            }
        }
        match open {
            0 if out.is_empty() => Err("it is the whole file"),
            0 => Ok(out),
            _ => Err("a bracket is not closed"),
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn name(&mut self, out: &mut String) -> Result<(), &'static str> {
        let name = if self.rest.starts_with('"') {
            self.quoted()?
        } else {
            self.word()
        };
        if name.is_empty() {
            return Err("a name is empty");
        }
        push(out, &name);
        Ok(())
    }

    fn word(&mut self) -> String {
        let special = |c: char| ".[]()|\"=*".contains(c) || c.is_whitespace();
        let end = self.rest.find(special).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        word.to_owned()
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        let open = |rest: &'a str| rest.strip_prefix('"');
        let Some(inner) = open(self.rest) else {
            return Err("expected a text in double quotes");
        };
        let (text, rest) = inner.split_once('"').ok_or("a double quote is not closed")?;
        if text.contains('\\') {
            return Err("expected a text in double quotes without a backslash");
        }
        self.rest = rest;
        Ok(text.to_owned())
    }

    /// What follows `[`.
    fn item(&mut self, out: &mut String) -> Result<(), &'static str> {
        self.blanks();
        if self.eat("]") {
            return self.selected(out);
        }
        if self.rest.starts_with('"') {
            let name = self.quoted()?;
            push(out, &name);
        } else {
            let number = self.word();
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("expected an index, or a name in double quotes, within `[` and `]`");
            }
            out.push('[');
            out.push_str(&number);
            out.push(']');
        }
        self.blanks();
        if self.eat("]") {
            Ok(())
        } else {
            Err("expected `]`")
        }
    }

    /// What follows `[]`: the choice of one item.
    fn selected(&mut self, out: &mut String) -> Result<(), &'static str> {
        const EXPECTED: &str = "`[]` means many items; expected `| select(.name == \"value\")` after it";
        self.blanks();
        if !self.eat("|") {
            return Err(EXPECTED);
        }
        self.blanks();
        if !self.eat("select(") {
            return Err(EXPECTED);
        }
        self.blanks();
        if !self.eat(".") {
            return Err(EXPECTED);
        }
        let key = if self.rest.starts_with('"') {
            self.quoted()?
        } else {
            self.word()
        };
        self.blanks();
        if !self.eat("==") {
            return Err(EXPECTED);
        }
        self.blanks();
        let value = self.quoted()?;
        self.blanks();
        if key.is_empty() || !self.eat(")") {
            return Err(EXPECTED);
        }
        out.push('[');
        out.push_str(&in_quotes(&key));
        out.push('=');
        out.push_str(&in_quotes(&value));
        out.push(']');
        Ok(())
    }
}

fn push(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push('.');
    }
    out.push_str(&in_quotes(name));
}

fn in_quotes(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_yq_lead_to_the_same_key() {
        for (yq, ours) in [
            (".image.tag", "image.tag"),
            ("image.tag", "image.tag"),
            (".containers[0].image", "containers[0].image"),
            (".containers.[0].image", "containers[0].image"),
            (r#".annotations["a.b/c"]"#, r#"annotations."a.b/c""#),
            (r#"."my key".x"#, r#""my key".x"#),
            (
                r#".db.[] | select(.name == "postgres").image.tag"#,
                "db[name=postgres].image.tag",
            ),
            (
                r#"(.db[]|select(.name=="postgres")) | .image.tag"#,
                "db[name=postgres].image.tag",
            ),
            (".a | .b", "a.b"),
        ] {
            assert_eq!(parse(yq).map(|key| key.to_string()), Ok(ours.to_owned()), "{yq}");
        }
    }

    #[test]
    fn an_address_of_many_keys_is_refused_with_what_was_expected() {
        for (yq, word) in [
            (".", "name is empty"),
            ("..", "many keys"),
            (".a[]", "many items"),
            (".a[] | select(.b > 2)", "many items"),
            (".a[", "index"),
            ("(.a", "not closed"),
            (".a)", "closes nothing"),
            ("", "empty"),
        ] {
            let refused = parse(yq).unwrap_err();
            assert!(refused.contains(word), "{yq}: {refused}");
        }
    }
}
