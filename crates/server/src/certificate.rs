//! The certificate of the port that speaks TLS: read from its files, and again when they change. Not the
//! connections that are made with it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::problem::chain;

/// What is spoken inside of TLS, the best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is damaged: it is not PEM to its end", .0.display())]
    Damaged(PathBuf),
    /// There is something else in the file.
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// There is something else in the file.
    #[error("there is no private key in {}; one with a passphrase cannot be used", .0.display())]
    NoKey(PathBuf),
    /// The files do not belong together.
    #[error(
        "the private key in {} is not that of the first certificate in {}",
        key.display(),
        certificate.display()
    )]
    OtherKey {
        /// The file of the certificates.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// They are something that is not supported.
    #[error("the certificate in {} and its key cannot be used", certificate.display())]
    Unusable {
        /// The file of the certificates.
        certificate: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate with its chain and key, which follows its files.
#[derive(Debug, Clone)]
pub struct Certificate {
    files: Files,
    /// What the files were when they were read last, whether or not they could be used.
    seen: Stamps,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads a chain of certificates, the server's own first, and the key of the first. Both are PEM.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let files = Files { certificate, key };
        let seen = files.stamps();
        let config = files.read()?;
        Ok(Self {
            files,
            seen,
            config,
        })
    }

    /// Returns what connections are made with now. Files that changed are read; where they cannot be
    /// used what was there before stays, which is logged once for each change.
    pub(crate) fn current(&mut self) -> Arc<ServerConfig> {
        // Before they are read: what changes meanwhile is seen the next time.
        let now = self.files.stamps();
        if now != self.seen {
            self.seen = now;
            let file = self.files.certificate.display();
            match self.files.read() {
                Ok(config) => {
                    self.config = config;
                    tracing::info!(certificate.file = %file, "the new certificate is in use");
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(
                        error,
                        "the certificate changed, and the old one stays in use"
                    );
                }
            }
        }
        Arc::clone(&self.config)
    }
}

/// Where a certificate is.
#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn stamps(&self) -> Stamps {
        Stamps([Stamp::of(&self.certificate), Stamp::of(&self.key)])
    }

    fn read(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let chain = certificates(&self.certificate)?;
        let key = private_key(&self.key)?;
        let certificate = || self.certificate.clone();
        let unusable = |source| CertificateError::Unusable {
            certificate: certificate(),
            source,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let config = builder.with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::OtherKey {
                certificate: certificate(),
                key: self.key.clone(),
            },
            other => unusable(other),
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| CertificateError::Damaged(path.to_owned()))?;
    if found.is_empty() {
        return Err(CertificateError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoKey(path.to_owned()),
        _ => CertificateError::Damaged(path.to_owned()),
    })
}

/// What both files are at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamps([Option<Stamp>; 2]);

/// What shows that a file is another one or was written to: its time alone may be the same after two
/// writes. Links are followed, because renewals move them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    /// Returns nothing of a file that is not there, or cannot be looked at.
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified_s: found.mtime(),
            modified_ns: found.mtime_nsec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tempfile::TempDir;

    use super::*;

    fn made() -> (String, String) {
        let names = vec!["localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    struct Place(TempDir);

    impl Place {
        fn with(certificate: &str, key: &str) -> Self {
            let place = Self(TempDir::new().unwrap());
            place.put("cert.pem", certificate);
            place.put("key.pem", key);
            place
        }

        /// Puts a file in the place of another, as renewals do.
        fn put(&self, name: &str, text: &str) {
            let new = self.0.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, self.0.path().join(name)).unwrap();
        }

        fn load(&self) -> Result<Certificate, CertificateError> {
            let path = |name| self.0.path().join(name);
            Certificate::load(path("cert.pem"), path("key.pem"))
        }

        fn refusal(&self) -> String {
            self.load().unwrap_err().to_string()
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_refused_with_the_file_and_what_is_wrong() {
        let (certificate, key) = made();
        let (_, other) = made();
        let says = |certificate: &str, key: &str, words: &str| {
            let refusal = Place::with(certificate, key).refusal();
            assert!(refusal.contains(words), "{words}: {refusal}");
        };
        says(&key, &key, "there is no certificate in /");
        says("", &key, "there is no certificate in /");
        says(&certificate, &certificate, "there is no private key in /");
        says(&certificate, &other, "key.pem is not that of the first");
        let half = certificate.get(..certificate.len() / 2).unwrap();
        says(half, &key, "cert.pem is damaged");
        let place = Place::with(&certificate, &key);
        std::fs::remove_file(place.0.path().join("key.pem")).unwrap();
        let refusal = place.load().unwrap_err();
        assert!(
            matches!(&refusal, CertificateError::Read { path, .. } if path.ends_with("key.pem"))
        );
    }

    #[test]
    fn files_that_change_are_taken_over_once_they_belong_together() {
        let (certificate, key) = made();
        let place = Place::with(&certificate, &key);
        let mut kept = place.load().unwrap();
        let first = kept.current();
        assert!(Arc::ptr_eq(&first, &kept.current()), "nothing changed");

        let (certificate, key) = made();
        place.put("cert.pem", &certificate);
        assert!(
            Arc::ptr_eq(&first, &kept.current()),
            "the key is the old one"
        );
        place.put("key.pem", &key);
        let second = kept.current();
        assert!(!Arc::ptr_eq(&first, &second));

        std::fs::remove_file(place.0.path().join("cert.pem")).unwrap();
        assert!(Arc::ptr_eq(&second, &kept.current()), "the file is gone");
        place.put("cert.pem", "nothing");
        assert!(Arc::ptr_eq(&second, &kept.current()), "the file is broken");
        place.put("cert.pem", &certificate);
        assert!(!Arc::ptr_eq(&second, &kept.current()), "it is mended");
    }

    #[test]
    fn a_certificate_and_its_key_may_be_in_one_file() {
        let (certificate, key) = made();
        let both = format!("{key}{certificate}");
        assert!(Place::with(&both, &both).load().is_ok());
    }
}
