//! Ports that stay ours while a server is down.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that Linux gives to whoever asks for any (32768 and up), so that nobody gets ours by chance while a server restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Returns a port of loopback that is free now, and that this process has not returned before.
pub(super) fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes begin at different places, so that they seldom try the same.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = begin.wrapping_add(step) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("it is less than a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free on loopback");
}
