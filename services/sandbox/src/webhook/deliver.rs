//! Sending webhooks.
//!
//! Every delivery is a task of its own: deliveries overtake each other, as GitHub's do, and a slow receiver holds
//! up nothing else. Nothing is sent again by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Delivery, Hook};
use crate::change::Change;
use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::forge::Inner;
use crate::ids;

/// This much of a receiver's answer is kept.
const KEPT_ANSWER_BYTES: usize = 16 * 1024;

/// Counts what is under way, so that somebody can wait for the end of it.
#[derive(Debug)]
pub(crate) struct DeliveryQueue {
    under_way: watch::Sender<usize>,
}

impl Default for DeliveryQueue {
    fn default() -> Self {
        Self {
            under_way: watch::Sender::new(0),
        }
    }
}

impl DeliveryQueue {
    pub(crate) async fn idle(&self) {
        let mut under_way = self.under_way.subscribe();
        // The sender lives in `self`: it cannot go away while we wait.
        under_way.wait_for(|count| *count == 0).await.ok();
    }

    fn enter(self: &Arc<Self>) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay {
            queue: Arc::clone(self),
        }
    }
}

struct UnderWay {
    queue: Arc<DeliveryQueue>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.queue.under_way.send_modify(|count| *count -= 1);
    }
}

#[derive(Debug, Default)]
struct Plans {
    forget: u32,
    drop: u32,
    repeat: Option<(u32, u32)>,
    delay: Duration,
}

/// What goes wrong with webhooks on their way. Pings and redeliveries that somebody asked for are spared.
#[derive(Debug, Clone, Default)]
pub struct WebhookFaults {
    plans: Arc<Mutex<Plans>>,
}

/// What happens to one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    forgotten: bool,
    dropped: bool,
    copies: u32,
    delay: Duration,
}

impl WebhookFaults {
    /// Loses the next deliveries: the receiver gets nothing, and the log has a failed delivery.
    pub fn drop_next(&self, count: u32) {
        self.lock().drop += count;
    }

    /// Never sends the next deliveries, and the log does not know of them either, as in GitHub's outages.
    pub fn forget_next(&self, count: u32) {
        self.lock().forget += count;
    }

    /// Sends each of the next `count` deliveries this many times in all, at the same time, under the same guid.
    pub fn repeat_next(&self, count: u32, times: u32) {
        self.lock().repeat = Some((count, times.max(1)));
    }

    /// Sends every delivery this much later, until it is set to zero again.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Makes everything go right again.
    pub fn clear(&self) {
        *self.lock() = Plans::default();
    }

