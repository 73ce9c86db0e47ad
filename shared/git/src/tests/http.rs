//! The whole way over git's own smart HTTP, with a token.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{path, spec};
use crate::testing::{Edit, REPO, Upstream, branch, lease};
use crate::{
    Credentials, FetchError, Mirror, Mirrors, PlainHttp, PushOutcome, RefUpdate, Remote, TransportError,
};

/// Serves the repositories below `root` by `git http-backend` to whoever has the token.
async fn serve(root: PathBuf, token: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, root.clone(), token));
        }
    });
    format!("http://{address}")
}

async fn answer(stream: TcpStream, root: PathBuf, token: &'static str) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap() == 0 || line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let Some(request) = head.first() else {
        return;
    };
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (place, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| {
        head.iter()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    };
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
    if header("authorization") != format!("Basic {expected}") {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        return;
    }
    assert_eq!(header("transfer-encoding"), "", "these pushes are small");
    let length: usize = header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();

    let mut backend = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "x-access-token")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", place)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", length.to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = backend.stdin.take().unwrap();
    tokio::spawn(async move { stdin.write_all(&body).await });
    let output = backend.wait_with_output().await.unwrap().stdout;
    let status = output
        .strip_prefix(b"Status: ")
        .and_then(|rest| rest.split(|byte| *byte == b'\r').next())
        .map_or("200 OK".into(), |status| {
            String::from_utf8_lossy(status).into_owned()
        });
    let first = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    stream.write_all(first.as_bytes()).await.unwrap();
    stream.write_all(&output).await.unwrap();
    stream.shutdown().await.ok();
}

fn mirror(upstream: &Upstream, url: &str, root: &str, token: &str) -> Mirror {
    let mut config = upstream.mirrors_config();
    config.root = Path::new(&config.root).join(root);
    config.plain_http = PlainHttp::Loopback;
    config.allow_file = false;
    let remote = Remote {
        url: format!("{url}/upstream.git"),
        credentials: Some(Credentials::token(SecretString::from(token))),
    };
    Mirrors::new(config).unwrap().open(REPO, remote)
}

#[tokio::test]
async fn a_promotion_travels_over_http_with_a_token() {
    let upstream = Upstream::new();
    let main = upstream.push(
        "main",
        "one",
        &[Edit::File("src/c/f", "1"), Edit::File("dst/c/f", "0")],
    );
    upstream.git(&["config", "http.receivepack", "true"]);
    let url = serve(upstream.path().parent().unwrap().to_owned(), "s3cret").await;

    let worker = mirror(&upstream, &url, "worker", "s3cret");
    let fetched = worker.fetch(&branch("main"), &main).await.unwrap();
    assert!(fetched.bytes > 0);
    assert_eq!(
        worker.blob(&main, &path("src/c/f"), 9).await.unwrap().unwrap(),
        b"1"
    );
    assert_eq!(worker.fetch_branch(&branch("nope")).await.unwrap(), None);
    let tree = upstream.tree(&main, "src/c");
    let made = worker
        .commit(spec(&main, &[("dst/c", Some(&tree))]))
        .await
        .unwrap();
    let update = RefUpdate {
        branch: branch("promotions/1"),
        expected: None,
        new: Some(made.oid.clone()),
    };
    for outcome in [PushOutcome::Pushed, PushOutcome::AlreadyThere] {
        assert_eq!(
            worker
                .push(&lease(), std::slice::from_ref(&update))
                .await
                .unwrap(),
            [outcome]
        );
    }
    assert_eq!(upstream.head("promotions/1"), Some(made.oid));
    let theirs = upstream.push("promotions/1", "by hand", &[Edit::File("x", "1")]);
    let moved = PushOutcome::Moved { actual: Some(theirs) };
    assert_eq!(worker.push(&lease(), &[update]).await.unwrap(), [moved]);

    let stranger = mirror(&upstream, &url, "stranger", "wrong");
    let error = stranger.fetch(&branch("main"), &main).await.unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Transport {
                source: TransportError::AuthenticationFailed { .. },
                ..
            }
        ),
        "{error:?}"
    );
}
