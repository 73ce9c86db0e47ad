//! Signatures under what Lockflight writes into places that others can edit.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::change::hex;

/// The key that signs markers and comment tags, derived from a secret of the installation.
#[derive(Clone)]
pub struct MarkerKey([u8; 64]);

impl MarkerKey {
    /// The key that follows from `secret`, which may have other uses and any length. It must not be empty or guessable: who
    /// knows it can forge markers.
    #[must_use]
    pub fn derive(secret: &[u8]) -> Self {
        let root = Self::padded(Sha256::digest(secret).into());
        Self::padded(root.sign("lockflight:key:v1", &[]))
    }

    /// HMAC fills a key up to the hash's block size with zeros. Done here, it cannot fail later.
    fn padded(key: [u8; 32]) -> Self {
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(key) {
            *to = from;
        }
        Self(block)
    }

    /// HMAC-SHA256 over the domain and the fields, each with its length before it, so that no two lists of fields look alike.
    fn sign(&self, domain: &str, fields: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new((&self.0).into());
        for field in std::iter::once(&domain.as_bytes()).chain(fields) {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac.finalize().into_bytes().into()
    }

    /// The signature as 64 lower-case hexadecimal digits.
    pub(super) fn seal(&self, domain: &str, fields: &[&[u8]]) -> String {
        hex(&self.sign(domain, fields))
    }
}

/// Whether `seal` is the signature of one of the keys. The time taken does not depend on where it differs, nor on which key fits.
pub(super) fn is_sealed(keys: &[MarkerKey], domain: &str, fields: &[&[u8]], seal: &str) -> bool {
    keys.iter()
        .map(|key| key.seal(domain, fields).as_bytes().ct_eq(seal.as_bytes()))
        .fold(Choice::from(0), |any, one| any | one)
        .into()
}

impl fmt::Debug for MarkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MarkerKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", MarkerKey::derive(b"secret")), "MarkerKey(hidden)");
    }

    #[test]
    fn a_seal_holds_its_fields_apart() {
        let key = MarkerKey::derive(b"secret");
        assert_ne!(key.seal("d", &[b"ab", b"c"]), key.seal("d", &[b"a", b"bc"]));
        assert_ne!(key.seal("d", &[b"a"]), key.seal("e", &[b"a"]));
        assert_ne!(
            key.seal("d", &[b"a"]),
            MarkerKey::derive(b"secret2").seal("d", &[b"a"])
        );
    }

    #[test]
    fn the_seal_is_hmac_sha256_under_a_derived_key() {
        // Computed apart, with Python's hmac: root = sha256(b"secret"); the key signs the length-prefixed domain.
        let key = MarkerKey::derive(b"secret");
        assert_eq!(key.seal("d", &[b"a"]), EXPECTED);
    }

    const EXPECTED: &str = "e52753bdc22d679b2681e6878e206956aad75ba07b2ba395ddc29c18562f33df";
}
