use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockflight_promotion::ErrorClass;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::fetch::script;
use crate::testing::{REPO, Upstream, branch};
use crate::transport::Transport;
use crate::{Credentials, Mirrors, PlainHttp, Remote, TransportError};

const TOKEN: &str = "ghs_c4n4ry+t0ken/x";

/// A server that answers each request with `answer` and hands out what it was asked.
async fn server(answer: String) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            requests.send(String::from_utf8_lossy(&request).into_owned()).ok();
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    (format!("http://{address}/owner/name.git"), received)
}

/// The spawned git alone, which remotes that do not speak version 2 of git's protocol are left to.
struct Spawned {
    transport: Transport,
    dir: PathBuf,
    _mirrors: Mirrors,
}

impl Spawned {
    fn new(upstream: &Upstream, git: &Path) -> Self {
        let mut config = upstream.mirrors_config();
        config.git = git.to_owned();
        config.plain_http = PlainHttp::Loopback;
        config.timeout = Duration::from_secs(30);
        let (root, home) = (config.root.clone(), config.root.join("home"));
        let transport = Transport::new(&config, root.clone(), home);
        let mirrors = Mirrors::new(config).unwrap();
        let dir = root.join(format!("{REPO}.git"));
        git2::Repository::init_bare(&dir).unwrap();
        Self {
            transport,
            dir,
            _mirrors: mirrors,
        }
    }

    async fn list(&self, remote: &Remote) -> Result<(), TransportError> {
        let main = branch("main");
        self.transport
            .list(remote, std::slice::from_ref(&main))
            .await
            .map(drop)
    }

    async fn fetch(&self, remote: &Remote) -> Result<(), TransportError> {
        let main = branch("main");
        let fetched = self
            .transport
            .fetch(&self.dir, remote, &main, "refs/lockflight/x");
        fetched.await.map(drop)
    }
}

/// A remote with that token.
fn with_token(url: String, token: &str) -> Remote {
    let credentials = Some(Credentials::token(SecretString::from(token)));
    Remote { url, credentials }
}

/// All texts of an error and its sources, and its debug form.
fn texts(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error:?}");
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&format!("\n{error}"));
        next = error.source();
    }
    text
}

/// What a token looks like in a header.
fn basic_of(token: &str) -> String {
    base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("x-access-token:{token}"),
    )
}

fn assert_no_secret(text: &str) {
    let user = "x-access-token:ghs_c4n4ry+t0ken/x";
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, user);
    for form in [TOKEN, "ghs_c4n4ry%2Bt0ken%2Fx", "c4n4ry", &encoded] {
        assert!(!text.contains(form), "{form} in {text}");
    }
}

#[tokio::test]
async fn the_token_is_in_no_argument_and_no_error() {
    let upstream = Upstream::new();
    let seen = tempfile::tempdir().unwrap();
    // Notes how it was started, and says all it knows on its standard error: git under a bad star.
    let wrapper = script(
        seen.path(),
        &format!(
            "tr '\\0' '\\n' < /proc/$$/cmdline >> {dir}/argv; env >> {dir}/environment; env >&2; \
             [ \"$1\" = --version ] || cat /proc/self/fd/3 >&2; exec git \"$@\"",
            dir = seen.path().display()
        ),
    );
    let (url, mut requests) =
        server("HTTP/1.1 401 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()).await;
    let (spawned, remote) = (Spawned::new(&upstream, &wrapper), with_token(url, TOKEN));
    for answer in [spawned.fetch(&remote).await, spawned.list(&remote).await] {
        let error = answer.unwrap_err();
        assert!(
            matches!(&error, TransportError::AuthenticationFailed { .. }),
            "{error:?}"
        );
        assert_no_secret(&texts(&error));
    }
    assert_no_secret(&format!("{remote:?} {:?}", spawned.transport));

    let argv = std::fs::read_to_string(seen.path().join("argv")).unwrap();
    assert!(argv.contains("fetch") && argv.contains("ls-remote"), "{argv}");
    assert_no_secret(&argv);
    let environment = std::fs::read_to_string(seen.path().join("environment")).unwrap();
    assert!(
        environment.contains("GIT_CONFIG_GLOBAL=/proc/self/fd/3"),
        "{environment}"
    );
    assert_no_secret(&environment);
    let request = requests.recv().await.unwrap().to_lowercase();
    let encoded = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("x-access-token:{TOKEN}"),
    );
    assert!(
        request.contains(&format!("authorization: basic {}", encoded.to_lowercase())),
        "{request}"
    );
    // Nothing of it is left on disk.
    for entry in std::fs::read_dir(&spawned.dir).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_file() {
            assert_no_secret(&String::from_utf8_lossy(&std::fs::read(entry).unwrap()));
        }
    }
}

