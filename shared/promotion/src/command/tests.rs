use super::*;

fn read(body: &str) -> Parsed {
    candidate(body).map_or(Parsed::Nothing, |line| parse(line, None))
}

fn mistake(body: &str) -> String {
    match read(body) {
        Parsed::Mistake(Mistake(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

fn hold(until: Option<Until>, reason: &str) -> Command {
    Command::Control(Control::Hold {
        until,
        reason: reason.to_owned(),
    })
}

#[test]
fn a_command_is_read_from_the_first_line() {
    let skip = |target: &str, reason: &str| {
        Command::Control(Control::Skip {
            target: target.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let overriding = |gate, wave, reason: &str| {
        Command::Control(Control::Override {
            gate,
            wave,
            reason: reason.to_owned(),
        })
    };
    for (body, wanted) in [
        ("/promote", Command::Help),
        ("/promote help", Command::Help),
        ("/promote HELP\r\nthank you", Command::Help),
        ("/promote status", Command::Status),
        ("/promote explain", Command::Explain { component: None }),
        (
            "/promote explain checkout",
            Command::Explain {
                component: Some("checkout".to_owned()),
            },
        ),
        ("/promote replan", Command::Replan),
        ("/retrigger", Command::Replan),
        ("  /retrigger \n", Command::Replan),
        ("/promote\tretry", Command::Retry),
        ("/promote hold", hold(None, "")),
        ("/promote hold it   looks odd", hold(None, "it looks odd")),
        ("/promote hold until 4h", hold(Some(Until::For(14_400)), "")),
        (
            "/promote hold for 1d12h release party",
            hold(Some(Until::For(129_600)), "release party"),
        ),
        (
            "/promote hold until 2025-11-24T18:00 party",
            hold(Some(Until::At(1_764_007_200)), "party"),
        ),
        ("/promote release", Command::Control(Control::Release)),
        ("/promote skip clusters/prod/", skip("clusters/prod", "")),
        ("/promote skip production on fire", skip("production", "on fire")),
        (
            "/promote abort wrong",
            Command::Control(Control::Abort {
                reason: "wrong".to_owned(),
            }),
        ),
        (
            "/promote override soak hotfix for #12",
            overriding(GateName::Soak, None, "hotfix for #12"),
        ),
        (
            "/promote override checks wave 2 flaky",
            overriding(GateName::Checks, Some(2), "flaky"),
        ),
    ] {
        assert_eq!(read(body), Parsed::Command(wanted), "{body:?}");
    }
}

#[test]
fn what_does_not_begin_a_comment_is_no_command() {
    for body in [
        "",
        "hello",
        "> /promote hold",
        "```\n/promote hold\n```",
        "    /promote hold",
        "please\n/promote hold",
        "\n/promote hold",
        "/promoted hold",
        "/retrigger please",
        "/retrigger\nplease",
        "/other",
        "<!-- \n/promote hold -->",
        "`/promote hold`",
    ] {
        assert_eq!(read(body), Parsed::Nothing, "{body:?}");
    }
}

#[test]
fn a_mistake_says_what_would_be_right() {
    for (body, wanted) in [
        (
            "/promote hodl",
            "There is no command `/promote hodl`. Did you mean `/promote hold`? `/promote help` lists all.",
        ),
        (
            "/promote merge",
            "There is no command `/promote merge`. `/promote help` lists all.",
        ),
        (
            "/promote hold until tomorrow",
            "`tomorrow` is neither a time as `2026-11-24T09:00` nor a duration as `4h`. It is written \
             <code>/promote hold &#91;until &#60;time or duration&#62;&#93; &#91;reason&#93;</code>.",
        ),
        (
            "/promote release @everybody",
            "Nothing was expected where `@everybody` stands. It is written `/promote release`.",
        ),
        (
            "/promote override soka hotfix",
            "There is no gate `soka`: approvals, soak, checks, http, prometheus, freeze. Did you mean `soak`? It is written \
             <code>/promote override &#60;gate&#62; &#91;wave &#60;number&#62;&#93; &#60;reason&#62;</code>.",
        ),
    ] {
        assert_eq!(mistake(body), wanted, "{body:?}");
    }
    for body in [
        "/promote skip",
        "/promote override",
        "/promote override soak",
        "/promote override soak wave 0 why",
        "/promote hold until",
        "/promote explain a b",
    ] {
        assert!(mistake(body).contains("It is written"), "{body:?}");
    }
}

#[test]
fn the_policys_own_lines_flip_a_status_and_ours_go_before() {
    let toggle = |context: &str| {
        Parsed::Command(Command::Toggle {
            context: context.to_owned(),
        })
    };
    assert_eq!(parse("/deploy-freeze", Some("ci/freeze")), toggle("ci/freeze"));
    assert_eq!(
        parse("/retrigger", Some("ci/freeze")),
        Parsed::Command(Command::Replan)
    );
    assert_eq!(
        parse("/promote", Some("ci/freeze")),
        Parsed::Command(Command::Help)
    );
    assert_eq!(parse("/deploy-freeze", None), Parsed::Nothing);
}

#[test]
fn times_and_durations_are_those_that_people_write() {
    for (word, wanted) in [
        ("90m", Some(Until::For(5_400))),
        ("1w", Some(Until::For(604_800))),
        ("1h30m", Some(Until::For(5_400))),
        ("2025-11-24", Some(Until::At(1_763_942_400))),
        ("2025-11-24T18:00", Some(Until::At(1_764_007_200))),
        ("2025-11-24T18:00Z", Some(Until::At(1_764_007_200))),
        ("2025-11-24T19:00+01:00", Some(Until::At(1_764_007_200))),
        ("2025-11-24T18:00:00Z", Some(Until::At(1_764_007_200))),
        ("", None),
        ("0h", None),
        ("h", None),
        ("10", None),
        ("4x", None),
        ("99999999999999999999w", None),
        ("9999w", None),
        ("2025-02-30", None),
        ("é1h", None),
    ] {
        assert_eq!(Until::parse(word), wanted, "{word:?}");
    }
    assert_eq!(utc(1_764_007_200), "2025-11-24 18:00 UTC");
}

#[test]
fn help_lists_every_verb_with_the_role_that_it_needs() {
    let help = help([("/deploy-freeze", "ci/freeze")]);
    for verb in &VERBS {
        assert!(help.contains(&format!("/promote {}", verb.word)), "{help}");
        assert!(help.contains(verb.does), "{help}");
    }
    assert!(help.contains("`ci/freeze`"), "{help}");
    assert!(help.len() < 4_000, "{help}");
}

#[test]
fn whoever_may_only_look_may_only_ask() {
    for (command, needs) in [
        (Command::Help, Role::Read),
        (Command::Status, Role::Read),
        (Command::Explain { component: None }, Role::Read),
        (Command::Replan, Role::Write),
        (Command::Retry, Role::Write),
        (
            Command::Toggle {
                context: "x".to_owned(),
            },
            Role::Write,
        ),
        (hold(None, ""), Role::Write),
        (Command::Control(Control::Release), Role::Write),
        (
            Command::Control(Control::Override {
                gate: GateName::Soak,
                wave: None,
                reason: "x".to_owned(),
            }),
            Role::Maintain,
        ),
    ] {
        assert_eq!(command.needs(), needs, "{command:?}");
        assert_eq!(command.only_asks(), needs == Role::Read, "{command:?}");
    }
}

#[test]
fn a_line_of_any_length_is_read_in_bounds() {
    let long = format!("/promote hold {}", "é@".repeat(40_000));
    let Parsed::Command(Command::Control(Control::Hold { reason, .. })) = read(&long) else {
        panic!("it is a hold");
    };
    assert_eq!(reason.chars().count(), LINE_LIMIT);
    assert!(mistake(&format!("/promote {}", "x".repeat(60_000))).len() < 1_000);
}