    fn fate(&self) -> Fate {
        let mut plans = self.lock();
        let forgotten = take(&mut plans.forget);
        let dropped = !forgotten && take(&mut plans.drop);
        let copies = match &mut plans.repeat {
            Some((count, times)) if *count > 0 => {
                *count -= 1;
                *times
            }
            _ => 1,
        };
        Fate {
            forgotten,
            dropped,
            copies,
            delay: plans.delay,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}

/// A webhook that is ready to be sent.
#[derive(Clone)]
pub(crate) struct Parcel {
    pub(crate) hook: Hook,
    pub(crate) guid: String,
    pub(crate) event: String,
    pub(crate) action: Option<String>,
    pub(crate) installation: Option<u64>,
    pub(crate) repository_id: Option<u64>,
    pub(crate) payload: Bytes,
    pub(crate) redelivery: bool,
}

/// Checks that a webhook goes to this machine.
pub(crate) fn check_url(url: &str) -> Result<http::Uri, ForgeError> {
    let refuse = || ForgeError::WebhookNotLoopback(url.to_owned());
    let uri: http::Uri = url.parse().map_err(|_not_a_url| refuse())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if uri.scheme_str() == Some("http") && loopback {
        Ok(uri)
    } else {
        Err(refuse())
    }
}

/// Sends a parcel in the background, as often and as late as the faults say.
pub(crate) fn send(inner: &Arc<Inner>, parcel: Parcel) {
    if parcel.payload.len() > inner.options.limits.webhook_bytes {
        tracing::warn!(
            event = parcel.event,
            bytes = parcel.payload.len(),
            "a webhook is too large to be sent"
        );
        return;
    }
    let spared = parcel.redelivery || parcel.event == "ping";
    let fate = if spared {
        Fate {
            forgotten: false,
            dropped: false,
            copies: 1,
            delay: Duration::ZERO,
        }
    } else {
        inner.webhook_faults.fate()
    };
    if fate.forgotten {
        return;
    }
    for _copy in 0..fate.copies {
        let under_way = inner.delivery_queue.enter();
        let (inner, parcel) = (Arc::clone(inner), parcel.clone());
        let shutdown = inner.shutdown.clone();
        tokio::spawn(async move {
            let work = async {
                if !fate.delay.is_zero() {
                    tokio::time::sleep(fate.delay).await;
                }
                attempt(&inner, parcel, fate.dropped).await;
            };
            shutdown.run_until_cancelled(work).await;
            drop(under_way);
        });
    }
}

/// Sends a logged delivery again, under the same guid and with the same bytes.
pub(crate) fn redeliver(inner: &Arc<Inner>, id: u64) -> Result<(), ForgeError> {
    let parcel = {
        let state = inner.state();
        let delivery = state
            .deliveries
            .iter()
            .find(|delivery| delivery.id == id)
            .ok_or_else(ForgeError::not_found)?;
        let hook = state
            .hooks
            .get(&delivery.hook)
            .ok_or_else(ForgeError::not_found)?;
        Parcel {
            hook: hook.clone(),
            guid: delivery.guid.clone(),
            event: delivery.event.clone(),
            action: delivery.action.clone(),
            installation: delivery.installation,
            repository_id: delivery.repository_id,
            payload: delivery.payload.clone(),
            redelivery: true,
        }
    };
    send(inner, parcel);
    Ok(())
}

struct Answer {
    code: u16,
    headers: Vec<(String, String)>,
    body: String,
}

async fn attempt(inner: &Arc<Inner>, parcel: Parcel, dropped: bool) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, parcel.hook.secret.as_bytes());
    let signature = format!("sha256={}", ids::hex(hmac::sign(&key, &parcel.payload).as_ref()));
    let (kind, target_id) = match &parcel.hook.target {
        super::HookTarget::Repository(_) => ("repository", parcel.repository_id.unwrap_or_default()),
        super::HookTarget::App(app) => ("integration", *app),
    };
    let short_guid = parcel.guid.split('-').next().unwrap_or_default();
    let headers: Vec<(String, String)> = [
        ("Accept", "*/*".to_owned()),
        ("Content-Type", "application/json".to_owned()),
        ("User-Agent", format!("GitHub-Hookshot/{short_guid}")),
        ("X-GitHub-Delivery", parcel.guid.clone()),
        ("X-GitHub-Event", parcel.event.clone()),
        ("X-GitHub-Hook-ID", parcel.hook.id.to_string()),
        ("X-GitHub-Hook-Installation-Target-ID", target_id.to_string()),
        ("X-GitHub-Hook-Installation-Target-Type", kind.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let begun = Instant::now();
    let outcome = if dropped {
        Err("failed to connect to host".to_owned())
    } else {
        let post = post(&parcel.hook.url, &headers, &signature, parcel.payload.clone());
        match tokio::time::timeout(inner.options.webhook_timeout, post).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err("timed out".to_owned()),
        }
    };
    let (status, answer) = match outcome {
        Ok(answer) if (200..300).contains(&answer.code) => ("OK".to_owned(), answer),
        Ok(answer) => (format!("Invalid HTTP Response: {}", answer.code), answer),
        Err(status) => (
            status,
            Answer {
                code: 0,
                headers: Vec::new(),
                body: String::new(),
            },
        ),
    };
    let change = {
        let mut state = inner.state();
        let delivery = Delivery {
            id: state.fresh_id(),
            guid: parcel.guid,
            hook: parcel.hook.id,
            target: parcel.hook.target,
            event: parcel.event,
            action: parcel.action,
            installation: parcel.installation,
            repository_id: parcel.repository_id,
            url: parcel.hook.url,
            request_headers: headers,
            payload: parcel.payload,
            delivered_at: Timestamp::now(),
            duration: begun.elapsed(),
            status,
            status_code: answer.code,
            response_headers: answer.headers,
            response_body: answer.body,
            redelivery: parcel.redelivery,
        };
        let change = Change::WebhookDelivered {
            id: delivery.id,
            guid: delivery.guid.clone(),
            event: delivery.event.clone(),
            status_code: delivery.status_code,
        };
        state.keep_delivery(delivery);
        change
    };
    inner.tell(change);
}

/// Posts a body, and gives the answer or a short reason why there was none.
async fn post(
    url: &str,
    headers: &[(String, String)],
    signature: &str,
    body: Bytes,
) -> Result<Answer, String> {
    let uri = check_url(url).map_err(|error| error.to_string())?;
    let authority = uri.authority().ok_or("no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|_io| "failed to connect to host")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = http::Request::post(path)
        .header(http::header::HOST, authority.as_str())
        .header("X-Hub-Signature-256", signature);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, KEPT_ANSWER_BYTES).collect().await;
        let body = body
            .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())
            .unwrap_or_default();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        Ok(Answer {
            code: parts.status.as_u16(),
            headers,
            body,
        })
    };
    // The connection has to be driven while we wait for the answer; it ends when the sender goes.
    tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn webhooks_go_to_this_machine_only() {
        for url in [
            "http://127.0.0.1:8080/webhook",
            "http://localhost/x",
            "http://[::1]:9/",
        ] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in [
            "https://127.0.0.1/",
            "http://192.168.0.1/",
            "http://localhost.example.com/",
            "nonsense",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
