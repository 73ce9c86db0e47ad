//! Connects, and leaves nothing behind when that takes too long.
//!
//! The client reads and writes on a thread of its own. While that waits for the broker's first words it waits without end, whoever asked for the
//! connection having long gone; so each attempt at a broker that accepts and stays silent would leave a thread and a socket behind. Here the
//! socket is kept at hand until the connection stands, and shut down otherwise: then the thread ends.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::AMQPScheme;
use lapin::{Connection, ConnectionProperties};

use super::options::AmqpUri;
use crate::BackendError;

/// Connects, within twice the time that a TCP connection may take.
///
/// # Errors
/// When that fails, or takes longer.
pub(super) async fn dial(uri: &AmqpUri, name: &str) -> Result<Connection, BackendError> {
    let properties =
        ConnectionProperties::default().with_connection_name(format!("lockflight {name}").into());
    let runtime = lapin::runtime::default_runtime().map_err(BackendError::new)?;
    let limit = uri.connection_timeout();
    let attempt = Attempt::default();
    let socket = Arc::clone(&attempt.socket);
    let connecting = Connection::connector(
        uri.expose(),
        runtime,
        async move |uri, runtime| {
            let address = (uri.authority.host.clone(), uri.authority.port);
            let open = async {
                let stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs(address)).await?;
                if let AsyncTcpStream::Plain(stream) = &stream {
                    let same = stream.get_ref().as_fd().try_clone_to_owned()?;
                    socket.keep(TcpStream::from(same))?;
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => {
                        let config = OwnedTLSConfig::default();
                        stream.into_tls(&uri.authority.host, config.as_ref()).await
                    }
                }
            };
            let opened = tokio::time::timeout(limit, open).await;
            let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            opened.map_err(lapin::Error::from)
        },
        properties,
    );
    match tokio::time::timeout(limit * 2, connecting).await {
        Ok(Ok(connection)) => {
            attempt.socket.let_go();
            Ok(connection)
        }
        Ok(Err(error)) => Err(BackendError::new(error)),
        Err(_) => Err(BackendError::new(SilentBroker(limit * 2))),
    }
}

/// The broker accepts connections, and says nothing.
#[derive(Debug, thiserror::Error)]
#[error("it did not answer within {0:?}")]
struct SilentBroker(Duration);

/// An attempt to connect. When it is dropped before it succeeded, nothing is left of it.
#[derive(Debug, Default)]
struct Attempt {
    socket: Arc<Socket>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.socket.shut_down();
    }
}

#[derive(Debug, Default)]
struct Socket(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// There is no socket yet.
    #[default]
    None,
    /// The same as the client's.
    Open(TcpStream),
    /// The connection stands: it is the client's alone.
    Connected,
    /// Nobody wants it any more.
    Abandoned,
}

impl Socket {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// # Errors
    /// When nobody wants it any more.
    fn keep(&self, stream: TcpStream) -> io::Result<()> {
        self.with(|state| {
            if matches!(state, State::Abandoned) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            *state = State::Open(stream);
            Ok(())
        })
    }

    fn let_go(&self) {
        self.with(|state| *state = State::Connected);
    }

    fn shut_down(&self) {
        self.with(|state| {
            if matches!(state, State::Connected) {
                return;
            }
            if let State::Open(stream) = std::mem::replace(state, State::Abandoned) {
                // It may have ended already.
                drop(stream.shutdown(Shutdown::Both));
            }
        });
    }
}

#[cfg(test)]
mod tests;
