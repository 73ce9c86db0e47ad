use super::*;
use crate::command::Until;

fn person(id: u64) -> Sender {
    Sender {
        id,
        login: Login::parse(format!("person-{id}")).unwrap(),
    }
}

fn hold(until: Option<Until>) -> Control {
    Control::Hold {
        until,
        reason: "release party".to_owned(),
    }
}

fn skip(target: &str) -> Control {
    Control::Skip {
        target: target.to_owned(),
        reason: String::new(),
    }
}

#[test]
fn a_hold_stands_until_its_time() {
    let controls = Controls::default()
        .apply(&hold(Some(Until::For(60))), 1, &person(1), 1_000)
        .unwrap();
    assert_eq!(
        controls.is_held(1_059).map(|hold| hold.by.as_str()),
        Some("person-1")
    );
    assert_eq!(controls.is_held(1_060), None);
    let at = Controls::default()
        .apply(&hold(Some(Until::At(1_500))), 1, &person(1), 1_000)
        .unwrap();
    assert!(at.is_held(1_499).is_some() && at.is_held(1_500).is_none());
    assert_eq!(
        at.apply(&hold(Some(Until::At(900))), 2, &person(1), 1_000),
        Err(Refused::Over(900))
    );
}

#[test]
fn holds_of_two_people_stand_side_by_side_and_one_release_ends_both() {
    let one = Controls::default()
        .apply(&hold(Some(Until::For(60))), 1, &person(1), 0)
        .unwrap();
    let two = one.apply(&hold(None), 2, &person(2), 1).unwrap();
    assert_eq!(two.holds.len(), 2);
    assert_eq!(two.is_held(2).unwrap().user_id, 2);
    let again = two.apply(&hold(None), 3, &person(1), 2).unwrap();
    assert_eq!(again.holds.len(), 2, "a person's later hold replaces the earlier");
    let released = again.apply(&Control::Release, 4, &person(3), 3).unwrap();
    assert_eq!((released.hindrance(4), released.revision), (None, 4));
    assert_eq!(
        released.apply(&Control::Release, 5, &person(3), 3),
        Err(Refused::NothingToRelease)
    );
}

#[test]
fn the_same_comment_twice_changes_nothing_twice() {
    let held = Controls::default().apply(&hold(None), 1, &person(1), 0).unwrap();
    let released = held.apply(&Control::Release, 2, &person(1), 1).unwrap();
    assert_eq!(
        released.apply(&hold(None), 1, &person(1), 2),
        Ok(released.clone())
    );
}

#[test]
fn an_abort_goes_before_a_hold_and_a_release_takes_it_back() {
    let abort = Control::Abort {
        reason: String::new(),
    };
    let controls = Controls::default()
        .apply(&hold(None), 1, &person(1), 0)
        .unwrap()
        .apply(&abort, 2, &person(2), 1)
        .unwrap();
    assert_eq!(controls.hindrance(5).unwrap().sentence(), "Aborted by person-2");
    let released = controls.apply(&Control::Release, 3, &person(1), 2).unwrap();
    assert_eq!(released.hindrance(5), None);
}

#[test]
fn a_skip_is_of_a_path_and_all_below_it() {
    let controls = Controls::default()
        .apply(&skip("clusters/prod/us"), 1, &person(1), 0)
        .unwrap()
        .apply(&skip("staging"), 2, &person(1), 0)
        .unwrap();
    for (names, is_skipped) in [
        (vec!["clusters/prod/us"], true),
        (vec!["clusters/prod/us/checkout"], true),
        (vec!["clusters/prod/us-west1"], false),
        (vec!["clusters/prod"], false),
        (vec!["clusters/stg", "staging"], true),
        (vec![], false),
    ] {
        assert_eq!(
            controls.skip_of(names.iter().copied()).is_some(),
            is_skipped,
            "{names:?}"
        );
    }
}

#[test]
fn an_override_is_of_one_gate_and_one_wave() {
    let overriding = |wave| Control::Override {
        gate: GateName::Soak,
        wave,
        reason: "hotfix".to_owned(),
    };
    let second = Controls::default()
        .apply(&overriding(Some(2)), 1, &person(1), 0)
        .unwrap();
    assert!(second.override_of(GateName::Soak, 2).is_some());
    assert!(second.override_of(GateName::Soak, 1).is_none());
    assert!(second.override_of(GateName::Checks, 2).is_none());
    let every = second.apply(&overriding(None), 2, &person(1), 0).unwrap();
    assert!(every.override_of(GateName::Soak, 1).is_some());
}

#[test]
fn what_was_forged_can_be_held_aborted_or_begun_anew_and_nothing_else() {
    let on_forged = |control: &Control| Controls::apply_to_forged(control, 9, &person(1), 0);
    assert_eq!(on_forged(&skip("lab")), Err(Refused::Forged));
    assert!(on_forged(&hold(None)).unwrap().is_held(1).is_some());
    let released = on_forged(&Control::Release).unwrap();
    assert_eq!(released.hindrance(1), None);
    assert!(released.has_handled(9));
    assert!(ControlsRead::Forged.hindrance(1).is_some());
}

#[test]
fn controls_do_not_grow_without_bound() {
    let mut controls = Controls::default();
    let mut refused = 0;
    for comment in 0..400 {
        match controls.apply(&skip(&format!("t{comment}")), comment, &person(1), 0) {
            Ok(next) => controls = next,
            Err(Refused::TooMany(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((controls.skips.len(), refused), (LIMIT, 400 - LIMIT));
    for comment in 1_000..1_400 {
        controls = controls.apply(&hold(None), comment, &person(1), 0).unwrap();
    }
    assert_eq!(controls.handled.len(), HANDLED_LIMIT);
    assert!(controls.json().len() <= SIZE_LIMIT);
}

#[test]
fn a_hindrance_is_said_in_one_sentence() {
    let held = Controls::default()
        .apply(&hold(Some(Until::At(1_764_007_200))), 1, &person(1), 0)
        .unwrap();
    assert_eq!(
        held.hindrance(1).unwrap().sentence(),
        "Held by person-1 until 2025-11-24 18:00 UTC: release party"
    );
}
