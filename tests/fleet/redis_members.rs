//! Who is there, when members, hints, Redis or its clock fail.

use std::collections::BTreeSet;
use std::time::Duration;

use lockflight_fleet::redis::{Member, Redis, RedisOptions};
use lockflight_fleet::{MemberId, Membership, Role};
use lockflight_tests::servers::Redis as Server;
use tokio::sync::watch;

use crate::redis_lock::{behind_proxy, in_time, options, process, until};

const KEY: &str = "lockflight:members:executor";

fn id(name: &str) -> MemberId {
    MemberId::parse(name).unwrap()
}

fn join(redis: &Redis, name: &str) -> Member {
    redis.members().join(Role::Executor, id(name))
}

async fn sees(member: &Member, names: &[&str]) {
    let expected: BTreeSet<MemberId> = names.iter().copied().map(id).collect();
    let mut membership = member.watch();
    let seen = membership.wait_for(|membership| membership.members() == Some(&expected));
    in_time(&format!("{} sees {names:?}", member.id()), seen)
        .await
        .unwrap();
}

/// With heartbeats so rare that only a hint can be the reason for a change.
fn with_rare_heartbeats(uri: String) -> RedisOptions {
    RedisOptions {
        heartbeat: Duration::from_mins(10),
        member_expiry: Duration::from_mins(30),
        ..options(uri)
    }
}

/// Notes the fewest members that were ever seen from now on.
fn fewest(mut membership: watch::Receiver<Membership>) -> tokio::task::JoinHandle<usize> {
    tokio::spawn(async move {
        let mut fewest = usize::MAX;
        loop {
            let members = membership.borrow_and_update().members().map_or(0, BTreeSet::len);
            fewest = fewest.min(members);
            if membership.changed().await.is_err() {
                return fewest;
            }
        }
    })
}

#[tokio::test]
async fn who_joins_and_who_leaves_is_known_to_all_at_once() {
    let server = Server::start().await;
    let [one, two, three] = [(); 3].map(|()| process(with_rare_heartbeats(server.uri())));
    let a = join(&one, "a");
    sees(&a, &["a"]).await;
    let c = join(&two, "c");
    let b = join(&three, "b");
    for member in [&a, &b, &c] {
        sees(member, &["a", "b", "c"]).await;
    }
    // Another role is another matter.
    let planner = one.members().join(Role::Planner, id("p"));
    sees(&planner, &["p"]).await;
    b.leave().await.unwrap();
    for member in [&a, &c] {
        sees(member, &["a", "c"]).await;
    }
    let listed = three.members().list(Role::Executor).await.unwrap();
    assert_eq!(listed, BTreeSet::from([id("a"), id("c")]));
    assert!(three.members().list(Role::Ingress).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_dies_is_gone_after_the_expiry() {
    let server = Server::start().await;
    let (dying, proxy) = behind_proxy(&server).await;
    let living = process(options(server.uri()));
    let (dead, a) = (join(&dying, "dead"), join(&living, "a"));
    sees(&a, &["a", "dead"]).await;
    sees(&dead, &["a", "dead"]).await;
    proxy.refuse();
    proxy.reset();
    sees(&a, &["a"]).await;
    // The other can't know, and stays with what it knew.
    assert!(
        dead.watch()
            .borrow()
            .members()
            .is_some_and(|members| members.len() == 2)
    );
    proxy.accept();
    sees(&a, &["a", "dead"]).await;
    // Dropping it says nothing, as a crash does.
    drop(dead);
    sees(&a, &["a"]).await;
}

#[tokio::test]
async fn lost_hints_cost_a_heartbeat_and_nothing_else() {
    let server = Server::start().await;
    let allowed = server
        .cli(&[
            "ACL",
            "SETUSER",
            "mute",
            "on",
            ">hunter2",
            "~lockflight:*",
            "+@all",
            "resetchannels",
        ])
        .await;
    assert_eq!(allowed, "OK");
    let uri = format!("redis://mute:hunter2@127.0.0.1:{}", server.port());
    let (one, two) = (process(options(uri.as_str())), process(options(uri)));
    let (a, b) = (join(&one, "a"), join(&two, "b"));
    sees(&a, &["a", "b"]).await;
    b.leave().await.unwrap();
    sees(&a, &["a"]).await;
}

#[tokio::test]
async fn without_redis_at_the_start_members_are_unknown_until_it_is_there() {
    let server = Server::start().await;
    server.kill().await;
    let redis = process(options(server.uri()));
    let a = join(&redis, "a");
    until("Redis counts as away", async || redis.is_degraded()).await;
    assert_eq!(*a.watch().borrow(), Membership::Unknown);
    assert!(redis.members().list(Role::Executor).await.is_err());
    server.restart().await;
    sees(&a, &["a"]).await;
    server.kill().await;
    until("Redis counts as away", async || redis.is_degraded()).await;
    assert!(a.leave().await.is_err(), "it can't be said");
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_moves_nobodys_share() {
    let server = Server::start().await;
    let processes = [(); 3].map(|()| process(options(server.uri())));
    let members = [
        join(&processes[0], "a"),
        join(&processes[1], "b"),
        join(&processes[2], "c"),
    ];
    for member in &members {
        sees(member, &["a", "b", "c"]).await;
    }
    let seen = members.each_ref().map(|member| fewest(member.watch()));
    server.kill().await;
    for redis in &processes {
        until("Redis counts as away", async || redis.is_degraded()).await;
    }
    server.restart().await;
    until("all are known to it again", async || {
        server.cli(&["ZCARD", KEY]).await == "3"
    })
    .await;
    // Patience ends: who does not come back is gone.
    let [a, b, c] = members;
    drop(c);
    sees(&a, &["a", "b"]).await;
    drop((a, b));
    let mut counts = Vec::new();
    for fewest in seen {
        counts.push(in_time("the end of the watch", fewest).await.unwrap());
    }
    // The first two saw the third one go, and nobody before.
    assert_eq!(counts[2], 3);
    assert!(counts.iter().all(|fewest| *fewest >= 2), "{counts:?}");
}

#[tokio::test]
async fn a_jump_of_redis_clock_moves_nobodys_share() {
    let server = Server::start().await;
    let processes = [(); 2].map(|()| process(options(server.uri())));
    let members = [join(&processes[0], "a"), join(&processes[1], "b")];
    for member in &members {
        sees(member, &["a", "b"]).await;
    }
    let seen = members.each_ref().map(|member| fewest(member.watch()));
    // What Redis has when its clock has jumped: moments that are far away from its time.
    let jump = "for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do \
                redis.call('ZINCRBY', KEYS[1], ARGV[1], name) end return redis.call('ZCARD', KEYS[1])";
    let oldest = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) local most = 0 \
                  local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES') \
                  for i = 2, #all, 2 do most = math.max(most, math.abs(now - tonumber(all[i]))) end return most";
    for by in ["-3600000", "3600000", "-86400000"] {
        assert_eq!(server.cli(&["EVAL", jump, "1", KEY, by]).await, "2");
        until("the moments are right again", async || {
            let most: u64 = server.cli(&["EVAL", oldest, "1", KEY]).await.parse().unwrap();
            most < 1_000
        })
        .await;
        assert_eq!(server.cli(&["ZCARD", KEY]).await, "2");
    }
    drop(members);
    for fewest in seen {
        assert_eq!(in_time("the end of the watch", fewest).await.unwrap(), 2);
    }
}
