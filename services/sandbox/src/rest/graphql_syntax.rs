//! As much of GraphQL's syntax as one operation with arguments and selections needs.
//!
//! Inline fragments (`... on IssueComment { .. }`) are merged into the selection around them; named fragments and
//! lists are refused.

use std::collections::BTreeMap;

use serde_json::Value;

/// A deeper document is refused.
const DEPTH: usize = 16;

/// A selected field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    alias: Option<String>,
    pub(super) arguments: BTreeMap<String, Literal>,
    pub(super) selection: Vec<Self>,
}

impl Field {
    /// Returns the name that the field has in the answer.
    pub(super) fn answer_name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }
}

/// A value of an argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Variable(String),
    Object(BTreeMap<String, Self>),
    Value(Value),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(String),
    Mark(char),
    Spread,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            ' ' | '\t' | '\r' | '\n' | ',' | '\u{feff}' => {}
            '#' => while rest.next_if(|letter| *letter != '\n').is_some() {},
            '"' => {
                let mut text = String::from('"');
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => {
                            text.push('\\');
                            text.extend(rest.next());
                        }
                        Some(letter) if letter != '\n' => text.push(letter),
                        _ => return Err("Parse error on unterminated string".into()),
                    }
                }
                text.push('"');
                // GraphQL's escapes are those of JSON.
                let text = serde_json::from_str(&text).map_err(|error| format!("Parse error: {error}"))?;
                found.push(Token::Text(text));
            }
            '.' => {
                if rest.next() != Some('.') || rest.next() != Some('.') {
                    return Err("Parse error on \".\"".into());
                }
                found.push(Token::Spread);
            }
            '{' | '}' | '(' | ')' | ':' | '$' | '!' | '=' | '[' | ']' | '@' => {
                found.push(Token::Mark(letter));
            }
            letter if letter == '_' || letter.is_ascii_alphabetic() => {
                let mut name = String::from(letter);
                while let Some(letter) = rest.next_if(|one| *one == '_' || one.is_ascii_alphanumeric()) {
                    name.push(letter);
                }
                found.push(Token::Name(name));
            }
            letter if letter == '-' || letter.is_ascii_digit() => {
                let mut number = String::from(letter);
                while let Some(letter) = rest.next_if(|one| one.is_ascii_digit() || ".eE+-".contains(*one)) {
                    number.push(letter);
                }
                found.push(Token::Number(number));
            }
            other => return Err(format!("Parse error on \"{other}\"")),
        }
    }
    Ok(found)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn take(&mut self, mark: char) -> bool {
        self.tokens.next_if(|token| *token == Token::Mark(mark)).is_some()
    }

    fn need(&mut self, mark: char) -> Result<(), String> {
        if self.take(mark) {
            Ok(())
        } else {
            Err(format!("Parse error: expected \"{mark}\""))
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            _ => Err("Parse error: expected a name".into()),
        }
    }

    /// Passes over `(...)`, where variables are declared: their types are not checked.
    fn skip_declarations(&mut self) -> Result<(), String> {
        if self.take('(') {
            loop {
                match self.tokens.next() {
                    Some(Token::Mark(')')) => return Ok(()),
                    Some(_) => {}
                    None => return Err("Parse error: expected \")\"".into()),
                }
            }
        }
        Ok(())
    }

    fn selection(&mut self, depth: usize) -> Result<Vec<Field>, String> {
        if depth > DEPTH {
            return Err("Query has too many levels".into());
        }
        self.need('{')?;
        let mut fields = Vec::new();
        while !self.take('}') {
            if self.tokens.next_if(|token| *token == Token::Spread).is_some() {
                if self.name()? != "on" {
                    return Err("Named fragments are not known to this forge".into());
                }
                self.name()?;
                fields.extend(self.selection(depth + 1)?);
                continue;
            }
            let first = self.name()?;
            let (alias, name) = if self.take(':') {
                (Some(first), self.name()?)
            } else {
                (None, first)
            };
            let mut arguments = BTreeMap::new();
            if self.take('(') {
                while !self.take(')') {
                    let name = self.name()?;
                    self.need(':')?;
                    arguments.insert(name, self.literal(depth + 1)?);
                }
            }
            let selection = if self.tokens.peek() == Some(&Token::Mark('{')) {
                self.selection(depth + 1)?
            } else {
                Vec::new()
            };
            fields.push(Field {
                name,
                alias,
                arguments,
                selection,
            });
        }
        Ok(fields)
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, String> {
        if depth > DEPTH {
            return Err("Query has too many levels".into());
        }
        match self.tokens.next() {
            Some(Token::Mark('$')) => Ok(Literal::Variable(self.name()?)),
            Some(Token::Mark('{')) => {
                let mut fields = BTreeMap::new();
                while !self.take('}') {
                    let name = self.name()?;
                    self.need(':')?;
                    fields.insert(name, self.literal(depth + 1)?);
                }
                Ok(Literal::Object(fields))
            }
            Some(Token::Text(text)) => Ok(Literal::Value(text.into())),
            Some(Token::Number(number)) => {
                let number =
                    serde_json::from_str(&number).map_err(|error| format!("Parse error: {error}"))?;
                Ok(Literal::Value(number))
            }
            Some(Token::Name(name)) => Ok(Literal::Value(match name.as_str() {
                "null" => Value::Null,
                "true" => true.into(),
                "false" => false.into(),
                // An enum value.
                _ => name.into(),
            })),
            _ => Err("Parse error: expected a value".into()),
        }
    }
}

/// Reads a document of one operation and gives the fields at its top.
pub(super) fn parse(text: &str) -> Result<Vec<Field>, String> {
    let mut parser = Parser {
        tokens: tokens(text)?.into_iter().peekable(),
    };
    if let Some(Token::Name(kind)) = parser.tokens.peek() {
        if kind != "mutation" && kind != "query" {
            return Err(format!("Parse error on \"{kind}\""));
        }
        parser.tokens.next();
        parser.tokens.next_if(|token| matches!(token, Token::Name(_)));
        parser.skip_declarations()?;
    }
    let fields = parser.selection(0)?;
    if parser.tokens.next().is_some() {
        return Err("One operation at a time, please".into());
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::{Literal, parse};

    #[test]
    fn a_mutation_with_aliases_variables_and_fragments_is_read() {
        let text = r#"mutation Hide($id: ID!, $n: Int = 3) {
            # a remark
            one: minimizeComment(input: {subjectId: $id, classifier: OUTDATED, clientMutationId: "a\"b"}) {
                minimizedComment { isMinimized ... on IssueComment { id } }
            }
        }"#;
        let fields = parse(text).expect("well formed");
        assert_eq!(
            (fields[0].name.as_str(), fields[0].answer_name()),
            ("minimizeComment", "one")
        );
        let Literal::Object(input) = &fields[0].arguments["input"] else {
            panic!("an object")
        };
        assert_eq!(input["subjectId"], Literal::Variable("id".into()));
        assert_eq!(input["clientMutationId"], Literal::Value("a\"b".into()));
        let names: Vec<_> = fields[0].selection[0]
            .selection
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        assert_eq!(names, ["isMinimized", "id"]);
    }

    #[test]
    fn broken_documents_are_refused() {
        for text in [
            "",
            "{",
            "{ a(b: ) }",
            "subscription { a }",
            "{ a } { b }",
            "{ a(b: \"x }",
            "{ ...F }",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"{a".repeat(100)).is_err());
    }
}