/// Children of three remotes are started side by side, over and over: each may see its own token, and none sees another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_is_seen_by_its_own_child_alone() {
    const ROUNDS: usize = 12;
    let upstream = Upstream::new();
    let seen = tempfile::tempdir().unwrap();
    // Writes down every file in memory that it has open, and every setting that git reads, under the address that it was to talk to.
    let wrapper = script(
        seen.path(),
        &format!(
            "[ \"$1\" = --version ] && exec git --version; \
             for last in \"$@\"; do case $last in http*|/*) url=$last;; esac; done; \
             out={dir}/seen-$$-$(basename $url); ls -l /proc/self/fd > $out.fds; \
             for fd in /proc/self/fd/*; do case $(readlink $fd) in *memfd*) cat $fd >> $out;; esac; done; \
             git config --list >> $out; exit 1",
            dir = seen.path().display()
        ),
    );
    let spawned = Arc::new(Spawned::new(&upstream, &wrapper));
    let remotes = [
        with_token("http://127.0.0.1:9/one".into(), "first-t0ken"),
        with_token("http://127.0.0.1:9/two".into(), "second-t0ken"),
        upstream.remote(),
    ];
    let mut children = tokio::task::JoinSet::new();
    for _ in 0..ROUNDS {
        for remote in remotes.clone() {
            let spawned = Arc::clone(&spawned);
            children.spawn(async move { spawned.list(&remote).await.is_err() });
        }
    }
    assert!(children.join_all().await.into_iter().all(|failed| failed));

    let (first, second) = (basic_of("first-t0ken"), basic_of("second-t0ken"));
    let mut looked = 0;
    for entry in std::fs::read_dir(seen.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        if !name.starts_with("seen-") {
            continue;
        }
        let is = |end: &str| name.contains(end);
        if is(".fds") {
            // Input, outputs, its own listing, and at most one secret.
            let secrets = text.matches("memfd:").count();
            assert_eq!(secrets, usize::from(is("-one") || is("-two")), "{name}: {text}");
            continue;
        }
        looked += 1;
        assert_eq!(text.contains(&first), is("-one"), "{name}: {text}");
        assert_eq!(text.contains(&second), is("-two"), "{name}: {text}");
    }
    assert_eq!(looked, 3 * ROUNDS);
}

