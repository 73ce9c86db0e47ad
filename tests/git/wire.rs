//! A forge that fails in the middle: what becomes of a fetch and of a push.

use std::time::Duration;

use lockflight_git::{FetchError, Mirror, PushError, PushOutcome, RefUpdate};
use lockflight_promotion::{CommitOid, ErrorClass};
use lockflight_sandbox::{Effect, Fault, HoldPoint, RequestMatcher};

use crate::scene::{Scene, branch, components, creation, path};

/// A scene whose mirror has the first commit, and a promotion of it that is not pushed.
async fn scene() -> (Scene, Mirror, CommitOid, RefUpdate) {
    let scene = Scene::new().await;
    let first = scene.begin(components(&["dev", "prod"], 20));
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &first).await.unwrap();
    let commit = scene.promote(&mirror, &first, "dev/c0001", &["prod/c0001"]).await;
    (scene, mirror, first, creation("p/1", &commit))
}

fn once(matcher: RequestMatcher, effect: Effect) -> Fault {
    Fault {
        matcher,
        times: 1,
        effect,
    }
}

fn assert_landed(scene: &Scene, update: &RefUpdate) {
    assert_eq!(Some(scene.head(update.branch.as_str())), update.new);
    scene.git(&["fsck", "--full", "--strict", "--no-dangling"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_answer_is_lost_is_found_done_by_the_next() {
    let (scene, mirror, _, update) = scene().await;
    let lost = [Effect::ResetAfterEffect, Effect::StatusAfterEffect(502)];
    for effect in lost {
        scene.git(&["update-ref", "-d", "refs/heads/p/1"]);
        scene
            .forge
            .faults()
            .add(once(RequestMatcher::git_receive_pack(), effect));
        let error = mirror
            .push(&scene.lease(), std::slice::from_ref(&update))
            .await
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::Retry, "{error:?}");
        assert_landed(&scene, &update);
        let again = scene.push(&mirror, std::slice::from_ref(&update)).await;
        assert_eq!(again, [PushOutcome::AlreadyThere]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_did_not_arrive_is_sent_by_the_next() {
    let (scene, mirror, _, update) = scene().await;
    for effect in [Effect::ResetBefore, Effect::Status(502), Effect::Status(500)] {
        scene
            .forge
            .faults()
            .add(once(RequestMatcher::git_receive_pack(), effect.clone()));
        let error = mirror
            .push(&scene.lease(), std::slice::from_ref(&update))
            .await
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::Retry, "{effect:?}: {error:?}");
        assert_eq!(mirror.remote_branch(&update.branch).await.unwrap(), None);
    }
    let pushed = scene.push(&mirror, std::slice::from_ref(&update)).await;
    assert_eq!(pushed, [PushOutcome::Pushed]);
    assert_landed(&scene, &update);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_dropped_on_its_way_does_no_harm() {
    let (scene, mirror, _, update) = scene().await;
    for point in [HoldPoint::BeforeEffect, HoldPoint::AfterEffect] {
        let held = scene
            .forge
            .faults()
            .hold(RequestMatcher::git_receive_pack(), point);
        let lease = scene.lease();
        let pushing = mirror.push(&lease, std::slice::from_ref(&update));
        tokio::select! {
            pushed = pushing => panic!("{pushed:?}"),
            () = held.arrived() => {}
        }
        held.release();
        let outcome = scene.push(&mirror, std::slice::from_ref(&update)).await;
        assert!(
            matches!(&outcome[..], [PushOutcome::Pushed | PushOutcome::AlreadyThere]),
            "{point:?}: {outcome:?}"
        );
        assert_landed(&scene, &update);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_waited_for_as_long_as_the_forge_says() {
    let (scene, mirror, _, update) = scene().await;
    let next = scene.write("main", "dev/c0001/f0.yaml", "changed");
    let limits = [
        (Effect::SecondaryWithRetryAfter(Duration::from_secs(7)), 7),
        (Effect::SecondaryWithoutHeaders, 60),
        (Effect::Status(429), 60),
    ];
    for (effect, seconds) in limits {
        let class = ErrorClass::RetryAfter(Duration::from_secs(seconds));
        scene
            .forge
            .faults()
            .add(once(RequestMatcher::git_upload_pack(), effect.clone()));
        let error = mirror.fetch(&branch("main"), &next).await.unwrap_err();
        assert_eq!(error.class(), class, "{effect:?}: {error:?}");
        scene
            .forge
            .faults()
            .add(once(RequestMatcher::git_receive_pack(), effect));
        let error = mirror
            .push(&scene.lease(), std::slice::from_ref(&update))
            .await
            .unwrap_err();
        assert_eq!(error.class(), class, "{error:?}");
    }
    let _fetched = mirror.fetch(&branch("main"), &next).await.unwrap();
    let pushed = scene.push(&mirror, std::slice::from_ref(&update)).await;
    assert_eq!(pushed, [PushOutcome::Pushed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_breaks_off_is_done_by_the_next() {
    let (scene, mirror, _, _) = scene().await;
    for effect in [
        Effect::ResetBefore,
        Effect::ResetAfterEffect,
        Effect::StatusAfterEffect(504),
    ] {
        let next = scene.write("main", "dev/c0001/f0.yaml", &format!("{effect:?}"));
        scene
            .forge
            .faults()
            .add(once(RequestMatcher::git_upload_pack(), effect.clone()));
        let error = mirror.fetch(&branch("main"), &next).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Retry, "{effect:?}: {error:?}");
        let _fetched = mirror.fetch(&branch("main"), &next).await.unwrap();
        let text = mirror.blob(&next, &path("dev/c0001/f0.yaml"), 100).await.unwrap();
        assert_eq!(text.unwrap(), format!("{effect:?}").as_bytes());
    }
    let left = std::fs::read_dir(scene.mirror_dir().join("objects")).unwrap();
    for entry in left {
        let name = entry.unwrap().file_name();
        assert!(!name.as_encoded_bytes().starts_with(b"tmp_"), "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_make_one_branch_one_wins_and_the_other_is_told() {
    let (scene, mirror, first, update) = scene().await;
    let other = scene.other_mirror();
    let _fetched = other.fetch(&branch("main"), &first).await.unwrap();
    let commit = scene.promote(&other, &first, "dev/c0002", &["prod/c0002"]).await;
    let rival = creation("p/1", &commit);
    let (ours, theirs) = (scene.lease(), scene.lease());
    let (ours, theirs) = tokio::join!(
        mirror.push(&ours, std::slice::from_ref(&update)),
        other.push(&theirs, std::slice::from_ref(&rival)),
    );
    let head = scene.head("p/1");
    for (pushed, update) in [(ours, update), (theirs, rival)] {
        let moved = PushOutcome::Moved {
            actual: Some(head.clone()),
        };
        let expected = if update.new.as_ref() == Some(&head) {
            PushOutcome::Pushed
        } else {
            moved
        };
        match pushed {
            Ok(outcome) => assert_eq!(outcome, [expected]),
            // Both at the very same moment: who came second could not even see where the branch was.
            Err(error) => assert!(matches!(error, PushError::NotTaken { .. }), "{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_gone_is_for_a_person_to_mend() {
    let (scene, mirror, first, update) = scene().await;
    let gone = Effect::Status(404);
    let next = scene.write("main", "dev/c0001/f0.yaml", "changed");
    scene
        .forge
        .faults()
        .add(once(RequestMatcher::git_upload_pack(), gone.clone()));
    let error = mirror.fetch(&branch("main"), &next).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::User);
    scene
        .forge
        .faults()
        .add(once(RequestMatcher::git_receive_pack(), gone));
    let error = mirror.push(&scene.lease(), &[update]).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::User, "{error:?}");
    assert_eq!(mirror.parent(&first).await.unwrap(), None);
}
