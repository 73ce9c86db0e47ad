//! Servers that do what they should not.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use git2::{ObjectType, Oid};
use lockflight_promotion::ErrorClass;

use super::fake::{Fake, Told, band, endless, line_of, receive_result, result, stalled, told, with_pack};
use super::hostile_push::{pushed, pushed_to};
use super::{Here, TOKEN, remote, want, wire, wire_within};
use crate::TransportError;
use crate::testing::branch;
use crate::wire::{Limits, Received, Request};

fn some() -> Oid {
    Oid::hash_object(ObjectType::Blob, b"some").unwrap()
}

/// Fetches from a server that answers so, and checks that a failure leaves nothing.
async fn fetched(
    limits: Limits,
    answer: impl Fn() -> Told + Send + Sync + 'static,
) -> Result<Received, TransportError> {
    let server = Fake::of_version_2(answer).await;
    let here = Here::new();
    let fetched = wire_within(limits)
        .fetch(&remote(&server.url), &here.path(), &want(some()))
        .await;
    if fetched.is_err() {
        here.assert_untouched();
    }
    fetched
}

async fn refused(answer: impl Fn() -> Told + Send + Sync + 'static) -> TransportError {
    fetched(Limits::default(), answer).await.unwrap_err()
}

/// A pack of one blob, and its entry alone.
fn pack_of(content: &[u8]) -> Vec<u8> {
    let here = Here::new();
    let repo = here.repo();
    let id = repo.odb().unwrap().write(ObjectType::Blob, content).unwrap();
    let mut builder = repo.packbuilder().unwrap();
    builder.insert_object(id, None).unwrap();
    let mut pack = Vec::new();
    builder
        .foreach(|part| {
            pack.extend_from_slice(part);
            true
        })
        .unwrap();
    pack
}

#[tokio::test]
async fn each_status_has_its_meaning_and_none_tells_the_token() {
    let minute = ErrorClass::RetryAfter(Duration::from_secs(60));
    let seconds = |seconds| ErrorClass::RetryAfter(Duration::from_secs(seconds));
    for (status, retry_after, class, word) in [
        (401, None, ErrorClass::User, "token"),
        (403, None, ErrorClass::User, "forbids"),
        (403, Some("7"), seconds(7), "limits"),
        (404, None, ErrorClass::User, "not found"),
        (410, None, ErrorClass::User, "not found"),
        (429, None, minute, "limits"),
        (429, Some("90"), seconds(90), "limits"),
        (429, Some("999999"), seconds(3600), "limits"),
        (429, Some("Wed, 21 Oct 2065 07:28:00 GMT"), minute, "limits"),
        (503, Some("5"), seconds(5), "limits"),
        (301, None, ErrorClass::Retry, "redirect"),
        (500, None, ErrorClass::Retry, "could not be reached"),
        (503, None, ErrorClass::Retry, "could not be reached"),
        (400, None, ErrorClass::Retry, "not git's protocol"),
        (204, None, ErrorClass::Retry, "not git's protocol"),
    ] {
        let error = refused(move || {
            let mut response = Response::builder()
                .status(status)
                .header("content-type", "text/plain; charset=utf-8")
                .header("location", "http://127.0.0.1:1/elsewhere");
            if let Some(after) = retry_after {
                response = response.header("retry-after", after);
            }
            let body = if status == 204 {
                String::new()
            } else {
                format!("you sent {TOKEN}\n")
            };
            response.body(Body::from(body)).unwrap()
        })
        .await;
        assert_eq!(error.class(), class, "{status}");
        let text = error.to_string();
        assert!(
            text.contains(word) && text.contains(&status.to_string()),
            "{text}"
        );
        assert!(!text.contains(TOKEN), "{text}");
        assert!(status == 204 || text.contains("you sent [secret]"), "{text}");
    }
}