#[tokio::test]
async fn an_address_is_never_an_option() {
    let upstream = Upstream::new();
    let mut config = upstream.mirrors_config();
    config.plain_http = PlainHttp::Loopback;
    let mirrors = Mirrors::new(config).unwrap();
    for url in [
        "--upload-pack=touch pwned",
        "-oProxyCommand=x",
        "ext::sh -c true",
        "ssh://-oProxyCommand=x/y",
        "git@host:a/b",
        "fd::3",
        "http://user:password@127.0.0.1/a",
        "https://",
        "/a\nb",
        "relative/path",
    ] {
        let remote = Remote {
            url: url.into(),
            credentials: None,
        };
        let mirror = mirrors.open(REPO, remote);
        let error = mirror.remote_branch(&branch("main")).await.unwrap_err();
        assert!(matches!(error, TransportError::Address(_)), "{url}: {error:?}");
        assert_eq!(error.class(), ErrorClass::User, "{url}");
    }
    for name in [
        "-x",
        "--all",
        "a..b",
        "a b",
        "refs/heads/../x",
        "a\u{7f}",
        "@{-1}",
    ] {
        assert!(lockflight_promotion::BranchName::parse(name).is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_child_has_a_fixed_environment_and_reads_no_configuration() {
    let upstream = Upstream::new();
    let seen = tempfile::tempdir().unwrap();
    let dir = seen.path().display();
    let wrapper = script(
        seen.path(),
        &format!("env > {dir}/environment; git config --list > {dir}/config; exit 1"),
    );
    let mut config = upstream.mirrors_config();
    config.git = script(
        seen.path(),
        &format!(
            "[ \"$1\" = --version ] && exec git --version; exec {} \"$@\"",
            wrapper.display()
        ),
    );
    let mirror = Mirrors::new(config).unwrap().open(REPO, upstream.remote());
    assert!(mirror.remote_branch(&branch("main")).await.is_err());
    let environment = std::fs::read_to_string(seen.path().join("environment")).unwrap();
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        // The shell adds the last three.
        let known = ["PATH", "HOME", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name)
            || name.starts_with("GIT_");
        assert!(known, "{line}");
    }
    let settings = std::fs::read_to_string(seen.path().join("config")).unwrap();
    for setting in [
        "protocol.allow=never",
        "protocol.file.allow=always",
        "protocol.http.allow=never",
        "protocol.https.allow=never",
        "http.followredirects=false",
        "core.hookspath=/dev/null",
        "transfer.fsckobjects=true",
        "gc.auto=0",
        "core.protecthfs=true",
        "core.protectntfs=true",
        "transfer.credentialsinurl=die",
        "credential.helper=",
    ] {
        assert!(settings.contains(setting), "{setting} in {settings}");
    }
    assert!(!settings.contains("user."), "{settings}");
}

#[tokio::test]
async fn answers_of_a_server_are_told_apart() {
    for (status, is) in [
        (
            "403 Forbidden",
            (|error| matches!(error, TransportError::Forbidden { .. })) as fn(&TransportError) -> bool,
        ),
        ("404 Not Found", |error| {
            matches!(error, TransportError::NotFound { .. })
        }),
        ("429 Too Many Requests", |error| {
            matches!(error, TransportError::Network { .. })
        }),
        ("500 Oh", |error| matches!(error, TransportError::Network { .. })),
        ("503 Later", |error| {
            matches!(error, TransportError::Network { .. })
        }),
    ] {
        let upstream = Upstream::new();
        let (url, _requests) = server(format!(
            "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let spawned = Spawned::new(&upstream, Path::new("git"));
        let error = spawned.list(&with_token(url, TOKEN)).await.unwrap_err();
        assert!(is(&error), "{status}: {error:?}");
    }
    // Nobody listens.
    let upstream = Upstream::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let spawned = Spawned::new(&upstream, Path::new("git"));
    let remote = with_token(format!("http://127.0.0.1:{port}/a/b"), TOKEN);
    let error = spawned.list(&remote).await.unwrap_err();
    assert!(matches!(error, TransportError::Network { .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_takes_the_token_nowhere() {
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let upstream = Upstream::new();
        let (elsewhere, mut stolen) =
            server("HTTP/1.1 404 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()).await;
        let (url, mut requests) = server(format!(
            "HTTP/1.1 {status}\r\nLocation: {elsewhere}/info/refs?service=git-upload-pack\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let (spawned, remote) = (Spawned::new(&upstream, Path::new("git")), with_token(url, TOKEN));
        let fetched = spawned.fetch(&remote).await;
        let listed = spawned.list(&remote).await;

        // Both conversations are over, so what was sent has arrived.
        assert!(
            requests
                .try_recv()
                .unwrap()
                .to_lowercase()
                .contains("authorization: basic")
        );
        assert_eq!(stolen.try_recv().ok(), None, "{status}");
        for error in [fetched.unwrap_err(), listed.unwrap_err()] {
            assert!(matches!(error, TransportError::Redirected { .. }), "{error:?}");
            assert_eq!(error.class(), ErrorClass::Retry);
            assert!(error.to_string().contains("renamed"), "{error}");
            assert_no_secret(&texts(&error));
        }
    }
}

#[tokio::test]
async fn git_speaks_the_protocol_of_the_address_and_no_other() {
    let all = ["https", "http", "file"];
    for (url, spoken) in [
        ("https://127.0.0.1:1/a/b", "https"),
        ("http://127.0.0.1:1/a/b", "http"),
        ("/a/b", "file"),
    ] {
        let upstream = Upstream::new();
        let seen = tempfile::tempdir().unwrap();
        let git = script(
            seen.path(),
            &format!(
                "[ \"$1\" = --version ] && exec git --version; git config --list > {}/config; exit 1",
                seen.path().display()
            ),
        );
        let remote = Remote {
            url: url.into(),
            credentials: None,
        };
        assert!(Spawned::new(&upstream, &git).list(&remote).await.is_err());
        let settings = std::fs::read_to_string(seen.path().join("config")).unwrap();
        for protocol in all {
            let allowed = if protocol == spoken { "always" } else { "never" };
            let setting = format!("protocol.{protocol}.allow={allowed}");
            assert!(settings.contains(&setting), "{url}: {setting} in {settings}");
        }
    }
}

#[tokio::test]
async fn a_list_that_is_cut_short_proves_no_absence() {
    let upstream = Upstream::new();
    let seen = tempfile::tempdir().unwrap();
    // The branch comes after more than a MiB of others.
    let mut config = upstream.mirrors_config();
    config.git = script(
        seen.path(),
        "[ \"$1\" = --version ] && exec git --version; \
         id=1111111111111111111111111111111111111111; \
         yes \"$id\trefs/x/refs/heads/main\" | head -n 20000; echo \"$id\trefs/heads/main\"",
    );
    let mirror = Mirrors::new(config).unwrap().open(REPO, upstream.remote());
    let error = mirror.remote_branch(&branch("main")).await.unwrap_err();
    assert!(matches!(error, TransportError::TooMuchOutput { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
}

#[tokio::test]
async fn a_child_that_hangs_is_killed_with_all_it_started() {
    let upstream = Upstream::new();
    let seen = tempfile::tempdir().unwrap();
    let pids = seen.path().join("pids");
    // A child and a grandchild that would live for ten minutes.
    let git = script(
        seen.path(),
        &format!(
            "[ \"$1\" = --version ] && exec git --version; sleep 600 & echo $! $$ >> {}; wait",
            pids.display()
        ),
    );
    let mut config = upstream.mirrors_config();
    config.git = git;
    config.timeout = Duration::from_millis(300);
    let mirror = Mirrors::new(config).unwrap().open(REPO, upstream.remote());
    let error = mirror.remote_branch(&branch("main")).await.unwrap_err();
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error:?}");
    let started = std::fs::read_to_string(&pids).unwrap();
    let started: Vec<u32> = started
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(started.len(), 2);
    tokio::time::timeout(Duration::from_secs(20), async {
        // The kernel takes a moment; a zombie that nobody reaped yet is dead all the same.
        while started.iter().any(|pid| is_alive(*pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("both are gone");
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit(") ").next().map(|rest| !rest.starts_with('Z')))
        .unwrap_or(false)
}
