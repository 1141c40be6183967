//! HMAC with SHA-256 (RFC 2104), and the key of the raffle. It reads no files.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const BLOCK: usize = 64;
const SHORTEST_KEY: usize = 16;

/// The secret of the raffle. It has no text form, and is wiped when dropped.
pub(crate) struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// Takes the content of a key file; `None` when it is too short to be a secret. White space
    /// around it is not part of it: editors add some.
    pub(crate) fn new(content: Vec<u8>) -> Option<Self> {
        let content = Zeroizing::new(content);
        let key = content.trim_ascii();
        (key.len() >= SHORTEST_KEY).then(|| Self(Zeroizing::new(key.to_vec())))
    }

    /// Returns the digest of these parts under the key. No two lists of parts look alike.
    pub(crate) fn digest(&self, parts: &[&str]) -> [u8; 32] {
        let mut message = Vec::new();
        for part in parts {
            message.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            message.extend_from_slice(part.as_bytes());
        }
        hmac(&self.0, &message)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// HMAC-SHA-256 of a message.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = Zeroizing::new([0_u8; BLOCK]);
    let hashed;
    let key = if key.len() > BLOCK {
        hashed = sha256(key);
        hashed.as_slice()
    } else {
        key
    };
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    let pad = |with: u8| Zeroizing::new(block.map(|byte| byte ^ with));
    let inner = Sha256::new()
        .chain_update(pad(0x36).as_slice())
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c).as_slice())
        .chain_update(inner)
        .finalize()
        .into()
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let cases = [
            (
                [0x0b; 20].as_slice(),
                b"Hi There".as_slice(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".as_slice(),
                b"what do ya want for nothing?".as_slice(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                [0xaa; 131].as_slice(),
                b"Test Using Larger Than Block-Size Key - Hash Key First".as_slice(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, expected) in cases {
            assert_eq!(hex(&hmac(key, message)), expected);
        }
    }

    #[test]
    fn parts_are_kept_apart() {
        let key = Key::new(vec![7; 16]).expect("long enough");
        assert_ne!(key.digest(&["ab", "c"]), key.digest(&["a", "bc"]));
    }

    #[test]
    fn a_key_is_trimmed_hidden_and_long_enough() {
        let key = |text: &str| Key::new(text.as_bytes().to_vec());
        let plain = key("0123456789abcdef").expect("long enough");
        let padded = key("0123456789abcdef\n").expect("long enough");
        assert_eq!(plain.digest(&["x"]), padded.digest(&["x"]));
        assert!(key("0123456789abcde\n").is_none());
        assert_eq!(format!("{plain:?}"), "Key(***)");
    }
}
