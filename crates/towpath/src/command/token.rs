//! `towpath token`: bearer tokens for the API on TCP.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

use super::table::{ago, table};
use super::{connect, print};
use crate::arguments::TokenCommand;
use crate::settings::Settings;

/// Runs `towpath token`.
pub(crate) async fn run(command: &TokenCommand, settings: &Settings) -> Result<ExitCode> {
    let client = connect::client(settings)?;
    match command {
        TokenCommand::Create(create) => {
            let made = client.create_token(&create.name).await?;
            if create.json {
                return print(&format!("{}\n", serde_json::to_string(&made)?));
            }
            print(&format!("{}\n", made.secret))
        }
        TokenCommand::Ls(list) => {
            let tokens = client.tokens().await?;
            if list.json {
                return print(&format!("{}\n", serde_json::to_string(&tokens)?));
            }
            let now = Timestamp::now();
            let rows = tokens.iter().map(|token| {
                vec![
                    token.id.clone(),
                    token.name.clone(),
                    ago(token.created_at, now),
                    token.created_by.clone(),
                    token
                        .revoked_at
                        .map_or_else(String::new, |at| format!("revoked {}", ago(at, now))),
                ]
            });
            print(&format!(
                "{}\n",
                table(&["token", "name", "made", "by", ""], rows)
            ))
        }
        TokenCommand::Rm(remove) => {
            client.revoke_token(&remove.name).await?;
            if remove.json {
                return print(&format!(
                    "{}\n",
                    json!({ "id": remove.name, "revoked": true })
                ));
            }
            print(&format!("token {} is no longer accepted\n", remove.name))
        }
    }
}
