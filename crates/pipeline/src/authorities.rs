//! Whom a fetch over HTTPS trusts. Not how Git is told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use towpath_model::workload::SecretValue;

/// The characters of a line of PEM (RFC 7468 section 2).
const LINE: usize = 64;

/// Returns the certificates of the machine's authorities and these ones, as PEM: Git takes one file in
/// place of the machine's.
pub(crate) fn trusted(own: &SecretValue) -> Vec<u8> {
    let mut pem = Vec::new();
    // A machine without certificates can still trust these.
    for certificate in rustls_native_certs::load_native_certs().certs {
        pem.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(&certificate).as_bytes().chunks(LINE) {
            pem.extend_from_slice(line);
            pem.push(b'\n');
        }
        pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
    }
    pem.extend_from_slice(own.expose());
    pem.push(b'\n');
    pem
}
