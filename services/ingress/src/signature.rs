//! `X-Hub-Signature-256`: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use http::HeaderMap;
use lockflight_runtime::{Secret, SecretError};
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use tokio::time::Instant;
use tracing::warn;

const HEADER: &str = "x-hub-signature-256";

/// Secrets are read again when they are this old, so that one that was taken away stops to count.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// After a signature that does not fit they are read again at once, since they may just have been replaced; but not more often than
/// this, however many forged deliveries come.
const READ_AGAIN_ON_MISMATCH: Duration = Duration::from_secs(1);

/// A signature as the header gives it.
#[derive(Clone, Copy)]
pub(crate) struct Signature([u8; 32]);

/// Why a delivery is not taken as GitHub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error("it has no X-Hub-Signature-256 header; enter the webhook's secret on GitHub")]
    Absent,
    #[error("it has more than one X-Hub-Signature-256 header; look for a proxy that adds one")]
    Several,
    #[error("its X-Hub-Signature-256 header is not `sha256=` and 64 hexadecimal digits")]
    Malformed,
    #[error(
        "its signature does not fit; the webhook's secret on GitHub has to be one of those that Lockflight is given, and the body has to arrive unchanged"
    )]
    Wrong,
}

impl Signature {
    /// The one signature among the headers.
    pub(crate) fn find(headers: &HeaderMap) -> Result<Self, Unsigned> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().ok_or(Unsigned::Absent)?;
        if values.next().is_some() {
            return Err(Unsigned::Several);
        }
        Self::parse(value.as_bytes()).ok_or(Unsigned::Malformed)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let digits: &[u8; 64] = value.strip_prefix(b"sha256=")?.try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                *byte = (*byte << 4) | u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
            }
        }
        Some(Self(bytes))
    }
}

/// The secrets, read from their files again as those change.
pub(crate) struct Keys {
    secrets: Vec<Secret>,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    keys: Prepared,
    at: Instant,
}

/// The secrets, each as an HMAC that has taken it in already: what a delivery needs is a copy of that, not the secret.
type Prepared = Arc<[Hmac<Sha256>]>;

impl Keys {
    pub(crate) fn load(secrets: Vec<Secret>) -> Result<Self, SecretError> {
        let keys = read(&secrets)?;
        let at = Instant::now();
        Ok(Self {
            secrets,
            loaded: Mutex::new(Loaded { keys, at }),
        })
    }

    /// Checks the signature of `body`, in constant time for each secret, all of which are tried. Blocks while it reads files.
    pub(crate) fn verify(&self, signature: Signature, body: &[u8]) -> Result<(), Unsigned> {
        if fits(&self.newer_than(READ_AGAIN), signature, body)
            || fits(&self.newer_than(READ_AGAIN_ON_MISMATCH), signature, body)
        {
            Ok(())
        } else {
            Err(Unsigned::Wrong)
        }
    }

    /// Whether the signature is proven already by the secrets as they were last read. Blocks for no file; where it does not, [`Keys::verify`]
    /// decides.
    pub(crate) fn prove(&self, signature: Signature, body: &[u8]) -> bool {
        let known = {
            let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            (loaded.at.elapsed() < READ_AGAIN).then(|| Arc::clone(&loaded.keys))
        };
        known.is_some_and(|keys| fits(&keys, signature, body))
    }

    /// The secrets, read again if the last time is `age` ago. When they can't be read, those from before go on to count.
    fn newer_than(&self, age: Duration) -> Prepared {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.at.elapsed() >= age {
            loaded.at = Instant::now();
            match read(&self.secrets) {
                Ok(keys) => loaded.keys = keys,
                Err(failed) => warn!(
                    error = &failed as &(dyn std::error::Error + 'static),
                    "a webhook secret can't be read again; the one from before goes on to count"
                ),
            }
        }
        Arc::clone(&loaded.keys)
    }
}

fn read(secrets: &[Secret]) -> Result<Prepared, SecretError> {
    let mut keys = Vec::with_capacity(secrets.len());
    for secret in secrets {
        // An HMAC takes a key of any length, so that there is no error to hide.
        keys.extend(Hmac::new_from_slice(secret.load()?.expose_secret().as_bytes()));
    }
    Ok(keys.into())
}

fn fits(keys: &[Hmac<Sha256>], signature: Signature, body: &[u8]) -> bool {
    let mut fits = false;
    for key in keys {
        let mut mac = key.clone();
        mac.update(body);
        fits |= mac.verify_slice(&signature.0).is_ok();
    }
    fits
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::HeaderValue;

    use super::*;

    /// The example of GitHub's documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn secret(path: &Path, value: &str) -> Secret {
        std::fs::write(path, value).unwrap();
        Secret::from_file(path)
    }

    fn signature() -> Signature {
        Signature::parse(SIGNATURE.as_bytes()).unwrap()
    }

    #[test]
    fn the_example_of_github_is_accepted_and_any_change_of_it_refused() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::load(vec![secret(&dir.path().join("a"), SECRET)]).unwrap();
        assert_eq!(keys.verify(signature(), BODY), Ok(()));
        assert_eq!(keys.verify(signature(), b"Hello, World?"), Err(Unsigned::Wrong));
        for byte in 0..32 {
            let mut changed = signature();
            changed.0[byte] ^= 1;
            assert_eq!(keys.verify(changed, BODY), Err(Unsigned::Wrong), "byte {byte}");
        }
        let other = Keys::load(vec![secret(&dir.path().join("a"), "another")]).unwrap();
        assert_eq!(other.verify(signature(), BODY), Err(Unsigned::Wrong));
    }

    #[test]
    fn the_header_is_exactly_sha256_and_64_digits() {
        let find = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_str(value).unwrap());
            }
            Signature::find(&headers).map(|_| ())
        };
        let digits = SIGNATURE.strip_prefix("sha256=").unwrap();
        assert_eq!(find(&[SIGNATURE]), Ok(()));
        assert_eq!(find(&[]), Err(Unsigned::Absent));
        assert_eq!(find(&[SIGNATURE, SIGNATURE]), Err(Unsigned::Several));
        for malformed in [
            String::new(),
            digits.to_owned(),
            format!("sha1={digits}"),
            format!("sha256={digits}0"),
            SIGNATURE.get(..70).unwrap().to_owned(),
            format!("sha256={}", "g".repeat(64)),
            format!("{SIGNATURE}, {SIGNATURE}"),
            format!(" {SIGNATURE}"),
        ] {
            assert_eq!(find(&[&malformed]), Err(Unsigned::Malformed), "{malformed:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_was_replaced_counts_soon_and_one_that_was_taken_away_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let keys = Keys::load(vec![secret(&path, "old")]).unwrap();
        drop(secret(&path, SECRET));
        assert_eq!(
            keys.verify(signature(), BODY),
            Err(Unsigned::Wrong),
            "not within a second"
        );
        tokio::time::advance(READ_AGAIN_ON_MISMATCH).await;
        assert_eq!(keys.verify(signature(), BODY), Ok(()));
        drop(secret(&path, "new"));
        tokio::time::advance(READ_AGAIN).await;
        assert_eq!(keys.verify(signature(), BODY), Err(Unsigned::Wrong));
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_file_that_vanishes_leaves_the_secret_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let keys = Keys::load(vec![secret(&path, SECRET)]).unwrap();
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(READ_AGAIN * 2).await;
        assert_eq!(keys.verify(signature(), BODY), Ok(()));
    }
}
