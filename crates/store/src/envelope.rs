//! Sealing with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03). Not where keys come from
//! ([`crate::key`]) nor what is sealed.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::KeyError;

const NONCE_BYTES: usize = 24;

/// A key of 256 bits. It is wiped on drop and has no text form but a mask.
#[derive(Clone)]
pub(crate) struct SealingKey(Zeroizing<[u8; 32]>);

impl SealingKey {
    /// Takes a key from the system's random source.
    pub(crate) fn random() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(KeyError::Random)?;
        Ok(Self(bytes))
    }

    /// Takes 32 bytes as a key; `None` for another length.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 32] = bytes.try_into().ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Encrypts `plain` so that it opens only with the same `context`. Returns a random nonce of
    /// 24 bytes (so large that chance never repeats one) and the ciphertext with its tag.
    pub(crate) fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut sealed = vec![0; NONCE_BYTES];
        getrandom::fill(&mut sealed).map_err(KeyError::Random)?;
        let nonce = XNonce::try_from(sealed.as_slice()).map_err(|_| KeyError::Refused)?;
        let payload = Payload {
            msg: plain,
            aad: context.as_bytes(),
        };
        let ciphertext = self
            .cipher()
            .encrypt(&nonce, payload)
            .map_err(|_| KeyError::Refused)?;
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Decrypts what was sealed with this key for this `context`; `None` for anything else.
    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = XNonce::try_from(nonce).ok()?;
        let payload = Payload {
            msg: ciphertext,
            aad: context.as_bytes(),
        };
        self.cipher().decrypt(&nonce, payload).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes().into())
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_context() {
        let key = SealingKey::random().unwrap();
        let other = SealingKey::random().unwrap();
        let sealed = key.seal("here", b"value").unwrap();
        assert_eq!(key.open("here", &sealed).unwrap(), b"value");
        assert_eq!(key.open("there", &sealed), None);
        assert_eq!(other.open("here", &sealed), None);
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let key = SealingKey::random().unwrap();
        let sealed = key.seal("here", b"value").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            *changed.get_mut(index).unwrap() ^= 1;
            assert_eq!(key.open("here", &changed), None, "byte {index}");
        }
        assert_eq!(key.open("here", &[]), None);
    }

    #[test]
    fn sealing_twice_gives_different_texts() {
        let key = SealingKey::random().unwrap();
        assert_ne!(key.seal("", b"v").unwrap(), key.seal("", b"v").unwrap());
    }
}
