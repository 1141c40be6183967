//! Mail: a message as one, and the server that takes it.

use lettre::address::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls as Security, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use towpath_model::notify::{Message, Smtp, Tls};
use towpath_model::port::PortError;

use crate::config::Config;

/// What is known only when a mail is sent.
pub(crate) struct Way {
    pub(crate) password: Option<String>,
    /// The certificates of an authority that is trusted beside those of the machine.
    pub(crate) ca: Option<String>,
}

/// Sends a message to a mail server. Returns what it answered.
pub(crate) async fn send(
    config: &Config,
    smtp: &Smtp,
    way: Way,
    message: &Message,
) -> Result<String, PortError> {
    let mail = mail(smtp, message)?;
    let transport = transport(config, smtp, way)?;
    match tokio::time::timeout(config.timeout, transport.send(mail)).await {
        Ok(Ok(answer)) => {
            let words: Vec<&str> = answer.message().collect();
            Ok(format!("{} {}", answer.code(), words.join(" ")))
        }
        Ok(Err(error)) => Err(failed(smtp, &error)),
        Err(_) => Err(PortError::Failed {
            attempted: format!("sending over {}", smtp.host),
            reason: "it took too long".to_owned(),
        }),
    }
}

fn transport(
    config: &Config,
    smtp: &Smtp,
    Way { password, ca }: Way,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, PortError> {
    let parameters = || {
        let mut builder = TlsParameters::builder(smtp.host.clone());
        if let Some(ca) = &ca {
            let authority = Certificate::from_pem(ca.as_bytes());
            let refused = |error| PortError::Refused(format!("`ca` cannot be used: {error}"));
            builder = builder.add_root_certificate(authority.map_err(refused)?);
        }
        builder.build().map_err(|error| PortError::Failed {
            attempted: "preparing TLS".to_owned(),
            reason: error.to_string(),
        })
    };
    let security = match smtp.tls {
        Tls::Starttls => Security::Required(parameters()?),
        Tls::Implicit => Security::Wrapper(parameters()?),
        Tls::None => Security::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host.as_str())
        .port(smtp.port)
        .tls(security)
        .hello_name(ClientId::Domain("towpath.localhost".to_owned()))
        .timeout(Some(config.connect_timeout));
    if let (Some(username), Some(password)) = (&smtp.username, password) {
        builder = builder.credentials(Credentials::new(username.clone(), password));
    }
    Ok(builder.build())
}

fn mail(smtp: &Smtp, message: &Message) -> Result<Mail, PortError> {
    let id = format!("<{}@towpath.localhost>", message.id);
    let mut builder = Mail::builder()
        .message_id(Some(id))
        .from(Mailbox::new(
            Some("Towpath".to_owned()),
            address(&smtp.from)?,
        ))
        .subject(&message.title)
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Towpath-Kind", &message.kind))
        .header(ContentType::TEXT_PLAIN);
    for to in &smtp.to {
        builder = builder.to(Mailbox::new(None, address(to)?));
    }
    builder
        .body(message.text.clone())
        .map_err(|error| PortError::Refused(format!("the mail cannot be made: {error}")))
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn address(text: &str) -> Result<Address, PortError> {
    text.parse()
        .map_err(|_| PortError::Refused(format!("`{text}` is not a mail address")))
}

/// Says what the server refused, and whether it may take it later (RFC 5321 section 4.2.1).
fn failed(smtp: &Smtp, error: &lettre::transport::smtp::Error) -> PortError {
    let mut reason = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        let cause = cause.to_string();
        if !reason.contains(&cause) {
            reason = format!("{reason}: {cause}");
        }
    }
    if error.is_permanent() {
        return PortError::Refused(reason);
    }
    PortError::Failed {
        attempted: format!("sending over {}", smtp.host),
        reason,
    }
}
