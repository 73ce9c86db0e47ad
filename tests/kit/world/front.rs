//! An address for webhooks that stays the same while `serve` comes and goes, as that of a load balancer does.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Passes connections on to where the processes listen, to each in its turn. Without one it hangs up on whoever connects.
#[derive(Debug)]
pub(super) struct Front {
    address: SocketAddr,
    targets: watch::Sender<Vec<SocketAddr>>,
    server: JoinHandle<()>,
}

impl Front {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (targets, where_to) = watch::channel(Vec::new());
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut turn = 0_usize;
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        turn = turn.wrapping_add(1);
                        let target = {
                            let targets = where_to.borrow();
                            targets.get(turn % targets.len().max(1)).copied()
                        };
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
            targets,
            server,
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn point_at(&self, targets: Vec<SocketAddr>) {
        self.targets.send_replace(targets);
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
