//! Listing and fetching from git's own server side.

use std::num::NonZeroU32;

use git2::Oid;
use lockflight_promotion::CommitOid;

use super::fake::{Fake, line_of, told};
use super::{Here, oid, remote, want, wire};
use crate::testing::{Edit, Upstream, branch};
use crate::tests::bridge::Bridge;
use crate::wire::{Deepen, Filter, Received, Request, Speech};
use crate::{Remote, TransportError};

/// An upstream with four commits on `main`, of which each changes one of three directories.
fn upstream() -> (Upstream, Vec<CommitOid>) {
    let upstream = Upstream::new();
    let commits = ["a", "b", "c", "a"]
        .iter()
        .enumerate()
        .map(|(number, dir)| {
            let (file, content) = (format!("{dir}/deep/file"), format!("{number}"));
            upstream.push("main", "change", &[Edit::File(&file, &content)])
        })
        .collect();
    (upstream, commits)
}

fn depth(depth: u32) -> Option<Deepen> {
    NonZeroU32::new(depth).map(Deepen::To)
}

fn id_at(upstream: &Upstream, what: &str) -> Oid {
    Oid::from_str(&upstream.git(&["rev-parse", "--verify", what])).unwrap()
}

#[tokio::test]
async fn branches_are_listed_by_their_whole_names_in_one_request() {
    let (upstream, commits) = upstream();
    upstream.set("main-2", &commits[0]);
    upstream.set("x/main", &commits[0]);
    let server = Bridge::of(&upstream).await;
    let wire = wire();

    let branches = [branch("main"), branch("x"), branch("gone")];
    let heads = wire.list(&server.remote(), &branches).await.unwrap();
    assert_eq!(
        heads.into_iter().collect::<Vec<_>>(),
        [("main".to_owned(), commits[3].clone())]
    );
    let first = server.take();
    assert_eq!(first.len(), 2, "{first:?}");

    wire.list(&server.remote(), &branches).await.unwrap();
    assert!(wire.list(&server.remote(), &[]).await.unwrap().is_empty());
    let second = server.take();
    assert_eq!(second.len(), 1, "{second:?}");
    assert_eq!(second[0].what, "POST /git-upload-pack");
    assert_eq!(second[0].port, first[0].port, "one connection for all");
}

#[tokio::test]
async fn a_cold_fetch_brings_what_is_named_and_no_more() {
    let (upstream, commits) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let tip = oid(&commits[3]);
    let only = |wants: Vec<Oid>| Request {
        wants,
        filter: Some(Filter::TreeDepth(0)),
        ..Request::default()
    };

    let commit = Request {
        deepen: depth(1),
        ..only(vec![tip])
    };
    let received = wire.fetch(&server.remote(), &here.path(), &commit).await.unwrap();
    assert_eq!(
        (received.objects, &received.shallow, &received.unshallow),
        (1, &vec![tip], &vec![])
    );
    assert_eq!(here.objects(), [("commit".to_owned(), tip)]);

    let root = id_at(&upstream, "main^{tree}");
    let received = wire
        .fetch(&server.remote(), &here.path(), &only(vec![root]))
        .await
        .unwrap();
    assert_eq!(received.objects, 1, "a tree without those below");
    let (tree, blob) = (
        id_at(&upstream, "main:a/deep"),
        id_at(&upstream, "main:b/deep/file"),
    );
    let received = wire
        .fetch(&server.remote(), &here.path(), &only(vec![tree, blob]))
        .await
        .unwrap();
    assert_eq!(received.objects, 2, "a tree and a file that were named");
    assert_eq!(here.repo().find_blob(blob).unwrap().content(), b"1");
    let mut ids: Vec<Oid> = here.objects().into_iter().map(|(_, id)| id).collect();
    let mut expected = vec![tip, root, tree, blob];
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    assert_eq!(server.asked().len(), 4, "what the server can do is asked once");
}

