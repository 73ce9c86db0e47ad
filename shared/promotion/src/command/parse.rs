//! Reads a comment.

use super::{Command, Control, GateName, LINE_LIMIT, PREFIX, RETRIGGER, Until, VERBS};
use crate::text::markdown;

/// What follows a verb becomes a command, or a sentence in Markdown on what is wrong with it.
pub(super) type Read = fn(&str) -> Result<Command, String>;

/// What a comment is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Parsed {
    /// Nothing.
    Nothing,
    /// A command.
    Command(Command),
    /// Meant as a command, and none.
    Mistake(Mistake),
}

/// Why a line is no command, as a sentence or two in Markdown that say what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake(pub String);

/// The line that a comment could be a command by: its first one, without the white space at its end. None if it begins otherwise.
///
/// A comment that is more than `/retrigger` and white space is not Telefonistka's command, so such a line is taken as it stands.
#[must_use]
pub fn candidate(body: &str) -> Option<&str> {
    if body.trim() == RETRIGGER {
        return Some(RETRIGGER);
    }
    let line = body.lines().next().unwrap_or_default().trim_end();
    (line.starts_with('/') && line != RETRIGGER).then_some(line)
}

/// Reads the line that [`candidate`] gives. `toggle` is the context of the commit status that the policy has this very line flip.
pub fn parse(line: &str, toggle: Option<&str>) -> Parsed {
    if line == RETRIGGER {
        return Parsed::Command(Command::Replan);
    }
    let rest = match line.strip_prefix(PREFIX) {
        Some(rest) if rest.is_empty() || rest.starts_with(char::is_whitespace) => rest.trim(),
        _ => {
            return toggle.map_or(Parsed::Nothing, |context| {
                Parsed::Command(Command::Toggle {
                    context: context.to_owned(),
                })
            });
        }
    };
    let (word, arguments) = first(rest);
    if word.is_empty() {
        return Parsed::Command(Command::Help);
    }
    let word = word.to_lowercase();
    let Some(verb) = VERBS.iter().find(|verb| verb.word == word) else {
        let mut sentence = format!(
            "There is no command {}.",
            markdown::code(&format!("{PREFIX} {word}"))
        );
        if let Some(meant) = closest(&word, VERBS.iter().map(|verb| verb.word)) {
            sentence.push_str(&format!(
                " Did you mean {}?",
                markdown::code(&format!("{PREFIX} {meant}"))
            ));
        }
        sentence.push_str(&format!(" `{PREFIX} help` lists all."));
        return Parsed::Mistake(Mistake(sentence));
    };
    match (verb.read)(arguments) {
        Ok(command) => Parsed::Command(command),
        Err(wrong) => {
            let usage = format!("{PREFIX} {} {}", verb.word, verb.arguments);
            Parsed::Mistake(Mistake(format!(
                "{wrong} It is written {}.",
                markdown::code(usage.trim_end())
            )))
        }
    }
}

/// The first word, and what follows it.
fn first(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace)
        .map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

/// The candidate that is near enough to have been meant.
pub(crate) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// A reason, as a line of bounded length.
fn reason(text: &str) -> String {
    markdown::cut(&markdown::one_line(text), LINE_LIMIT).into_owned()
}

fn alone(arguments: &str, command: Command) -> Result<Command, String> {
    if arguments.is_empty() {
        Ok(command)
    } else {
        Err(format!(
            "Nothing was expected where {} stands.",
            markdown::code(&reason(arguments))
        ))
    }
}

pub(super) fn help(arguments: &str) -> Result<Command, String> {
    alone(arguments, Command::Help)
}

pub(super) fn status(arguments: &str) -> Result<Command, String> {
    alone(arguments, Command::Status)
}

pub(super) fn replan(arguments: &str) -> Result<Command, String> {
    alone(arguments, Command::Replan)
}

pub(super) fn retry(arguments: &str) -> Result<Command, String> {
    alone(arguments, Command::Retry)
}

pub(super) fn release(arguments: &str) -> Result<Command, String> {
    alone(arguments, Command::Control(Control::Release))
}

pub(super) fn explain(arguments: &str) -> Result<Command, String> {
    let (component, rest) = first(arguments);
    let component = (!component.is_empty()).then(|| reason(component));
    alone(rest, Command::Explain { component })
}

pub(super) fn hold(arguments: &str) -> Result<Command, String> {
    let (word, rest) = first(arguments);
    if !matches!(word, "until" | "for") {
        let reason = reason(arguments);
        return Ok(Command::Control(Control::Hold { until: None, reason }));
    }
    let (when, rest) = first(rest);
    let Some(until) = Until::parse(when) else {
        return Err(format!(
            "{} is neither a time as `2026-11-24T09:00` nor a duration as `4h`.",
            markdown::code(&reason(when))
        ));
    };
    Ok(Command::Control(Control::Hold {
        until: Some(until),
        reason: reason(rest),
    }))
}

pub(super) fn skip(arguments: &str) -> Result<Command, String> {
    let (target, rest) = first(arguments);
    let target = reason(target.trim_matches('/'));
    if target.is_empty() {
        return Err("A skip names the target to leave out.".to_owned());
    }
    Ok(Command::Control(Control::Skip {
        target,
        reason: reason(rest),
    }))
}

/// The word for every target of a change.
const ALL: &str = "all";

pub(super) fn rollback(arguments: &str) -> Result<Command, String> {
    let (word, rest) = first(arguments);
    let target = reason(word.trim_matches('/'));
    if target.is_empty() {
        return Err("A rollback names the target to bring back, or `all`.".to_owned());
    }
    Ok(Command::Control(Control::Rollback {
        target: (target != ALL).then_some(target),
        parts: Vec::new(),
        reason: reason(rest),
    }))
}

pub(super) fn abort(arguments: &str) -> Result<Command, String> {
    Ok(Command::Control(Control::Abort {
        reason: reason(arguments),
    }))
}

pub(super) fn overriding(arguments: &str) -> Result<Command, String> {
    let (word, rest) = first(arguments);
    let gate = word.to_lowercase();
    let Some(gate) = GateName::ALL.into_iter().find(|known| known.as_str() == gate) else {
        let names = GateName::ALL.map(GateName::as_str);
        let meant = closest(&gate, names)
            .map(|meant| format!(" Did you mean {}?", markdown::code(meant)))
            .unwrap_or_default();
        let what = if word.is_empty() {
            "An override names a gate".to_owned()
        } else {
            format!("There is no gate {}", markdown::code(&reason(word)))
        };
        return Err(format!("{what}: {}.{meant}", names.join(", ")));
    };
    let (word, after) = first(rest);
    let (wave, text) = if word == "wave" {
        let (number, after) = first(after);
        match number.parse() {
            Ok(wave) if wave > 0 => (Some(wave), after),
            _ => {
                return Err(format!(
                    "{} is no number of a wave.",
                    markdown::code(&reason(number))
                ));
            }
        }
    } else {
        (None, rest)
    };
    let reason = reason(text);
    if reason.is_empty() {
        return Err("An override needs a reason, which is recorded.".to_owned());
    }
    Ok(Command::Control(Control::Override { gate, wave, reason }))
}
