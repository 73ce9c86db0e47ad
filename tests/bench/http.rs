//! A client that keeps its connection, and the loads that are made with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use hmac::{Hmac, Mac as _};
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One connection, one request at a time.
pub(crate) struct Client {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket has this option");
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .expect("the server speaks HTTP");
        // Ends with the sender, or with the server.
        drop(tokio::spawn(connection));
        Self { address, sender }
    }

    /// Sends a request, to whose headers it adds the host; the status and the body.
    pub(crate) async fn send(&mut self, mut request: Request<Full<Bytes>>) -> (u16, Bytes) {
        if self.sender.ready().await.is_err() {
            *self = Self::connect(self.address).await;
        }
        let host = self.address.to_string().parse().expect("an address is a header");
        request.headers_mut().insert(header::HOST, host);
        let answer = self
            .sender
            .send_request(request)
            .await
            .expect("the server answers");
        let status = answer.status().as_u16();
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("the server ends its answer");
        (status, body.to_bytes())
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, Bytes) {
        let request = Request::get(path).body(Full::default());
        self.send(request.expect("this is a request")).await
    }
}

/// A merged pull request's webhook as the forge sent it, to be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    pub(crate) guid: String,
    pub(crate) body: Bytes,
    signature: String,
}

impl Webhook {
    pub(crate) fn new(guid: &str, body: Bytes, secret: &str) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
        mac.update(&body);
        Self {
            guid: guid.to_owned(),
            signature: format!("sha256={:x}", mac.finalize().into_bytes()),
            body,
        }
    }

    /// The same under another delivery id.
    pub(crate) fn under(&self, guid: String) -> Self {
        Self { guid, ..self.clone() }
    }

    pub(crate) fn request(&self) -> Request<Full<Bytes>> {
        let request = Request::post("/webhook")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "GitHub-Hookshot/0000000")
            .header("X-GitHub-Event", "pull_request")
            .header("X-GitHub-Delivery", &self.guid)
            .header("X-Hub-Signature-256", &self.signature)
            .body(Full::new(self.body.clone()));
        request.expect("these are headers")
    }
}

/// A delivery id that was not there before.
pub(crate) fn fresh_guid() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-0000-4000-8000-{count:012x}", std::process::id())
}

/// An answer to one webhook of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// When it was there, from the start of the load.
    pub(crate) at: Duration,
    /// From when it was due.
    pub(crate) took: Duration,
}

/// How a load is put on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each connection sends its next webhook as soon as the last is answered.
    Closed,
    /// So many in a second in all, whether or not the last is answered: what is late counts from when it was due.
    Open(f64),
}

/// A connection on which one webhook is sent again and again. Its bytes are made once, and only the delivery's id changes in them, so that
/// the load takes as little as it can from the processors that the measured process shares with it.
struct Sender {
    address: SocketAddr,
    stream: TcpStream,
    head: Vec<u8>,
    /// Where the delivery's id stands in the head.
    guid: std::ops::Range<usize>,
    body: Bytes,
    answer: Vec<u8>,
}

impl Sender {
    async fn connect(address: SocketAddr, webhook: &Webhook) -> Self {
        let head = format!(
            "POST /webhook HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nuser-agent: GitHub-Hookshot/0000000\r\n\
             x-github-event: pull_request\r\nx-hub-signature-256: {}\r\ncontent-length: {}\r\nx-github-delivery: ",
            webhook.signature,
            webhook.body.len(),
        );
        let mut head = head.into_bytes();
        let from = head.len();
        head.extend_from_slice(fresh_guid().as_bytes());
        let guid = from..head.len();
        head.extend_from_slice(b"\r\n\r\n");
        Self {
            address,
            stream: opened(address).await,
            head,
            guid,
            body: webhook.body.clone(),
            answer: Vec::with_capacity(4_096),
        }
    }

    /// Sends it once more under an id that was not there before: the status of the answer.
    async fn send(&mut self) -> u16 {
        if let Some(place) = self.head.get_mut(self.guid.clone()) {
            place.copy_from_slice(fresh_guid().as_bytes());
        }
        let mut request = Buf::chain(self.head.as_slice(), self.body.clone());
        // One who is refused before all is sent may find the connection closed, and the answer in it.
        drop(self.stream.write_all_buf(&mut request).await);
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await;
            let ended = !matches!(read, Ok(1..));
            if let Some(answer) = Answer::read(&self.answer) {
                if ended || answer.last {
                    self.stream = opened(self.address).await;
                }
                return answer.status;
            }
            assert!(!ended, "the server answers");
        }
    }
}

async fn opened(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a socket has this option");
    stream
}

/// What there is to know of an answer that has come whole.
struct Answer {
    status: u16,
    /// Whether the server closes the connection behind it.
    last: bool,
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
        let (head, body) = (bytes.get(..head)?, bytes.get(head + 4..)?);
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let (mut length, mut last) = (0, false);
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().ok()?;
            }
            last |= name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close");
        }
        (body.len() >= length).then_some(Self { status, last })
    }
}

/// Sends a webhook again and again under fresh ids, until `end`; what has been begun by then is finished.
pub(crate) async fn load(
    address: SocketAddr,
    webhook: &Webhook,
    connections: usize,
    pace: Pace,
    end: impl Future<Output = ()>,
) -> Vec<Answered> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Sender::connect(address, webhook).await);
    }
    let turn = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let begin = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for mut client in clients {
        let (turn, over) = (Arc::clone(&turn), Arc::clone(&over));
        senders.spawn(async move {
            let mut answers = Vec::new();
            loop {
                let due = match pace {
                    Pace::Closed => begin.elapsed(),
                    #[expect(clippy::cast_precision_loss, reason = "there are far fewer")]
                    Pace::Open(rate) => {
                        Duration::from_secs_f64(turn.fetch_add(1, Ordering::Relaxed) as f64 / rate)
                    }
                };
                if matches!(pace, Pace::Open(_)) {
                    tokio::time::sleep_until((begin + due).into()).await;
                }
                if over.load(Ordering::Relaxed) {
                    return answers;
                }
                let status = client.send().await;
                let at = begin.elapsed();
                answers.push(Answered {
                    status,
                    at,
                    took: at.saturating_sub(due),
                });
            }
        });
    }
    end.await;
    over.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    while let Some(answers) = senders.join_next().await {
        all.extend(answers.expect("a sender does not fail"));
    }
    all
}