#[tokio::test]
async fn a_warm_fetch_brings_what_changed() {
    let (upstream, commits) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let cold = Request {
        deepen: depth(1),
        filter: Some(Filter::BlobNone),
        ..want(oid(&commits[3]))
    };
    let received = wire.fetch(&server.remote(), &here.path(), &cold).await.unwrap();
    assert_eq!(
        (here.count("commit"), here.count("tree"), here.count("blob")),
        (1, 7, 0)
    );
    here.set_shallow(&received.shallow);

    let next = upstream.push("main", "next", &[Edit::File("b/deep/file", "next")]);
    let warm = Request {
        haves: vec![oid(&commits[3])],
        shallow: received.shallow.clone(),
        filter: Some(Filter::BlobNone),
        ..want(oid(&next))
    };
    let received = wire.fetch(&server.remote(), &here.path(), &warm).await.unwrap();
    assert_eq!(
        (received.objects, received.shallow.len(), received.unshallow.len()),
        (4, 0, 0)
    );
    let known = Request {
        haves: vec![oid(&next)],
        ..warm
    };
    let nothing = wire.fetch(&server.remote(), &here.path(), &known).await.unwrap();
    assert_eq!(nothing.objects, 0);
    assert_eq!(here.git(&["rev-list", "--count", next.as_str()]), "2");
}

#[tokio::test]
async fn history_grows_as_far_as_is_asked_for() {
    let (upstream, commits) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let ids: Vec<Oid> = commits.iter().map(oid).collect();
    let request = Request {
        filter: Some(Filter::TreeDepth(0)),
        ..want(ids[3])
    };
    let fetch = async |request: Request| {
        wire.fetch(&server.remote(), &here.path(), &request)
            .await
            .unwrap()
    };
    let ends = |received: Received| (received.shallow, received.unshallow);

    let first = Request {
        deepen: depth(1),
        ..request.clone()
    };
    assert_eq!(ends(fetch(first).await), (vec![ids[3]], vec![]));
    let more = Request {
        deepen: depth(2),
        shallow: vec![ids[3]],
        haves: vec![ids[3]],
        ..request.clone()
    };
    assert_eq!(ends(fetch(more).await), (vec![ids[2]], vec![ids[3]]));
    let all = Request {
        deepen: depth(1000),
        shallow: vec![ids[2]],
        haves: vec![ids[3]],
        ..request
    };
    assert_eq!(ends(fetch(all).await), (vec![], vec![ids[2]]));
    assert_eq!(here.git(&["rev-list", "--count", commits[3].as_str()]), "4");
}

#[tokio::test]
async fn a_whole_history_comes_as_git_has_it() {
    let upstream = Upstream::new();
    let body: String = (0..400).map(|line| format!("line {line}\n")).collect();
    for number in 0..30 {
        let content = body.replacen("line 7\n", &format!("number {number}\n"), 1);
        upstream.push("main", "change", &[Edit::File("a/values.yaml", &content)]);
    }
    upstream.git(&["repack", "-adfq"]);
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let tip = upstream.head("main").unwrap();
    let received = wire
        .fetch(&server.remote(), &here.path(), &want(oid(&tip)))
        .await
        .unwrap();
    assert_eq!(received.objects, 120);
    assert!(received.bytes < 30_000, "deltas were sent: {}", received.bytes);
    here.git(&["fsck", "--full", "--strict"]);
    let pack = here
        .files()
        .into_iter()
        .find(|file| file.ends_with(".idx"))
        .unwrap();
    here.git(&["verify-pack", &format!("objects/{pack}")]);
    let files = here.files();
    assert_eq!(files.len(), 3, "{files:?}");
    for extension in [".idx", ".pack", ".promisor"] {
        assert!(
            files
                .iter()
                .any(|file| file.starts_with("pack/pack-") && file.ends_with(extension))
        );
    }
    // The same once more changes nothing.
    wire.fetch(&server.remote(), &here.path(), &want(oid(&tip)))
        .await
        .unwrap();
    assert_eq!(here.objects().len(), 120);
}

