//! A server that says what it is told, and names that mean what a test wants.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockflight_outbound::{Cidr, HostPattern, Outbound, OutboundConfig, Resolve, Resolving};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a server does with a connection once it has read the head of a request.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Writes this, and closes.
    Say(String),
    /// Writes a byte every few milliseconds, for ever.
    Drip(&'static str),
    /// Writes this, then the same filling without an end.
    Flood(&'static str),
    /// Says nothing, and keeps the connection.
    Silence,
}

/// A server on a loopback address. It ends with its value.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(script: Script) -> Self {
        Self::start_on("127.0.0.1:0", script).await
    }

    pub(crate) async fn start_on(address: &str, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(play(stream, script.clone(), Arc::clone(&seen)));
            }
        });
        Self {
            address,
            heads,
            _tasks: tasks,
        }
    }

    /// The heads of the requests that arrived, each as it came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Reads up to the empty line that ends a head.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn play(mut stream: TcpStream, script: Script, heads: Arc<Mutex<Vec<String>>>) {
    let read = head(&mut stream).await;
    heads.lock().unwrap().push(read);
    // The other side leaves when it has had enough: what can't be written then is what is tested.
    match script {
        Script::Say(text) => {
            drop(stream.write_all(text.as_bytes()).await);
            drop(stream.shutdown().await);
        }
        Script::Drip(text) => {
            for byte in text.bytes().chain(std::iter::repeat(b' ')) {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Script::Flood(text) => {
            let filling = [b'a'; 8192];
            drop(stream.write_all(text.as_bytes()).await);
            while stream.write_all(&filling).await.is_ok() {}
        }
        Script::Silence => {
            // Ends when the other side closes.
            drop(stream.read_u8().await);
        }
    }
}

/// An answer with a body.
pub(crate) fn answer(status: &str, headers: &[&str], body: &str) -> Script {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    Script::Say(format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// 200 with JSON.
pub(crate) fn says(body: &str) -> Script {
    answer("200 OK", &["Content-Type: application/json"], body)
}

/// Says one list of addresses after another; the last one again and again. Nothing of a list: the name does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    answers: Arc<Mutex<Vec<Vec<IpAddr>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    pub(crate) fn saying(answers: &[&[&str]]) -> Self {
        let parsed = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        Self {
            answers: Arc::new(Mutex::new(answers.iter().map(parsed).collect())),
            asked: Arc::default(),
        }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let found = if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers.first().cloned().unwrap_or_default()
        };
        Box::pin(async move {
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "no such name"));
            }
            Ok(found)
        })
    }
}

/// A configuration that allows these hosts, and loopback addresses.
pub(crate) fn allowing(hosts: &[&str]) -> OutboundConfig {
    OutboundConfig {
        allowed_hosts: hosts
            .iter()
            .map(|host| HostPattern::parse(host).unwrap())
            .collect(),
        allow_private: vec![Cidr::parse("127.0.0.0/8").unwrap(), Cidr::parse("::1").unwrap()],
        deadline: Duration::from_secs(30),
        ..OutboundConfig::default()
    }
}

/// A client for which `gate.example.com` is the server on this machine.
pub(crate) fn client(server: &Server) -> Outbound {
    client_with(server, |_| {})
}

pub(crate) fn client_with(server: &Server, change: impl FnOnce(&mut OutboundConfig)) -> Outbound {
    let mut config = allowing(&[&format!("http://gate.example.com:{}", server.port())]);
    change(&mut config);
    Outbound::with_resolver(config, Names::saying(&[&["127.0.0.1"]])).unwrap()
}

/// An address at that name.
pub(crate) fn url(server: &Server, path: &str) -> String {
    format!("http://gate.example.com:{}{path}", server.port())
}