#[tokio::test]
async fn what_is_not_gits_is_refused() {
    let pack = pack_of(b"some");
    let good = pack.clone();
    assert_eq!(
        fetched(Limits::default(), move || result(with_pack(&good)))
            .await
            .unwrap()
            .objects,
        1
    );
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an empty answer", vec![]),
        ("a page", b"<!DOCTYPE html>".to_vec()),
        ("no section", b"0000".to_vec()),
        (
            "an unknown section",
            [line_of(b"packfile-uris\n"), b"0000".to_vec()].concat(),
        ),
        (
            "an unknown band",
            [line_of(b"packfile\n"), band(9, b"x")].concat(),
        ),
        ("no band", [line_of(b"packfile\n"), line_of(b"")].concat()),
        ("no pack", [line_of(b"packfile\n"), b"0000".to_vec()].concat()),
        (
            "a pack that ends with a section",
            [line_of(b"packfile\n"), band(1, &pack), b"0001".to_vec()].concat(),
        ),
        ("two packs", with_pack(&[&pack[..], &pack[..]].concat())),
        (
            "a line that is no text",
            [line_of(b"shallow-info\n"), line_of(&[0xff])].concat(),
        ),
        (
            "a strange boundary",
            [line_of(b"shallow-info\n"), line_of(b"shallow 12\n")].concat(),
        ),
        ("a hash that is not the pack's", {
            let mut pack = pack.clone();
            *pack.last_mut().unwrap() ^= 1;
            with_pack(&pack)
        }),
    ];
    for (name, body) in cases {
        let error = refused(move || result(body.clone())).await;
        let bad = matches!(
            error,
            TransportError::BadAnswer { .. } | TransportError::Network { .. }
        );
        assert!(bad, "{name}: {error:?}");
        assert_eq!(error.class(), ErrorClass::Retry, "{name}");
    }
    let error = refused(|| told("text/html", "<p>Sign in</p>")).await;
    assert!(error.to_string().contains("text/html"), "{error}");
    let error = refused(|| {
        let mut told = result("");
        told.headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        told
    })
    .await;
    assert!(matches!(error, TransportError::BadAnswer { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_gives_up_is_quoted_without_the_token() {
    for (said, expected) in [
        ("upload-pack: not our ref 1234", "does not have an object"),
        ("Repository not found.", "was not found"),
        ("too busy", "could not be reached"),
    ] {
        let text = format!("ERR {said} {TOKEN}\n");
        let error = refused(move || result(line_of(text.as_bytes())))
            .await
            .to_string();
        assert!(error.contains(expected) && error.contains(said), "{error}");
        assert!(!error.contains(TOKEN), "{error}");
    }
    let lines = [
        line_of(b"packfile\n"),
        band(2, b"counting\r"),
        band(3, b"aborting: corrupt\n"),
    ]
    .concat();
    let error = refused(move || result(lines.clone())).await;
    assert!(
        matches!(&error, TransportError::Network { detail } if detail == "aborting: corrupt"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_token_that_is_sent_back_in_an_odd_place_is_in_no_error() {
    let mut errors = Vec::new();
    let line = line_of(format!("{TOKEN} refs/heads/main\n").as_bytes());
    let server = Fake::of_version_2(move || result([&line[..], b"0000"].concat())).await;
    let listed = wire().list(&remote(&server.url), &[branch("main")]).await;
    errors.push(listed.unwrap_err());

    let kind = format!("text/{TOKEN}");
    errors.push(refused(move || told(&kind, "")).await);

    let lines = [
        "version 2",
        "ls-refs",
        "fetch=shallow",
        &format!("object-format={TOKEN}"),
    ]
    .map(|line| line_of(line.as_bytes()))
    .concat();
    let lines = [lines, b"0000".to_vec()].concat();
    let server = Fake::new(move |_| told("application/x-git-upload-pack-advertisement", lines.clone())).await;
    errors.push(wire().speech(&remote(&server.url)).await.unwrap_err());

    let first = format!(
        "{} capabilities^{{}}\0report-status object-format={TOKEN}\n",
        "0".repeat(40)
    );
    let offer = [line_of(first.as_bytes()), b"0000".to_vec()].concat();
    let reports = [
        format!("unpack missing necessary objects {TOKEN}\n"),
        format!("unpack ok\nng refs/heads/p {TOKEN}\n"),
    ];
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let refused =
        pushed_to(move |_| told("application/x-git-receive-pack-advertisement", offer.clone())).await;
    texts.push(refused.unwrap_err().to_string());
    for report in reports {
        let inner: Vec<u8> = report
            .split_inclusive('\n')
            .flat_map(|line| line_of(line.as_bytes()))
            .chain(*b"0000")
            .collect();
        let body = [band(1, &inner), b"0000".to_vec()].concat();
        texts.push(format!(
            "{:?}",
            pushed(move || receive_result(body.clone())).await
        ));
    }
    for text in texts {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[tokio::test]
async fn a_branch_with_a_name_that_is_no_text_hides_no_other() {
    let id = "1".repeat(40);
    let strange = [id.as_bytes(), b" refs/heads/main-\xff\n"].concat();
    let good = format!("{id} refs/heads/main\n");
    let lines = [line_of(&strange), line_of(good.as_bytes()), b"0000".to_vec()].concat();
    let server = Fake::of_version_2(move || result(lines.clone())).await;
    let listed = wire()
        .list(&remote(&server.url), &[branch("main")])
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed["main"].as_str(), id);
}

#[tokio::test]
async fn an_answer_that_breaks_off_anywhere_leaves_nothing() {
    let content: Vec<u8> = (0..3000_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let whole = with_pack(&pack_of(&content));
    let server_cuts: Vec<usize> = (0..whole.len()).step_by(331).chain([whole.len() - 1]).collect();
    let wire = wire();
    let here = Here::new();
    for cut in server_cuts {
        let part = whole[..cut].to_vec();
        let server = Fake::of_version_2(move || result(part.clone())).await;
        let fetched = wire
            .fetch(&remote(&server.url), &here.path(), &want(some()))
            .await;
        let error = fetched.unwrap_err();
        assert!(
            matches!(error, TransportError::Network { .. }),
            "{cut}: {error:?}"
        );
        here.assert_untouched();
    }
}

#[tokio::test]
async fn a_pack_with_a_flaw_anywhere_is_refused_and_leaves_nothing() {
    let pack = pack_of(&[b"some content ".repeat(20), vec![7; 50]].concat());
    let wire = wire();
    let here = Here::new();
    for place in 0..pack.len() {
        let mut flawed = pack.clone();
        flawed[place] ^= 0x10;
        let server = Fake::of_version_2(move || result(with_pack(&flawed))).await;
        let fetched = wire
            .fetch(&remote(&server.url), &here.path(), &want(some()))
            .await;
        let error = fetched.unwrap_err();
        let known = matches!(
            error,
            TransportError::BadAnswer { .. } | TransportError::TooLarge { .. }
        );
        assert!(known, "{place}: {error:?}");
        here.assert_untouched();
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let limits = Limits {
        idle: Duration::from_millis(200),
        ..Limits::default()
    };
    let pack = pack_of(b"some");
    let beginning = [line_of(b"packfile\n"), band(1, &pack[..20])].concat();
    for pieces in [vec![], vec![line_of(b"packfile\n")], vec![beginning]] {
        let error = fetched(limits, move || result(stalled(pieces.clone())))
            .await
            .unwrap_err();
        let expected = matches!(error, TransportError::TimedOut { after } if after == limits.idle);
        assert!(expected, "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_talks_for_ever_is_left() {
    let limits = Limits {
        total: Duration::from_millis(300),
        ..Limits::default()
    };
    // Keep-alive lines of the multiplexed answer.
    let error = fetched(limits, || {
        result(endless(b"000dpackfile\n0005\x020005\x020005\x02000dpackfile"))
    })
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            TransportError::BadAnswer { .. } | TransportError::TimedOut { .. }
        ),
        "{error:?}"
    );
    let error = fetched(limits, || result(endless(b"0005\x02")))
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::BadAnswer { .. }), "{error:?}");
    let small = Limits {
        pack: 0,
        ..Limits::default()
    };
    let lines: &'static [u8] = Box::leak(
        [
            b"0011shallow-info\n".to_vec(),
            b"fff0".to_vec(),
            vec![b'x'; 65_516],
        ]
        .concat()
        .into_boxed_slice(),
    );
    let error = fetched(small, move || result(endless(lines))).await.unwrap_err();
    assert!(matches!(error, TransportError::BadAnswer { .. }), "{error:?}");

    // A list that has no end.
    let line: &'static [u8] = Box::leak(
        line_of(format!("{} refs/heads/main-{}\n", "1".repeat(40), "x".repeat(60_000)).as_bytes())
            .into_boxed_slice(),
    );
    let server = Fake::of_version_2(move || result(endless(line))).await;
    let error = wire()
        .list(&remote(&server.url), &[branch("main")])
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_pack_that_asks_for_too_much_is_refused() {
    let limits = Limits {
        pack: 1000,
        objects: 10,
        object: 1000,
        ..Limits::default()
    };
    let head = |objects: u32| [b"PACK\0\0\0\x02".to_vec(), objects.to_be_bytes().to_vec()].concat();
    let many = with_pack(&head(4_000_000_000));
    let error = fetched(limits, move || result(many.clone())).await.unwrap_err();
    assert!(
        matches!(
            error,
            TransportError::TooLarge {
                what: "objects in one pack",
                most: 10
            }
        ),
        "{error:?}"
    );

    // One that the server may send by itself, and not for this request.
    let one = with_pack(&pack_of(b"some"));
    let server = Fake::of_version_2(move || result(one.clone())).await;
    let here = Here::new();
    let none = Request {
        most_objects: Some(0),
        ..want(some())
    };
    let error = wire()
        .fetch(&remote(&server.url), &here.path(), &none)
        .await
        .unwrap_err();
    assert!(
        matches!(error, TransportError::TooLarge { most: 0, .. }),
        "{error:?}"
    );
    here.assert_untouched();

    // A tree that says that it is of 4 GiB: type 2, and four bytes more of size.
    let large = with_pack(&[head(1), vec![0xaf, 0xff, 0xff, 0xff, 0x7f]].concat());
    let error = fetched(limits, move || result(large.clone())).await.unwrap_err();
    assert!(
        matches!(
            error,
            TransportError::TooLarge {
                what: "bytes in one object",
                most: 1000
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::User);
}

#[tokio::test]
async fn a_dropped_fetch_leaves_nothing() {
    let content: Vec<u8> = (0..300_000_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let whole = with_pack(&pack_of(&content));
    let half = whole[..whole.len() / 2].to_vec();
    let server = Fake::of_version_2(move || result(stalled(vec![half.clone()]))).await;
    let here = Here::new();
    let (wire, remote, request, path) = (wire(), remote(&server.url), want(some()), here.path());
    let is_staged = || {
        std::fs::read_dir(path.join("objects"))
            .unwrap()
            .any(|entry| entry.unwrap().file_name().as_encoded_bytes().starts_with(b"tmp_"))
    };
    {
        let fetch = wire.fetch(&remote, &path, &request);
        tokio::pin!(fetch);
        while !is_staged() {
            let turn = tokio::time::timeout(Duration::from_millis(5), &mut fetch).await;
            assert!(turn.is_err(), "{turn:?}");
        }
    }
    while is_staged() {
        tokio::task::yield_now().await;
    }
    here.assert_untouched();
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_opened_again() {
    let server = Fake::of_version_2(|| {
        let mut told = result(b"0000".to_vec());
        told.headers_mut().insert("connection", "close".parse().unwrap());
        told
    })
    .await;
    let wire = wire();
    for _ in 0..3 {
        assert!(
            wire.list(&remote(&server.url), &[branch("main")])
                .await
                .unwrap()
                .is_empty()
        );
    }
}

/// The first bytes of a connection are those of TLS, and what does not answer in kind gets no request.
#[tokio::test]
async fn the_token_never_travels_in_the_clear_to_an_https_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/a/b.git", listener.local_addr().unwrap());
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut heard)
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n")
            .await
            .unwrap();
        heard
    });
    let error = wire().speech(&remote(&url)).await.unwrap_err();
    if matches!(error, TransportError::NoRootCertificates { .. }) {
        // A machine without any: nothing was sent at all.
        heard.abort();
        return;
    }
    assert!(matches!(error, TransportError::Network { .. }), "{error:?}");
    assert_eq!(heard.await.unwrap()[..2], [0x16, 0x03], "a handshake of TLS");
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_talked_to() {
    let strict = crate::wire::Wire::new(&crate::MirrorsConfig::new("/nonexistent"));
    for url in [
        "http://127.0.0.1:1/a/b.git",
        "https://user:pass@127.0.0.1/a/b.git",
        "https://",
        "ssh://git@127.0.0.1/a",
        "https://127.0.0.1:1/a?b",
        "https://127.0.0.1:1/a#b",
        "https://127.0.0.1:1/\u{e9}\u{7f}",
        "https://127.0.0.1:99999/a",
        "https://127.0.0.1:/a",
    ] {
        let error = strict.speech(&remote(url)).await.unwrap_err();
        assert!(matches!(error, TransportError::Address(_)), "{url}: {error:?}");
    }
}
