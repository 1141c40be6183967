//! Signatures of webhooks: HMAC-SHA256, compared in constant time. Not where they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Tells whether `hexadecimal` is the HMAC of the pieces.
pub(super) fn is_hex_hmac(secret: &[u8], pieces: &[&[u8]], hexadecimal: &str) -> bool {
    unhex(hexadecimal).is_some_and(|signature| is_hmac(secret, pieces, &signature))
}

/// Tells whether `base64` is the HMAC of the pieces.
pub(super) fn is_base64_hmac(secret: &[u8], pieces: &[&[u8]], base64: &str) -> bool {
    let signature = STANDARD.decode(base64).ok();
    signature.is_some_and(|signature| is_hmac(secret, pieces, &signature))
}

/// Tells whether two texts are the same. How long it takes says nothing of where they differ.
pub(super) fn is_same(secret: &[u8], presented: &[u8]) -> bool {
    // Both are hashed with the same key: what is compared is not what was presented.
    let signature = mac(secret, &[secret]).finalize().into_bytes();
    is_hmac(secret, &[presented], &signature)
}

fn is_hmac(secret: &[u8], pieces: &[&[u8]], signature: &[u8]) -> bool {
    // An empty secret is no secret.
    !secret.is_empty() && mac(secret, pieces).verify_slice(signature).is_ok()
}

fn mac(secret: &[u8], pieces: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for piece in pieces {
        mac.update(piece);
    }
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hmac_is_that_of_the_standard() {
        // RFC 4231 section 4.3, test case 2.
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let pieces: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert!(is_hex_hmac(b"Jefe", &pieces, known));
        assert!(is_hex_hmac(b"Jefe", &pieces, &known.to_uppercase()));
        assert!(!is_hex_hmac(b"Jeff", &pieces, known));
        assert!(!is_hex_hmac(b"Jefe", &pieces, ""));
        assert!(!is_hex_hmac(b"Jefe", &pieces, "5b"));
        assert!(!is_hex_hmac(b"Jefe", &pieces, "nothing hexadecimal"));
    }

    #[test]
    fn only_the_same_text_is_the_same_and_nothing_is_nothing() {
        assert!(is_same(b"secret", b"secret"));
        assert!(!is_same(b"secret", b"secre"));
        assert!(!is_same(b"secret", b""));
        assert!(!is_same(b"", b""));
    }
}