#[tokio::test]
async fn an_object_that_the_server_has_not_is_said_to_be_missing() {
    let (upstream, _) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let gone = Oid::from_str(&"1".repeat(40)).unwrap();
    let error = wire
        .fetch(&server.remote(), &here.path(), &want(gone))
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::NoSuchObject { .. }), "{error:?}");
    here.assert_untouched();
}

#[tokio::test]
async fn a_server_that_cannot_filter_is_asked_without() {
    let (upstream, commits) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    upstream.git(&["config", "uploadpack.allowFilter", "false"]);
    assert_eq!(
        wire.speech(&server.remote()).await.unwrap(),
        Speech::Version2 { filter: false }
    );
    let mut request = Request {
        filter: Some(Filter::BlobNone),
        ..want(oid(&commits[0]))
    };
    let error = wire
        .fetch(&server.remote(), &here.path(), &request)
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::NoFilter), "{error:?}");
    assert_eq!(server.asked().len(), 1);
    request.filter = None;
    assert_eq!(
        wire.fetch(&server.remote(), &here.path(), &request)
            .await
            .unwrap()
            .objects,
        5
    );
}

#[tokio::test]
async fn what_does_not_speak_version_2_is_left_to_git() {
    let (upstream, _) = upstream();
    let wire = wire();
    let path = upstream.remote();
    assert_eq!(wire.speech(&path).await.unwrap(), Speech::Other);
    assert!(matches!(
        wire.list(&path, &[branch("main")]).await,
        Err(TransportError::NoVersion2)
    ));

    let old = Fake::new(|_| {
        let head = format!("{} refs/heads/main\0multi_ack side-band-64k\n", "1".repeat(40));
        let lines = [
            line_of(b"# service=git-upload-pack\n"),
            b"0000".to_vec(),
            line_of(head.as_bytes()),
            b"0000".to_vec(),
        ];
        told("application/x-git-upload-pack-advertisement", lines.concat())
    })
    .await;
    assert_eq!(wire.speech(&remote(&old.url)).await.unwrap(), Speech::Other);
    assert_eq!(wire.speech(&remote(&old.url)).await.unwrap(), Speech::Other);
    let asked = old.asked.lock().unwrap();
    assert_eq!(asked.len(), 1, "asked once");
    assert_eq!(asked[0].0, "GET /a/b.git/info/refs?service=git-upload-pack");
    assert_eq!(asked[0].1["git-protocol"], "version=2");
}

#[tokio::test]
async fn a_wrong_token_and_a_wrong_name_are_told_apart() {
    let (upstream, _) = upstream();
    let (server, wire) = (Bridge::of(&upstream).await, wire());
    let stranger = Remote {
        url: server.url().to_owned(),
        credentials: None,
    };
    let error = wire.list(&stranger, &[branch("main")]).await.unwrap_err();
    assert!(
        matches!(error, TransportError::AuthenticationFailed { .. }),
        "{error:?}"
    );
    let nowhere = remote(&server.url().replace("upstream", "nowhere"));
    let error = wire.list(&nowhere, &[branch("main")]).await.unwrap_err();
    assert!(matches!(error, TransportError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_sha_256_repository_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (upstream, _) = upstream();
    let place = upstream.path();
    crate::testing::git_in(
        home.path(),
        &["init", "-q", "--bare", "--object-format=sha256", "x.git"],
        &[],
        b"",
    );
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(home.path().join("x.git"), &place).unwrap();
    let (server, wire) = (Bridge::of(&upstream).await, wire());
    let error = wire.list(&server.remote(), &[branch("main")]).await.unwrap_err();
    assert!(matches!(error, TransportError::ObjectFormat { .. }), "{error:?}");
}

#[tokio::test]
async fn many_readers_of_one_repository_do_not_get_into_each_others_way() {
    let (upstream, commits) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let request = want(oid(&commits[3]));
    let (remote, path) = (server.remote(), here.path());
    let fetches = (0..6).map(|_| wire.fetch(&remote, &path, &request));
    for received in futures::future::join_all(fetches).await {
        assert_eq!(received.unwrap().objects, 20);
    }
    here.git(&["fsck", "--full", "--strict"]);
    assert_eq!(here.files().len(), 3);
}
