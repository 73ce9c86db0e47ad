//! Cutting bytes out of a text and putting others in.

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::Range;

use super::error::{Fault, Problem};
use super::tree::{Entry, Node};
use super::{MAX_BYTES, MAX_GROWTH};

/// What is cut out of a text and put in instead, in the order in which it was asked for.
#[derive(Debug, Default)]
pub(super) struct Edits {
    edits: Vec<(Range<usize>, String)>,
    size: Cell<usize>,
}

impl Edits {
    /// Puts `text` where `range` is.
    pub(super) fn put(&mut self, range: Range<usize>, text: impl Into<String>) -> Result<(), Fault> {
        let text = text.into();
        self.spend(text.len())?;
        self.edits.push((range, text));
        Ok(())
    }

    /// Counts bytes before they are written: a small file can ask for a large one, by indentation for one.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), Fault> {
        let size = self.size.get().saturating_add(bytes);
        self.size.set(size);
        if size > MAX_BYTES * MAX_GROWTH {
            return Err(Fault::new(0, Problem::TooLarge));
        }
        Ok(())
    }

    /// Puts whole lines in the place of whole lines of `text`. Whether the last line of a text has a line break stays, unless
    /// `ended` asks for one.
    pub(super) fn put_lines(
        &mut self,
        text: &str,
        range: Range<usize>,
        lines: &[String],
        ended: bool,
    ) -> Result<(), Fault> {
        if lines.is_empty() {
            return if range.is_empty() {
                Ok(())
            } else {
                self.put(range, "")
            };
        }
        let newline = line_break(text);
        let ends = text.is_empty() || text.ends_with('\n');
        let mut new = lines.join(newline);
        if range.start >= text.len() && !ends {
            new.insert_str(0, newline);
        }
        if range.end < text.len() || ends || ended {
            new.push_str(newline);
        }
        self.put(range, new)
    }

    /// The edited text. What goes in at one place keeps its order.
    pub(super) fn apply(mut self, text: &str) -> Result<String, Fault> {
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut edited = String::with_capacity(text.len() + self.size.get());
        let mut at = 0;
        for (range, new) in &self.edits {
            let kept = text
                .get(at..range.start)
                .filter(|_| range.start <= range.end)
                .ok_or_else(|| Fault::new(range.start, Problem::Unfaithful))?;
            edited.push_str(kept);
            edited.push_str(new);
            at = range.end;
        }
        let rest = text
            .get(at..)
            .ok_or_else(|| Fault::new(at, Problem::Unfaithful))?;
        edited.push_str(rest);
        if edited.len() > MAX_BYTES {
            return Err(Fault::new(0, Problem::TooLarge));
        }
        Ok(edited)
    }
}

/// The line break that a text uses.
pub(super) fn line_break(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text.get(..at).is_some_and(|line| line.ends_with('\r')) => "\r\n",
        _ => "\n",
    }
}

/// Where the line of `at` begins.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
}

/// Where the line after that of `at` begins, or the end of the text.
pub(super) fn next_line(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    let end = at + rest.iter().take_while(|b| **b != b'\n').count();
    (end + 1).min(text.len())
}

/// The blanks before `at`, if there is nothing else before it on its line.
pub(super) fn indentation(text: &str, at: usize) -> Option<&str> {
    let before = text.get(..at)?;
    let line = before.trim_end_matches([' ', '\t']);
    (line.is_empty() || line.ends_with('\n'))
        .then(|| before.get(line.len()..))
        .flatten()
}

/// The end of the last entry of a map in braces that stays.
fn last_kept<'n>(map: &'n Node, remove: &HashSet<usize>) -> Option<&'n Entry> {
    let mut entries = map.entries().iter().rev();
    entries.find(|entry| !remove.contains(&entry.key.id))
}

/// The indentation of the entries of a map in braces that has each on a line of its own.
pub(super) fn entry_indentation<'t>(text: &'t str, map: &Node) -> Option<&'t str> {
    indentation(text, map.entries().last()?.key.begin)
}

/// Takes entries out of a map in braces that keeps at least one.
pub(super) fn remove_from_braces(
    edits: &mut Edits,
    map: &Node,
    remove: &HashSet<usize>,
) -> Result<(), Fault> {
    let entries = map.entries();
    let mut kept = false;
    for (i, entry) in entries.iter().enumerate() {
        if !remove.contains(&entry.key.id) {
            kept = true;
        } else if kept && let Some(before) = i.checked_sub(1).and_then(|i| entries.get(i)) {
            edits.put(before.end()..entry.end(), "")?;
        } else if let Some(next) = entries.get(i + 1) {
            edits.put(entry.key.begin..next.key.begin, "")?;
        }
    }
    Ok(())
}

/// Adds `added`, each the text of an entry, to a map in braces that keeps at least one of its entries.
pub(super) fn add_to_braces(
    edits: &mut Edits,
    text: &str,
    map: &Node,
    remove: &HashSet<usize>,
    added: &[String],
) -> Result<(), Fault> {
    let Some(last) = last_kept(map, remove).filter(|_| !added.is_empty()) else {
        return Ok(());
    };
    let gap = match (entry_indentation(text, map), map.entries()) {
        (Some(indent), _) => format!("{}{indent}", line_break(text)),
        (None, [.., a, b]) if text.get(a.end()..b.key.begin) == Some(",") => String::new(),
        (None, [only]) if text.get(only.key.end..only.value.begin) == Some(":") => String::new(),
        (None, _) => " ".to_owned(),
    };
    edits.spend(gap.len().saturating_mul(added.len()))?;
    let end = last.end();
    let tail_goes = map
        .entries()
        .last()
        .is_some_and(|entry| entry.key.id != last.key.id);
    let list = added.join(&format!(",{gap}"));
    let rest = text.get(end..map.end).unwrap_or_default();
    let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let comma = rest.get(blanks..).is_some_and(|rest| rest.starts_with(','));
    if tail_goes || (!comma && !gap.contains('\n')) {
        return edits.put(end..end, format!(",{gap}{list}"));
    }
    let behind = if comma { end + blanks + 1 } else { end };
    // A comment behind the last entry stays with it.
    let behind = match text.get(behind..) {
        Some(rest) if gap.contains('\n') && rest.trim_start_matches([' ', '\t']).starts_with('#') => {
            behind + rest.split('\n').next().unwrap_or_default().trim_end().len()
        }
        _ => behind,
    };
    if !comma {
        edits.put(end..end, ",")?;
        return edits.put(behind..behind, format!("{gap}{list}"));
    }
    edits.put(behind..behind, format!("{gap}{list},"))
}
