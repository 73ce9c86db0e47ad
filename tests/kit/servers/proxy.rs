//! A network that can be made bad.
//!
//! What it guarantees: bytes arrive in order and unchanged, or not at all. A setting holds for bytes that arrive after it was made;
//! [`TcpProxy::cut`] and [`TcpProxy::reset`] also end the connections that there are. What a frozen connection has taken is kept, and
//! arrives after the thaw.
//!
//! What it ignores: half-closed connections. When one side ends, both end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::port;

/// A proxy in front of a server on loopback. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    weather: watch::Sender<Weather>,
    traffic: Arc<Traffic>,
    server: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    latency: Duration,
    frozen: bool,
    refusing: bool,
    limited: bool,
    /// Connections that were made before the last end of all end.
    ends: u64,
    abrupt: bool,
}

#[derive(Debug, Default)]
struct Traffic {
    accepted: AtomicUsize,
    open: AtomicUsize,
    bytes: AtomicU64,
    /// How many more bytes may pass, while there is a limit.
    allowance: AtomicU64,
}

/// How a connection ended.
enum End {
    Orderly,
    Abrupt,
}

impl TcpProxy {
    /// Starts a proxy in front of a port of loopback. It lives on the runtime that it is started on.
    pub async fn start(target: u16) -> Self {
        let port = port::free();
        let traffic = Arc::new(Traffic::default());
        let (weather, forecast) = watch::channel(Weather::default());
        let listener = listen(port).await;
        let server = tokio::spawn(serve(port, listener, target, forecast, Arc::clone(&traffic)));
        Self {
            port,
            weather,
            traffic,
            server,
        }
    }

    /// Returns the port that clients connect to.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Makes every chunk of bytes wait that long, each way.
    pub fn set_latency(&self, latency: Duration) {
        self.weather.send_modify(|weather| weather.latency = latency);
    }

    /// Lets nothing pass any more, while connections stay and new ones are still accepted: what a host looks like that lost its network.
    pub fn freeze(&self) {
        self.weather.send_modify(|weather| weather.frozen = true);
    }

    /// Ends [`TcpProxy::freeze`].
    pub fn thaw(&self) {
        self.weather.send_modify(|weather| weather.frozen = false);
    }

    /// Ends all connections in order (FIN).
    pub fn cut(&self) {
        self.end_all(false);
    }

    /// Ends all connections at once (RST).
    pub fn reset(&self) {
        self.end_all(true);
    }

    /// Refuses new connections (nobody listens); those that there are stay.
    pub fn refuse(&self) {
        self.weather.send_modify(|weather| weather.refusing = true);
    }

    /// Ends [`TcpProxy::refuse`].
    pub fn accept(&self) {
        self.weather.send_modify(|weather| weather.refusing = false);
    }

    /// Lets so many more bytes pass, both ways and over all connections together; whichever connection would pass another one is reset.
    pub fn limit(&self, bytes: u64) {
        self.traffic.allowance.store(bytes, Ordering::SeqCst);
        self.weather.send_modify(|weather| weather.limited = true);
    }

    /// Ends [`TcpProxy::limit`].
    pub fn unlimit(&self) {
        self.weather.send_modify(|weather| weather.limited = false);
    }

    /// Returns how many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.traffic.accepted.load(Ordering::SeqCst)
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.traffic.open.load(Ordering::SeqCst)
    }

    /// Returns how many bytes have passed, both ways together.
    pub fn bytes(&self) -> u64 {
        self.traffic.bytes.load(Ordering::SeqCst)
    }

    fn end_all(&self, abrupt: bool) {
        self.weather.send_modify(|weather| {
            weather.ends += 1;
            weather.abrupt = abrupt;
        });
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    listener.unwrap_or_else(|error| panic!("the proxy can't listen on its port {port}: {error}"))
}

async fn serve(
    port: u16,
    listener: TcpListener,
    target: u16,
    mut forecast: watch::Receiver<Weather>,
    traffic: Arc<Traffic>,
) {
    let mut listener = Some(listener);
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        let refusing = forecast.borrow_and_update().refusing;
        match (&listener, refusing) {
            (Some(_), true) => listener = None,
            (None, false) => listener = Some(listen(port).await),
            _ => {}
        }
        tokio::select! {
            changed = forecast.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
            Some(client) = accept(listener.as_ref()) => {
                traffic.accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(pass_on(client, target, forecast.clone(), Arc::clone(&traffic)));
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    let (client, _) = listener?.accept().await.ok()?;
    Some(client)
}

async fn pass_on(
    client: TcpStream,
    target: u16,
    mut forecast: watch::Receiver<Weather>,
    traffic: Arc<Traffic>,
) {
    let _open = Open::new(&traffic);
    let born = forecast.borrow_and_update().ends;
    let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], target))).await else {
        client.set_zero_linger().ok();
        return;
    };
    // What a server answers in two small packets has to arrive as soon as without a proxy.
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (mut up, mut down) = ((from_client, to_server), (from_server, to_client));
    let (listening, counting) = (forecast.clone(), &*traffic);
    let ended = async {
        let weather = forecast.wait_for(|weather| weather.ends != born).await;
        weather.map_or(End::Orderly, |weather| {
            if weather.abrupt { End::Abrupt } else { End::Orderly }
        })
    };
    let end = tokio::select! {
        end = pump(&mut up, listening.clone(), counting) => end,
        end = pump(&mut down, listening, counting) => end,
        end = ended => end,
    };
    if let End::Abrupt = end {
        for (_, to) in [up, down] {
            to.as_ref().set_zero_linger().ok();
            // Without this it would say goodbye in order.
            to.forget();
        }
    }
}

/// Passes bytes on until there are no more, or must not be.
async fn pump(
    (from, to): &mut (OwnedReadHalf, OwnedWriteHalf),
    mut forecast: watch::Receiver<Weather>,
    traffic: &Traffic,
) -> End {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) => return End::Orderly,
            Ok(read) => read,
            Err(_) => return End::Abrupt,
        };
        let latency = forecast.borrow().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let Ok(weather) = forecast
            .wait_for(|weather| !weather.frozen)
            .await
            .map(|weather| *weather)
        else {
            return End::Orderly;
        };
        let allowed = if weather.limited { traffic.take(read) } else { read };
        let Some(bytes) = buffer.get(..allowed) else {
            return End::Abrupt;
        };
        if to.write_all(bytes).await.is_err() {
            return End::Abrupt;
        }
        traffic
            .bytes
            .fetch_add(u64::try_from(allowed).unwrap_or(u64::MAX), Ordering::SeqCst);
        if allowed < read {
            return End::Abrupt;
        }
    }
}

impl Traffic {
    /// Takes up to that much of the allowance.
    fn take(&self, wanted: usize) -> usize {
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        let left = |left: u64| Some(left.saturating_sub(wanted));
        let before = self
            .allowance
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        usize::try_from(before.unwrap_or_default().min(wanted)).unwrap_or(usize::MAX)
    }
}

/// Counts a connection while it is open.
struct Open<'t>(&'t Traffic);

impl<'t> Open<'t> {
    fn new(traffic: &'t Traffic) -> Self {
        traffic.open.fetch_add(1, Ordering::SeqCst);
        Self(traffic)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
