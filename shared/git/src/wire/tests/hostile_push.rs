//! Pushing to a server that does what it should not.

use axum::body::Body;
use git2::ObjectType;

use super::fake::{Fake, Told, band, line_of, receive_offer, receive_result};
use super::{Here, remote, wire};
use crate::testing::{REPO, branch, lease};
use crate::{PushError, RefUpdate, TransportError};

/// Pushes the removal of nothing to a server that answers so.
pub(super) async fn pushed(
    answer: impl Fn() -> Told + Send + Sync + 'static,
) -> Result<crate::push_report::Report, PushError> {
    pushed_to(move |number| if number == 0 { receive_offer() } else { answer() }).await
}

pub(super) async fn pushed_to(
    answer: impl Fn(usize) -> Told + Send + Sync + 'static,
) -> Result<crate::push_report::Report, PushError> {
    let server = Fake::new(answer).await;
    push_one(&server).await
}

async fn push_one(server: &Fake) -> Result<crate::push_report::Report, PushError> {
    let here = Here::new();
    let id = here
        .repo()
        .odb()
        .unwrap()
        .write(ObjectType::Blob, b"some")
        .unwrap();
    let update = RefUpdate {
        branch: branch("p"),
        expected: None,
        new: lockflight_promotion::CommitOid::parse(id.to_string()).ok(),
    };
    wire()
        .push(
            &remote(&server.url),
            &here.path(),
            &lease(),
            REPO,
            &[update],
            &[id],
        )
        .await
}

#[tokio::test]
async fn a_push_that_is_not_reported_on_is_a_failure() {
    let report = |lines: &[&[u8]]| {
        let inner: Vec<u8> = lines
            .iter()
            .flat_map(|line| line_of(line))
            .chain(*b"0000")
            .collect();
        [band(1, &inner), b"0000".to_vec()].concat()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("an end", b"0000".to_vec()),
        ("no word of the pack", report(&[b"ok refs/heads/p\n"])),
        ("no word at all", report(&[])),
        ("half a report", band(1, &line_of(b"unpack ok\n"))),
        ("a broken frame", band(1, b"zzzz")),
        ("what is no text", report(&[&[0xff, b' ', 0xfe]])),
        ("the end of its wits", band(3, b"out of memory")),
    ];
    for (name, body) in cases {
        let failed = pushed(move || receive_result(body.clone())).await.unwrap_err();
        let bad = matches!(
            &failed,
            PushError::Transport(TransportError::BadAnswer { .. } | TransportError::Network { .. })
        );
        assert!(bad, "{name}: {failed:?}");
    }
    let cut_anywhere = [
        band(2, b"hello\n"),
        band(1, &line_of(b"unpack ok\n")[..7]),
        band(1, &line_of(b"unpack ok\n")[7..]),
        band(
            1,
            &[
                line_of(b"ok refs/heads/p\n"),
                line_of(b"ok refs/heads/other\n"),
                line_of(b"option refname x\n"),
                b"00".to_vec(),
            ]
            .concat(),
        ),
        band(1, b"00"),
        b"0000".to_vec(),
    ]
    .concat();
    let report = pushed(move || receive_result(cut_anywhere.clone()))
        .await
        .unwrap();
    assert_eq!(report.refs.len(), 1);
    assert_eq!((report.refs[0].flag, report.server.as_str()), (' ', "hello"));
}

#[tokio::test]
async fn a_push_is_never_sent_twice() {
    let server = Fake::new(|number| {
        if number == 0 {
            receive_offer()
        } else {
            receive_result(Body::from_stream(futures::stream::once(async {
                Err::<bytes::Bytes, _>(std::io::Error::other("broken off"))
            })))
        }
    })
    .await;
    let pushed = push_one(&server).await;
    assert!(
        matches!(pushed, Err(PushError::Transport(TransportError::Network { .. }))),
        "{pushed:?}"
    );
    assert_eq!(server.asked.lock().unwrap().len(), 2);
}
