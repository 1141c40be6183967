//! Bearer tokens of the HTTP API. Not what they allow: each allows everything. A token is 256
//! random bits, so its plain SHA-256 is enough to recognise it, and nothing to guess it from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use towpath_model::event::NewEvent;
use towpath_model::id::Digest;
use zeroize::Zeroizing;

use crate::{Error, KeyError, Store, event, row};

/// What every token begins with, so that scanners for leaked secrets know one.
const PREFIX: &str = "towpath_";

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// What is kept of it.
    pub token: Token,
    /// The token itself, which is never to be had again.
    pub secret: TokenSecret,
}

/// The text that a client presents. It is wiped on drop, and masked when debugged.
pub struct TokenSecret(Zeroizing<String>);

impl TokenSecret {
    /// Shows the text to whoever has to hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret(***)")
    }
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id, 12 hexadecimal characters.
    pub id: String,
    /// The name that its maker gave it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Since when it is no longer accepted.
    pub revoked_at: Option<Timestamp>,
}

type Row = (String, String, String, String, Option<String>);

impl Store {
    /// Makes a token and records `token.created`.
    pub async fn create_token(
        &self,
        name: &str,
        actor: &str,
        at: Timestamp,
    ) -> Result<NewToken, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(KeyError::Random)?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        let secret = TokenSecret(Zeroizing::new(format!("{PREFIX}{}", text.as_str())));
        let digest = Digest::of(secret.expose().as_bytes());
        let token = Token {
            // The digest of the digest: an id that says nothing of what is compared.
            id: Digest::of(digest.as_str().as_bytes()).short().to_owned(),
            name: name.to_owned(),
            created_at: at,
            created_by: actor.to_owned(),
            revoked_at: None,
        };
        let mut write = self.database.write().await?;
        sqlx::query(
            "INSERT INTO tokens (id, name, digest, created_at, created_by)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(token.id.as_str())
        .bind(name)
        .bind(digest.as_str())
        .bind(row::time(at))
        .bind(actor)
        .execute(&mut *write)
        .await?;
        let created = event_of("token.created", &token, actor, at);
        event::append(&mut write, &self.keys, None, &[created]).await?;
        write.commit().await?;
        Ok(NewToken { token, secret })
    }

    /// Returns the token that `presented` is; `None` when it is none, or was revoked.
    pub async fn verify_token(&self, presented: &str) -> Result<Option<Token>, Error> {
        let digest = Digest::of(presented.as_bytes());
        let mut read = self.database.read().await;
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, created_at, created_by, revoked_at FROM tokens
             WHERE digest = $1 AND revoked_at IS NULL",
        )
        .bind(digest.as_str())
        .fetch_optional(&mut *read)
        .await?;
        row.map(from_row).transpose()
    }

    /// Returns all tokens, oldest first, revoked ones too.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, created_at, created_by, revoked_at FROM tokens ORDER BY created_at, id",
        )
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Revokes a token for ever and records `token.revoked`. Fails with [`Error::NotFound`] when
    /// there is none of that id that is not revoked.
    pub async fn revoke_token(&self, id: &str, actor: &str, at: Timestamp) -> Result<Token, Error> {
        let mut write = self.database.write().await?;
        let row: Option<Row> = sqlx::query_as(
            "UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL
             RETURNING id, name, created_at, created_by, revoked_at",
        )
        .bind(row::time(at))
        .bind(id)
        .fetch_optional(&mut *write)
        .await?;
        let row = row.ok_or_else(|| Error::NotFound(format!("token `{id}`")))?;
        let token = from_row(row)?;
        let revoked = event_of("token.revoked", &token, actor, at);
        event::append(&mut write, &self.keys, None, &[revoked]).await?;
        write.commit().await?;
        Ok(token)
    }
}

fn event_of(what: &str, token: &Token, actor: &str, at: Timestamp) -> NewEvent {
    NewEvent {
        at,
        actor: actor.to_owned(),
        what: what.to_owned(),
        subject: format!("token {} ({})", token.id, token.name),
        from: None,
        to: None,
        reason: None,
    }
}

fn from_row((id, name, created_at, created_by, revoked_at): Row) -> Result<Token, Error> {
    Ok(Token {
        id,
        name,
        created_at: row::text(&created_at, "time")?,
        created_by,
        revoked_at: row::optional(revoked_at.as_deref(), "time")?,
    })
}
