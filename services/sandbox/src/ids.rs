//! Names that the forge makes up: numbers, node ids, tokens and delivery ids.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ForgeError;

/// Returns GitHub's opaque name of an object for GraphQL: a prefix for the kind and the number, packed.
pub(crate) fn node_id(kind: &str, id: u64) -> String {
    format!("{kind}_{}", URL_SAFE_NO_PAD.encode(id.to_be_bytes()))
}

/// Returns the number inside a node id of this kind, or nothing where it is of another kind or forged.
pub(crate) fn id_of_node(kind: &str, node: &str) -> Option<u64> {
    let packed = node.strip_prefix(kind)?.strip_prefix('_')?;
    let bytes = URL_SAFE_NO_PAD.decode(packed).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Returns this many random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], ForgeError> {
    let mut bytes = [0_u8; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| ForgeError::Crypto("the system gave no random bytes"))?;
    Ok(bytes)
}

/// Returns a token with GitHub's prefix for its kind (`ghp`, `ghs`) and 36 characters that nobody can guess.
pub(crate) fn token(prefix: &str) -> Result<String, ForgeError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz0123456";
    let letters: String = random::<36>()?
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect();
    Ok(format!("{prefix}_{letters}"))
}

/// Returns a random UUID (version 4), as in `X-GitHub-Delivery`.
pub(crate) fn guid() -> Result<String, ForgeError> {
    let mut bytes = random::<16>()?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex(&bytes);
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    Ok([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

/// Returns the bytes in lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{guid, id_of_node, node_id};

    #[test]
    fn a_node_id_gives_its_number_back_only_for_its_own_kind() {
        let node = node_id("IC", 4_711);
        assert_eq!(id_of_node("IC", &node), Some(4_711));
        assert_eq!(id_of_node("PR", &node), None);
        assert_eq!(id_of_node("IC", "IC_!!"), None);
    }

    #[test]
    fn a_delivery_id_is_a_version_4_uuid() {
        let id = guid().expect("random bytes");
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'4');
    }
}
