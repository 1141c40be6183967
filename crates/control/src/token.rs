//! Bearer tokens: made, listed, revoked, recognised. Not where they are asked for.

use towpath_store::{NewToken, Token};

use crate::error::Error;
use crate::platform::Platform;

impl Platform {
    /// Makes a token.
    pub async fn create_token(&self, name: &str, actor: &str) -> Result<NewToken, Error> {
        let now = self.shared.ports.clock.now();
        Ok(self
            .shared
            .ports
            .store
            .create_token(name, actor, now)
            .await?)
    }

    /// Returns all tokens, oldest first, revoked ones too.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        Ok(self.shared.ports.store.tokens().await?)
    }

    /// Revokes a token for ever.
    pub async fn revoke_token(&self, id: &str, actor: &str) -> Result<Token, Error> {
        let now = self.shared.ports.clock.now();
        Ok(self.shared.ports.store.revoke_token(id, actor, now).await?)
    }

    /// Returns the token that `presented` is; `None` when it is none, or was revoked.
    pub async fn verify_token(&self, presented: &str) -> Result<Option<Token>, Error> {
        Ok(self.shared.ports.store.verify_token(presented).await?)
    }
}
