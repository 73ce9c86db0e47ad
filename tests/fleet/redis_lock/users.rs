//! Who we are to Redis, and what it tells us.

use std::time::Duration;

use lockflight_fleet::redis::RIGHTS;
use lockflight_fleet::{LockGuard as _, MemberId, Role};
use lockflight_tests::servers::Redis as Server;

use super::{REPO, acquire, in_line, in_time, options, process};

#[tokio::test]
async fn the_rights_that_are_listed_are_enough() {
    let server = Server::start().await;
    let user = ["ACL", "SETUSER", "lockflight", "reset", "on", ">hunter2"];
    let rights: Vec<&str> = user.into_iter().chain(RIGHTS.split_whitespace()).collect();
    assert_eq!(server.cli(&rights).await, "OK");
    let uri = format!("redis://lockflight:hunter2@127.0.0.1:{}/0", server.port());
    let [one, two] = [(); 2].map(|()| process(options(uri.as_str())));
    let member = one.members().join(Role::Planner, MemberId::parse("a").unwrap());
    let held = acquire(&one.locks(), REPO).await;
    assert!(!held.is_local());
    let waiter = tokio::spawn({
        let locks = two.locks();
        async move { acquire(&locks, REPO).await }
    });
    in_line(&server, 1).await;
    held.release().await.unwrap();
    assert!(!in_time("the waiter", waiter).await.unwrap().is_local());
    let mut members = member.watch();
    let known = members.wait_for(|membership| membership.members().is_some());
    drop(in_time("the members", known).await.unwrap());
    assert_eq!(two.members().list(Role::Planner).await.unwrap().len(), 1);
    member.leave().await.unwrap();
    let health = one.ping().await.unwrap();
    assert!(health.version.is_some() && health.eviction.is_some());
    // Nothing was refused, be it only a hint.
    assert_eq!(server.cli(&["ACL", "LOG"]).await, "");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password() {
    let server = Server::start().await;
    assert_eq!(
        server.cli(&["CONFIG", "SET", "requirepass", "right horse"]).await,
        "OK"
    );
    let wrong = process(options(format!("redis://:hunter2@127.0.0.1:{}", server.port())));
    assert!(acquire(&wrong.locks(), REPO).await.is_local());
    let error = wrong.ping().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    let told = format!(
        "{error} {error:?} {source} {source:?} {wrong:?} {:?}",
        wrong.locks()
    );
    assert!(told.contains("check the user and the password"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    let right = process(options(format!(
        "redis://:right%20horse@127.0.0.1:{}",
        server.port()
    )));
    assert!(!acquire(&right.locks(), REPO).await.is_local());
    let shown = format!("{right:?} {:?} {:?}", right.locks(), right.members());
    assert!(!shown.contains("horse"), "{shown}");
}

#[tokio::test]
async fn health_tells_version_latency_and_clock() {
    let server = Server::start().await;
    let redis = process(options(server.uri()));
    let health = redis.ping().await.unwrap();
    let version = health.version.unwrap();
    assert!(version.split('.').count() >= 3, "{version}");
    assert!(health.latency < Duration::from_secs(1));
    // They are on one machine.
    assert!(health.clock_ahead_ms.abs() < 1_000, "{}", health.clock_ahead_ms);
    assert_eq!(health.eviction.as_deref(), Some("noeviction"));
}
