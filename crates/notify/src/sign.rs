//! The signature of a webhook's request, by which its receiver knows who sent it and when.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header that has the signature.
pub const SIGNATURE: &str = "Towpath-Signature";

/// Returns the value of [`SIGNATURE`] for a body: `t=<seconds>,v1=<hex>`, where the second part is the
/// HMAC-SHA256 (RFC 2104) of the seconds in decimal, a full stop, and the body.
pub fn signature(secret: &[u8], seconds: i64, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length is good for HMAC");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut text = format!("t={seconds},v1=");
    for byte in mac.finalize().into_bytes() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_the_time_and_the_body() {
        let signed = signature(b"key", 1, b"body");
        // `printf 1.body | openssl dgst -sha256 -hmac key`
        assert_eq!(
            signed,
            "t=1,v1=91b5374b153842ad05b2c4eab9349b8321b14703165bd3fb8b034dfb8be98ae5"
        );
        assert_ne!(signed, signature(b"key", 2, b"body"));
        assert_ne!(signed, signature(b"key", 1, b"bodz"));
        assert_ne!(signed, signature(b"kez", 1, b"body"));
    }
}
