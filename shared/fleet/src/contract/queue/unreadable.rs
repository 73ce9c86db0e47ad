//! What cannot be read is kept, and holds up nobody.

use std::collections::BTreeSet;

use lockflight_promotion::RepoId;

use super::super::QueueWorld;
use super::super::sample::step;
use super::{ack, publish, receive, receives_nothing, until_depth, until_idle};
use crate::{Content, Depth, Queue as _, Work};

pub async fn an_unknown_version_waits_for_a_newer_reader(world: impl QueueWorld) {
    let mut newer = serde_json::to_value(step(1, "s9")).unwrap();
    newer["body"]["type"] = "step.teleport.v7".into();
    let mut newest = serde_json::to_value(step(1, "s10")).unwrap();
    newest["v"] = 200.into();
    for value in [&newer, &newest] {
        let bytes = serde_json::to_vec(value).unwrap();
        world.inject(Work::Steps, RepoId::new(1), bytes).await;
    }
    publish(&world, &[step(1, "s1")]).await;
    // Neither holds up what can be read.
    ack(receive(&world, Work::Steps).await).await;
    let waiting = |depth: &Depth| depth.delayed + depth.parked == 2 && depth.ready == 0;
    let depth = until_depth(&world, Work::Steps, waiting).await;
    assert_eq!((depth.delayed, depth.parked), (2, 0), "{depth:?}");
    for _ in 0..world.max_attempts() {
        world.pass(world.longest_wait()).await;
        receives_nothing(&world, Work::Steps).await;
    }
    until_depth(&world, Work::Steps, |depth| depth.parked == 2).await;
    let parked = world.queue().parked().await.unwrap();
    assert_eq!(parked.len(), 2);
    for parked in parked {
        let Content::Newer { bytes, reason } = &parked.content else {
            panic!("{parked:?}")
        };
        assert!(!bytes.is_empty());
        assert!(reason.contains("newer"), "{reason}");
        assert!(
            parked.reason.contains("step.teleport.v7") || parked.reason.contains("version 200"),
            "{}",
            parked.reason
        );
    }
}

pub async fn malformed_bytes_are_parked_with_the_reason_and_hold_up_nobody(world: impl QueueWorld) {
    let good = serde_json::to_vec(&step(1, "s2")).unwrap();
    let bad: [&[u8]; 5] = [b"", b"\xff\xfe", b"{}", &good[..good.len() / 2], b"[1,2,3]"];
    for bytes in bad {
        world.inject(Work::Steps, RepoId::new(1), bytes.to_vec()).await;
    }
    publish(&world, &[step(1, "s1")]).await;
    ack(receive(&world, Work::Steps).await).await;
    until_depth(&world, Work::Steps, |depth| depth.parked == 5).await;
    let parked = world.queue().parked().await.unwrap();
    let kept: BTreeSet<_> = parked
        .iter()
        .map(|parked| match &parked.content {
            Content::Malformed { bytes, .. } => bytes.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kept, bad.map(<[u8]>::to_vec).into());
    assert!(parked.iter().all(|p| p.reason.contains("not an envelope")));
    until_idle(&world, Work::Steps).await;
}
