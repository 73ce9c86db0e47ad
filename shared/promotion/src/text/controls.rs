//! The comment in which it stands, for people and for us, what people have decided about a change.
//!
//! Its first line is signed and bound to the repository and the pull request. What follows is for people, and is never read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::page::Page;
use super::seal::{MarkerKey, is_sealed};
use super::{LIMIT, markdown};
use crate::command::utc;
use crate::control::{Controls, ControlsRead, SIZE_LIMIT};
use crate::{Login, PrNumber, RepoId};

const DOMAIN: &str = "lockflight:controls:v1";
const OPEN: &str = "<!-- lockflight:controls:v1 ";
/// Also that of a later version, or of a broken one.
const OPEN_ANY: &str = "<!-- lockflight:controls";
const CLOSE: &str = " -->";
const CUT: &str = "**Cut here:** GitHub takes no longer text.";

/// The comment as it is to be posted. Never longer than GitHub allows.
#[must_use]
pub fn write(key: &MarkerKey, repo: RepoId, number: PrNumber, controls: &Controls) -> String {
    let payload = URL_SAFE_NO_PAD.encode(controls.json());
    let seal = key.seal(
        DOMAIN,
        &[
            &repo.get().to_be_bytes(),
            &number.get().to_be_bytes(),
            payload.as_bytes(),
        ],
    );
    let line = format!("{OPEN}{payload} {seal}{CLOSE}\n");
    let text = people(controls, LIMIT.saturating_sub(line.len()));
    line + &text
}

/// Whether a comment is the one with the controls, or was.
#[must_use]
pub fn is_controls(body: &str) -> bool {
    body.trim_start().starts_with(OPEN_ANY)
}

/// Reads the controls of a pull request from the bodies of our own comments on it. One that begins like controls and is not as we wrote
/// it makes all of it [`ControlsRead::Forged`].
pub fn read<'b>(
    keys: &[MarkerKey],
    repo: RepoId,
    number: PrNumber,
    bodies: impl IntoIterator<Item = &'b str>,
) -> ControlsRead {
    let mut newest: Option<Controls> = None;
    for body in bodies.into_iter().filter(|body| is_controls(body)) {
        let Some(controls) = read_one(keys, repo, number, body) else {
            return ControlsRead::Forged;
        };
        if newest
            .as_ref()
            .is_none_or(|newest| newest.revision < controls.revision)
        {
            newest = Some(controls);
        }
    }
    newest.map_or(ControlsRead::Absent, |controls| {
        ControlsRead::Valid(Box::new(controls))
    })
}

