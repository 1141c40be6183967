//! Statuses of commits: requests to forges, as they are. Not what is in them, nor what an answer means,
//! which is the model's.

use async_trait::async_trait;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use towpath_model::port::PortError;
use towpath_model::repository::status::{Answer, ForgeRequest, Forges};

use crate::http;
use crate::sender::Sender;

#[async_trait]
impl Forges for Sender {
    async fn tell(&self, request: &ForgeRequest) -> Result<Answer, PortError> {
        let (name, value) = &request.authorization;
        let refused = || PortError::Refused("the token is not one line of text".to_owned());
        let mut shown = HeaderValue::from_bytes(value.expose()).map_err(|_| refused())?;
        shown.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), shown);
        let body = request.body.to_string().into_bytes();
        let own;
        let client = match &request.authorities {
            None => self.client()?,
            Some(pem) => {
                let pem = String::from_utf8_lossy(pem.expose());
                own = http::client(self.config(), Some(&pem))?;
                &own
            }
        };
        let answer = http::exchange(client, self.config(), &request.url, headers, body).await?;
        let field = |name: &str| {
            let value = answer.headers.get(name)?.to_str().ok()?;
            Some(value.trim().to_owned())
        };
        let number = |names: [&str; 2]| names.iter().find_map(|name| field(name));
        Ok(Answer {
            status: answer.status.as_u16(),
            retry_after: field(RETRY_AFTER.as_str()),
            remaining: number(["x-ratelimit-remaining", "ratelimit-remaining"])
                .and_then(|text| text.parse().ok()),
            reset: number(["x-ratelimit-reset", "ratelimit-reset"])
                .and_then(|text| text.parse().ok()),
            words: covered(answer.words, value.expose()),
        })
    }
}

/// Takes out of an answer what shows who asked, should the other side repeat it.
fn covered(words: String, shown: &[u8]) -> String {
    let Ok(shown) = std::str::from_utf8(shown) else {
        return words;
    };
    let token = shown.rsplit(' ').next().unwrap_or(shown);
    if token.is_empty() {
        return words;
    }
    words.replace(token, "***")
}
