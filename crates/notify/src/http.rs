//! One request, and what came back: bounded in time and size, nowhere else than where it was meant to
//! go.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use towpath_model::port::PortError;

use crate::config::Config;

/// What sends requests. It follows no redirect: what is signed and secret goes to one address only.
pub(crate) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The longest part of an answer that is shown, in characters.
const SHOWN: usize = 200;

const AGENT: &str = concat!("towpath/", env!("CARGO_PKG_VERSION"));

/// Makes a client that trusts whom the machine trusts, and the authorities of these certificates.
pub(crate) fn client(config: &Config, ca: Option<&str>) -> Result<Client, PortError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(config.connect_timeout));
    let tls = match ca {
        Some(ca) => HttpsConnectorBuilder::new().with_tls_config(trusting(ca)?),
        None => HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| failed("reading the machine's certificates", error.to_string()))?,
    };
    let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
    // Messages are few: a connection that is kept would only be cut by whoever is between.
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    Ok(builder.pool_max_idle_per_host(0).build(connector))
}

/// Returns settings of TLS that trust whom the machine trusts, and the authorities of these certificates.
fn trusting(ca: &str) -> Result<ClientConfig, PortError> {
    let refused = |reason: String| PortError::Refused(format!("`ca` cannot be used: {reason}"));
    let mut roots = RootCertStore::empty();
    // A machine without certificates can still trust these.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| refused(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(refused("there is no certificate in it".to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| refused(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What the other side answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The first words, in one line.
    pub(crate) words: String,
}

/// Posts a body of JSON. Returns what the other side answered, where that is good.
pub(crate) async fn post(
    client: &Client,
    config: &Config,
    url: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<String, PortError> {
    let Answer { status, words, .. } = exchange(client, config, url, headers, body).await?;
    let said = match words.as_str() {
        "" => status.to_string(),
        words => format!("{status}: {words}"),
    };
    if status.is_success() {
        return Ok(said);
    }
    let reason = format!("the other side answered {said}");
    if may_pass(status) {
        return Err(failed("sending", reason));
    }
    Err(PortError::Refused(reason))
}

/// Posts a body of JSON. Returns what the other side answered, whatever it is.
pub(crate) async fn exchange(
    client: &Client,
    config: &Config,
    url: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Answer, PortError> {
    let request = request(url, headers, body)?;
    let exchange = async {
        let answer = client.request(request).await;
        let answer = answer.map_err(|error| failed("sending", deepest(&error)))?;
        Ok(Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            words: read(answer, config.answer_bytes).await,
        })
    };
    let answered = tokio::time::timeout(config.timeout, exchange).await;
    answered.unwrap_or_else(|_| Err(failed("sending", "it took too long".to_owned())))
}

fn request(
    url: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>, PortError> {
    // The address itself is not told: it may be a secret.
    let refused = || PortError::Refused("the address is not one of the web".to_owned());
    let uri: Uri = url.parse().map_err(|_| refused())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_web || uri.host().is_none_or(str::is_empty) {
        return Err(refused());
    }
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    Ok(request)
}

/// Tells whether the same request may be answered otherwise later.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// Reads the first part of an answer as one line.
async fn read(answer: Response<Incoming>, most: usize) -> String {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    // What cannot be read is not needed: the status says what became of the message.
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else {
            continue;
        };
        bytes.extend(data.iter().take(most.saturating_sub(bytes.len())));
        if bytes.len() >= most {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
}

/// Returns what is at the bottom of an error: what the machine or the other side said.
fn deepest(error: &legacy::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    reason
}

fn failed(attempted: &str, reason: String) -> PortError {
    PortError::Failed {
        attempted: attempted.to_owned(),
        reason,
    }
}
