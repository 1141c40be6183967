//! TLS to a control plane: who is trusted, and why somebody is not. Not what goes over the connection.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, RootCertStore};

use super::remote::{RemoteError, Secure};

/// What is spoken inside of TLS (RFC 7301): a connection is taken over only in HTTP/1.1.
const PROTOCOL: &[u8] = b"http/1.1";

/// What opens connections of TLS to one control plane.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) remote: Secure,
    name: ServerName<'static>,
    tls: TlsConnector,
}

/// Why there is no connection of TLS.
#[derive(Debug)]
pub(super) enum HandshakeError {
    /// The certificate is not good, for this reason.
    Untrusted(String),
    /// The exchange failed.
    Io(io::Error),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Connector {
    /// Trusts whom the machine trusts, and the authorities of these certificates.
    pub(super) fn new(remote: Secure, authorities: Option<&[u8]>) -> Result<Self, RemoteError> {
        let name = ServerName::try_from(remote.host.clone());
        let name = name.map_err(|_| RemoteError::Address {
            address: format!("https://{}", remote.authority),
            reason: "its host can be in no certificate",
        })?;
        let mut roots = RootCertStore::empty();
        // A machine without certificates can still trust an authority that is named.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(pem) = authorities {
            trust(&mut roots, pem).map_err(RemoteError::Authorities)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| RemoteError::Authorities(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            remote,
            name,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Shakes hands with whoever is at the other end, and makes sure who that is.
    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let shaken = self.tls.connect(self.name.clone(), stream).await;
        shaken.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
            match cause {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    HandshakeError::Untrusted(reason(why))
                }
                Some(rustls::Error::InvalidMessage(_)) => {
                    HandshakeError::Io(io::Error::other("what answers there does not speak TLS"))
                }
                _ => HandshakeError::Io(error),
            }
        })
    }
}

fn trust(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "it is not PEM to its end".to_owned())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    match count {
        0 => Err("there is none in it".to_owned()),
        _ => Ok(()),
    }
}

/// Says why a certificate is not trusted.
fn reason(error: &CertificateError) -> String {
    match error {
        // The last two are of another authority with the name of one that is trusted.
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is of an authority that is not trusted here".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "it is for no name: a name has to be among its alternative names".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|one| plain(one)).collect();
            format!("it is for another name: {}", names.join(", "))
        }
        // Of a library that is not ours to name: what `openssl req -x509` makes by itself.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "it is that of an authority, where that of a server has to be".to_owned()
        }
        other => other.to_string(),
    }
}

/// Returns a name out of how the library writes it: `DnsName("ship.example")`, `IpAddress(10.0.0.7)`.
fn plain(presented: &str) -> &str {
    let name = presented
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    name.unwrap_or(presented).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_said_as_people_write_them() {
        let error = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("localhost").unwrap(),
            presented: presented.iter().map(|&name| name.to_owned()).collect(),
        };
        let two = ["DnsName(\"ship.example\")", "IpAddress(10.0.0.7)"];
        assert_eq!(
            reason(&error(&two)),
            "it is for another name: ship.example, 10.0.0.7"
        );
        assert!(reason(&error(&[])).starts_with("it is for no name"));
    }
}