fn read_one(keys: &[MarkerKey], repo: RepoId, number: PrNumber, body: &str) -> Option<Controls> {
    let line = body.lines().next()?.trim_end();
    if line.len() > SIZE_LIMIT * 2 {
        return None;
    }
    let (payload, seal) = line.strip_prefix(OPEN)?.strip_suffix(CLOSE)?.split_once(' ')?;
    let fields: [&[u8]; 3] = [
        &repo.get().to_be_bytes(),
        &number.get().to_be_bytes(),
        payload.as_bytes(),
    ];
    if !is_sealed(keys, DOMAIN, &fields, seal) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// The answer to the question how a promotion is, in Markdown. `sentence` is what the commit status of the change says.
#[must_use]
pub fn status(read: &ControlsRead, number: PrNumber, sentence: Option<&str>, now_s: i64) -> String {
    let mut page = Page::new(LIMIT, CUT, "");
    let sentence = sentence.map_or_else(
        || "nothing has been said about it yet".to_owned(),
        |sentence| markdown::text(&markdown::cut(sentence, 1_000)),
    );
    page.block(&format!("**Promotion of #{number}:** {sentence}"));
    match (read.hindrance(now_s), read) {
        (None, ControlsRead::Valid(controls)) => page.block(people(controls, LIMIT / 2).trim_end()),
        (None, _) => page.block("**Nobody holds** it."),
        (Some(hindrance), _) => {
            page.block(&markdown::text(&hindrance.sentence()));
            if let ControlsRead::Valid(controls) = read {
                rollbacks(&mut page, controls);
            }
        }
    }
    page.finish()
}

/// What people have decided, in Markdown; none if they never have.
#[must_use]
pub fn decided(read: &ControlsRead) -> Option<String> {
    match read {
        ControlsRead::Valid(controls) => Some(people(controls, LIMIT / 2)),
        ControlsRead::Absent | ControlsRead::Forged => None,
    }
}

/// What people read.
fn people(controls: &Controls, limit: usize) -> String {
    let mut page = Page::new(limit, CUT, "");
    if let Some(abort) = &controls.aborted {
        page.block(&format!(
            "**Aborted** by {} on {}{}. Nothing more of this change is opened or merged. `/promote release` by somebody with the \
             role write takes it back.",
            markdown::code(abort.by.as_str()),
            utc(abort.at_s),
            because(&abort.reason),
        ));
    }
    for hold in &controls.holds {
        let until = hold
            .until_s
            .map_or_else(String::new, |until| format!(" until {}", utc(until)));
        page.block(&format!(
            "**Held{until}** by {} since {}{}. Until then nothing more of this change is opened or merged. `/promote release` by \
             somebody with the role write ends it.",
            markdown::code(hold.by.as_str()),
            utc(hold.since_s),
            because(&hold.reason),
        ));
    }
    rollbacks(&mut page, controls);
    if controls.aborted.is_none() && controls.holds.is_empty() {
        page.block("**Nobody holds** the promotion of this change.");
    }
    let row = |what: &str, by: &Login, at_s: i64, reason: &str| {
        let why = markdown::text(reason);
        format!(
            "| {what} | {} | {} | {why} |",
            markdown::code(by.as_str()),
            utc(at_s)
        )
    };
    let skips = controls
        .skips
        .iter()
        .map(|skip| row(&markdown::code(&skip.target), &skip.by, skip.at_s, &skip.reason));
    page.rows("| Left out | By | On | Why |\n|---|---|---|---|\n", skips, "");
    let overrides = controls.overrides.iter().map(|one| {
        let wave = one
            .wave
            .map_or_else(|| "every wave".to_owned(), |wave| format!("wave {wave}"));
        row(
            &format!("{} after {wave}", one.gate.as_str()),
            &one.by,
            one.at_s,
            &one.reason,
        )
    });
    page.rows(
        "| Gate that counts as open | By | On | Why |\n|---|---|---|---|\n",
        overrides,
        "",
    );
    page.block("<sub>An edit of this comment has no effect, but that the change is held. `/promote help` lists the commands.</sub>");
    page.finish()
}

/// What was rolled back, and what of it is held.
fn rollbacks(page: &mut Page, controls: &Controls) {
    for rollback in &controls.rollbacks {
        let what = rollback
            .target
            .as_deref()
            .map_or_else(|| "every target".to_owned(), markdown::code);
        let (by, at) = (markdown::code(rollback.by.as_str()), utc(rollback.at_s));
        let because = because(&rollback.reason);
        page.block(&match rollback.released_s {
            None => format!(
                "**Rolled back:** {what}, by {by} on {at}{because}. Until somebody with the role write gives `/promote release`, nothing else is \
                 opened or merged there."
            ),
            Some(released) => format!(
                "Rolled back: {what}, by {by} on {at}{because}. Let go on {}; this change is not promoted there again.",
                utc(released)
            ),
        });
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {}", markdown::text(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Control, GateName, Until};
    use crate::message::Sender;

    const REPO: RepoId = RepoId::new(7);
    const NUMBER: PrNumber = PrNumber::new(12);

    fn key(secret: &str) -> MarkerKey {
        MarkerKey::derive(secret.as_bytes())
    }

    fn mona() -> Sender {
        Sender {
            id: 4,
            login: Login::parse("mona").unwrap(),
        }
    }

    fn some() -> Controls {
        let hold = Control::Hold {
            until: Some(Until::For(7_200)),
            reason: "ask @ops | #12".to_owned(),
        };
        let skip = Control::Skip {
            target: "clusters/prod/us-west1".to_owned(),
            reason: String::new(),
        };
        let overriding = Control::Override {
            gate: GateName::Soak,
            wave: Some(2),
            reason: "hotfix".to_owned(),
        };
        [hold, skip, overriding]
            .iter()
            .zip(1..)
            .fold(Controls::default(), |controls, (control, comment)| {
                controls.apply(control, comment, &mona(), 1_764_000_000).unwrap()
            })
    }

    #[test]
    fn controls_come_back_as_they_were_written() {
        let written = write(&key("a"), REPO, NUMBER, &some());
        let read = |keys: &[MarkerKey], number, body: &str| read(keys, REPO, number, ["Hello", body]);
        assert_eq!(
            read(&[key("b"), key("a")], NUMBER, &written),
            ControlsRead::Valid(Box::new(some()))
        );
        assert_eq!(
            read(&[key("a")], NUMBER, &written.replace('\n', "\r\n")),
            ControlsRead::Valid(Box::new(some()))
        );
        assert_eq!(read(&[key("b")], NUMBER, &written), ControlsRead::Forged);
        assert_eq!(
            read(&[key("a")], PrNumber::new(13), &written),
            ControlsRead::Forged
        );
        assert_eq!(read(&[key("a")], NUMBER, ""), ControlsRead::Absent);
    }

    #[test]
    fn what_people_edit_below_has_no_effect_and_what_they_edit_above_holds() {
        let written = write(&key("a"), REPO, NUMBER, &some());
        let below = written.replace("Held", "Free");
        let keys = [key("a")];
        assert_eq!(
            read(&keys, REPO, NUMBER, [below.as_str()]),
            ControlsRead::Valid(Box::new(some()))
        );
        let line = written.lines().next().unwrap();
        for forged in [
            line.replacen("v1 ", "v1 A", 1),
            line.replace(CLOSE, ""),
            line.replace("v1", "v9"),
            format!("\n{line}"),
        ] {
            let found = read(&keys, REPO, NUMBER, [forged.as_str()]);
            assert_eq!(found, ControlsRead::Forged, "{forged}");
            assert!(found.hindrance(0).is_some());
        }
    }

    #[test]
    fn the_newest_of_two_counts() {
        let older = write(&key("a"), REPO, NUMBER, &Controls::default());
        let newer = write(&key("a"), REPO, NUMBER, &some());
        for bodies in [[&older, &newer], [&newer, &older]] {
            assert_eq!(
                read(&[key("a")], REPO, NUMBER, bodies.map(String::as_str)),
                ControlsRead::Valid(Box::new(some()))
            );
        }
    }

    #[test]
    fn people_read_who_holds_what_until_when_and_why() {
        let written = write(&key("a"), REPO, NUMBER, &some());
        let text = written.split_once('\n').unwrap().1;
        assert_eq!(
            text,
            "**Held until 2025-11-24 18:00 UTC** by `mona` since 2025-11-24 16:00 UTC: ask @&#8203;ops \\| #&#8203;12. Until then \
             nothing more of this change is opened or merged. `/promote release` by somebody with the role write ends it.\n\n\
             | Left out | By | On | Why |\n|---|---|---|---|\n\
             | `clusters/prod/us-west1` | `mona` | 2025-11-24 16:00 UTC |  |\n\n\
             | Gate that counts as open | By | On | Why |\n|---|---|---|---|\n\
             | soak after wave 2 | `mona` | 2025-11-24 16:00 UTC | hotfix |\n\n\
             <sub>An edit of this comment has no effect, but that the change is held. `/promote help` lists the commands.</sub>\n"
        );
    }

    #[test]
    fn however_much_is_decided_the_comment_fits() {
        let mut controls = Controls::default();
        for comment in 0..200 {
            let skip = Control::Skip {
                target: format!("{comment}/{}", "|".repeat(400)),
                reason: "𝄞@#1".repeat(100),
            };
            if let Ok(next) = controls.apply(&skip, comment, &mona(), 0) {
                controls = next;
            }
        }
        let written = write(&key("a"), REPO, NUMBER, &controls);
        assert!(written.len() <= LIMIT, "{}", written.len());
        assert!(!controls.skips.is_empty());
        let found = read(&[key("a")], REPO, NUMBER, [written.as_str()]);
        assert_eq!(found, ControlsRead::Valid(Box::new(controls)));
    }
}
