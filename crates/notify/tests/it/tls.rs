//! Messages over TLS: to servers of this machine whose authority is made here, and is trusted only where a
//! target says so.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use towpath_model::notify::{Channel, Setting, Smtp, Tls, Webhook};
use towpath_model::port::PortError;
use towpath_model::repository::outside::{Forge, Outside};
use towpath_model::repository::status::{ForgeRequest, Forges as _, State, Status, request};
use towpath_model::workload::SecretValue;
use towpath_notify::{Config, Sender};

use crate::{Fixed, send};

/// How a server of this machine is spoken to.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Https,
    Forge,
    Starttls,
    Implicit,
}

/// A server whose certificate is of an authority of its own.
struct Server {
    address: SocketAddr,
    /// The certificate of the authority, as PEM.
    ca: String,
    said: Arc<Mutex<String>>,
    _tasks: JoinSet<()>,
}

/// Makes an authority, and a server's certificate and key by it.
fn certified() -> (String, TlsAcceptor) {
    let own = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&own).unwrap().pem();
    let issuer = Issuer::new(authority, own);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (ca, TlsAcceptor::from(Arc::new(config)))
}

impl Server {
    async fn start(kind: Kind) -> Self {
        let (ca, acceptor) = certified();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let said = Arc::default();
        let mut tasks = JoinSet::new();
        let hear = Arc::clone(&said);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(kind, stream, acceptor.clone(), Arc::clone(&hear)));
            }
        });
        Self {
            address,
            ca,
            said,
            _tasks: tasks,
        }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn webhook(&self, ca: Option<&str>) -> Channel {
        Channel::Webhook(Webhook {
            url: Setting::Plain(format!("https://{}/hook", self.address)),
            headers: BTreeMap::new(),
            secret: None,
            ca: ca.map(|ca| Setting::Plain(ca.to_owned())),
        })
    }

    fn smtp(&self, tls: Tls, ca: Option<&str>) -> Channel {
        Channel::Smtp(Smtp {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            tls,
            username: None,
            password: None,
            from: "towpath@example.com".to_owned(),
            to: vec!["ops@example.com".to_owned()],
            ca: ca.map(|ca| Setting::Plain(ca.to_owned())),
        })
    }
}

/// Serves one connection. Who does not trust the certificate hangs up.
async fn serve(kind: Kind, mut stream: TcpStream, acceptor: TlsAcceptor, said: Arc<Mutex<String>>) {
    if matches!(kind, Kind::Starttls) && !upgrade(&mut stream).await {
        return;
    }
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    match kind {
        Kind::Https | Kind::Forge => {
            let end = match kind {
                Kind::Forge => "\"}",
                _ => "\"version\":1}",
            };
            let heard = read_until(&mut stream, end).await;
            said.lock().unwrap().push_str(&heard);
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
        Kind::Implicit => {
            stream.write_all(b"220 here\r\n").await.unwrap();
            take_mail(stream, said).await;
        }
        Kind::Starttls => take_mail(stream, said).await,
    }
}

/// Speaks SMTP until the connection is to be of TLS (RFC 3207).
async fn upgrade(stream: &mut TcpStream) -> bool {
    stream.write_all(b"220 here\r\n").await.unwrap();
    loop {
        let line = read_until(stream, "\r\n").await;
        if line.starts_with("STARTTLS") {
            stream.write_all(b"220 go on\r\n").await.unwrap();
            return true;
        }
        if !line.starts_with("EHLO") {
            return false;
        }
        stream
            .write_all(b"250-here\r\n250 STARTTLS\r\n")
            .await
            .unwrap();
    }
}

async fn take_mail(mut stream: impl AsyncRead + AsyncWrite + Unpin, said: Arc<Mutex<String>>) {
    loop {
        let line = read_until(&mut stream, "\r\n").await;
        let answer: &[u8] = match line.get(..4) {
            Some("DATA") => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                let mail = read_until(&mut stream, "\r\n.\r\n").await;
                said.lock().unwrap().push_str(&mail);
                b"250 taken\r\n"
            }
            Some("QUIT") | None => return,
            Some(_) => b"250 ok\r\n",
        };
        stream.write_all(answer).await.unwrap();
    }
}

/// Reads until something ends so, or nothing comes any more.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        match stream.read_u8().await {
            Ok(byte) => heard.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn a_webhook_arrives_over_tls_where_its_authority_is_trusted_and_nowhere_else() {
    let server = Server::start(Kind::Https).await;
    let answer = send(&server.webhook(Some(&server.ca))).await.unwrap();
    assert!(answer.starts_with("204"), "{answer}");
    assert!(
        server.said().contains("POST /hook HTTP/1.1"),
        "{}",
        server.said()
    );
    let (other, _) = certified();
    for ca in [None, Some(other.as_str())] {
        let error = send(&server.webhook(ca)).await.unwrap_err();
        assert!(matches!(error, PortError::Failed { .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_status_arrives_at_a_forge_whose_authority_is_trusted_for_it_and_at_no_other() {
    let server = Server::start(Kind::Forge).await;
    let outside = Outside {
        url: format!("https://{}/ada/shop", server.address)
            .parse()
            .unwrap(),
        every: Duration::from_mins(5),
        forge: Some(Forge::Gitea),
        web: None,
        link: None,
    };
    let status = Status {
        commit: "0123456789".repeat(4).parse().unwrap(),
        context: "towpath/unit".to_owned(),
        state: State::Success,
        description: "passed".to_owned(),
        link: None,
    };
    let token = SecretValue::new(b"t0ken".to_vec());
    let tell = async |ca: Option<&str>| {
        let request = ForgeRequest {
            authorities: ca.map(|ca| SecretValue::new(ca.into())),
            ..request(&outside, &token, &status).unwrap()
        };
        let sender = Sender::new(Config::default(), Arc::new(Fixed));
        sender.tell(&request).await
    };
    let (other, _) = certified();
    for ca in [None, Some(other.as_str())] {
        let error = tell(ca).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    assert_eq!(server.said(), "", "no token is shown to a stranger");
    let error = tell(Some("nothing")).await.unwrap_err();
    assert!(matches!(error, PortError::Refused(_)), "{error}");
    assert_eq!(tell(Some(&server.ca)).await.unwrap().status, 204);
    assert!(server.said().contains("t0ken"), "{}", server.said());
}

#[tokio::test]
async fn a_mail_arrives_over_tls_from_the_first_byte_or_later_where_its_authority_is_trusted() {
    for (kind, tls) in [
        (Kind::Starttls, Tls::Starttls),
        (Kind::Implicit, Tls::Implicit),
    ] {
        let server = Server::start(kind).await;
        let error = send(&server.smtp(tls, None)).await.unwrap_err();
        assert!(
            error.to_string().contains("certificate"),
            "{kind:?}: {error}"
        );
        assert_eq!(server.said(), "", "{kind:?}: nothing is said to a stranger");
        let answer = send(&server.smtp(tls, Some(&server.ca))).await.unwrap();
        assert!(answer.starts_with("250"), "{kind:?}: {answer}");
        assert!(
            server.said().contains("X-Towpath-Kind"),
            "{kind:?}: {}",
            server.said()
        );
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_and_not_tried_again() {
    let server = Server::start(Kind::Https).await;
    for ca in [
        "",
        "words",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let error = send(&server.webhook(Some(ca))).await.unwrap_err();
        assert!(matches!(error, PortError::Refused(_)), "{ca}: {error}");
        assert!(
            error.to_string().starts_with("`ca` cannot be used"),
            "{error}"
        );
    }
}
