//! An address for webhooks that stays the same while `serve` comes and goes, as that of a load balancer does.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Passes connections on to where `serve` listens. Without one it hangs up on whoever connects.
#[derive(Debug)]
pub(super) struct Front {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    server: JoinHandle<()>,
}

impl Front {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (target, where_to) = watch::channel(None);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let target = *where_to.borrow();
                        if let (Ok((client, _)), Some(target)) = (accepted, target) {
                            connections.spawn(pass_on(client, target));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self {
            address,
            target,
            server,
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn point_at(&self, target: Option<SocketAddr>) {
        self.target.send_replace(target);
    }
}

async fn pass_on(mut client: TcpStream, target: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(target).await {
        // Either side may go away at any time; that is what some stories are about.
        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}
