//! `lockflight health`: for the health check of an image, which has no other HTTP client.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::configured::runtime;
use crate::cli::HealthArgs;
use crate::exit::Exit;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Asks a process of this machine whether it is ready.
pub(crate) fn run(args: &HealthArgs) -> anyhow::Result<Exit> {
    let Some((address, path)) = parts(&args.url) else {
        bail!("{:?} can't be asked: give it as http://HOST:PORT/PATH", args.url);
    };
    let answer = runtime()?.block_on(async {
        tokio::time::timeout(PATIENCE, ask(&address, &path))
            .await
            .with_context(|| format!("{} did not answer within {PATIENCE:?}", args.url))?
            .with_context(|| format!("{} can't be reached", args.url))
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    writeln!(std::io::stdout(), "{}", body.trim())?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(if status == "200" {
        Exit::Success
    } else {
        Exit::Failed
    })
}

/// Host with port, and path, of an address without TLS.
fn parts(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !plain(host) || !plain(path) {
        return None;
    }
    let address = if host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Some((address, format!("/{path}")))
}

/// One request in the oldest form there is, so that the end of the answer is the end of the connection.
async fn ask(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn an_address_has_host_port_and_path() {
        let is = |url, address: &str, path: &str| {
            assert_eq!(parts(url), Some((address.to_owned(), path.to_owned())), "{url}");
        };
        is("http://127.0.0.1:8080/readyz", "127.0.0.1:8080", "/readyz");
        is("http://[::1]:8080/readyz", "[::1]:8080", "/readyz");
        is("http://ingress", "ingress:80", "/");
        for bad in [
            "https://h/x",
            "127.0.0.1:8080",
            "http://",
            "http://h/a b",
            "http://h\r\nX: y/",
        ] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
