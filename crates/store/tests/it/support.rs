//! A temporary data directory, its store, and values to put there.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Decode, Sqlite, Type};
use tempfile::TempDir;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, DeploymentNumber, EnvironmentId, ReleaseNumber};
use towpath_store::{DeploymentRow, Error, MasterKey, NewRelease, Store};

/// A data directory that goes away with the test.
pub(crate) struct Directory(TempDir);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("towpath.db")
    }

    pub(crate) async fn try_open(&self) -> Result<Store, Error> {
        let key = MasterKey::from_directory(self.path())?;
        Store::open(self.path(), key).await
    }

    pub(crate) async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    /// Opens it with the app `shop` and its environment `shop/production`.
    pub(crate) async fn with_shop(&self) -> Store {
        let store = self.open().await;
        store.create_app(&shop(), "ann", at(0)).await.unwrap();
        store
            .create_environment(&production(), "process", &json!({"n": 0}), at(0), &[])
            .await
            .unwrap();
        store
    }

    /// Tells whether any file of the directory has these bytes.
    pub(crate) fn has_bytes(&self, wanted: &[u8]) -> bool {
        std::fs::read_dir(self.path()).unwrap().any(|entry| {
            let content = std::fs::read(entry.unwrap().path()).unwrap();
            content.windows(wanted.len()).any(|window| window == wanted)
        })
    }

    /// Reads one value from the closed database.
    pub(crate) async fn query<T>(&self, sql: &'static str) -> T
    where
        T: Type<Sqlite> + for<'r> Decode<'r, Sqlite> + Send + Unpin,
    {
        let options = SqliteConnectOptions::new().filename(self.database());
        let mut connection = options.connect().await.unwrap();
        let value = sqlx::query_scalar(sql)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        value
    }

    /// Runs SQL on the closed database, as a hand with the `sqlite3` tool would.
    pub(crate) async fn try_tamper(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut connection = SqliteConnectOptions::new()
            .filename(self.database())
            .foreign_keys(false)
            .connect()
            .await?;
        let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await;
        connection.close().await?;
        result.map(drop)
    }

    /// The same, when it must succeed.
    pub(crate) async fn tamper(&self, sql: &str) {
        self.try_tamper(sql).await.unwrap();
    }
}

pub(crate) fn shop() -> AppName {
    "shop".parse().unwrap()
}

pub(crate) fn production() -> EnvironmentId {
    "shop/production".parse().unwrap()
}

pub(crate) fn staging() -> EnvironmentId {
    "shop/staging".parse().unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn event(what: &str) -> NewEvent {
    NewEvent {
        at: at(1),
        actor: "ann".to_owned(),
        what: what.to_owned(),
        subject: "deployment 1".to_owned(),
        from: Some("5 %".to_owned()),
        to: Some("25 %".to_owned()),
        reason: None,
    }
}

pub(crate) fn new_release(message: &str) -> NewRelease {
    NewRelease {
        source: None,
        commit: None,
        message: Some(message.to_owned()),
        created_at: at(2),
        created_by: "ann".to_owned(),
    }
}

pub(crate) fn deployment(number: u32, state: &str, document: Value) -> DeploymentRow {
    DeploymentRow {
        environment: production(),
        number: DeploymentNumber(number),
        release: ReleaseNumber(1),
        kind: "deploy".to_owned(),
        state: state.to_owned(),
        started_at: at(3),
        finished_at: None,
        document,
    }
}
