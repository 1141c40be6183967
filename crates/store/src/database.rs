//! The database file: how it is opened, checked and migrated. Not what is in it.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use crate::Error;
use crate::connections::{Connections, Lease};

/// The name of the database file in the data directory.
pub(crate) const FILE_NAME: &str = "towpath.db";

/// `PRAGMA application_id` of our databases.
const APPLICATION_ID: i64 = 1_416_591_216;

/// The first bytes of every `SQLite` database (sqlite.org/fileformat2.html, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Queries are short and commits are serialised by the writer: two readers keep slow listings from
/// holding up the others, and each one costs a thread and its page cache.
const READERS: usize = 2;

/// The page cache of each connection in KiB. The working set is a few pages; the system's own
/// cache has the rest.
const CACHE_KIB: u32 = 512;

/// The open database: one connection that writes, a few that read.
#[derive(Debug)]
pub(crate) struct Database {
    writer: Connections,
    readers: Connections,
}

impl Database {
    /// Opens the database in `directory`, made when it is not there, and brings its schema up to
    /// date. A file that is not a sound database of ours is left as it is.
    pub(crate) async fn open(directory: &Path) -> Result<Self, Error> {
        let file = directory.join(FILE_NAME);
        touch(&file)?;
        let failed = |error| Error::sqlite(&file, error);
        let options = options(&file);
        let mut writer = options.connect().await.map_err(failed)?;
        check(&file, &mut writer).await?;
        migrate(&file, &mut writer).await?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let options = options.clone().pragma("query_only", "ON");
            readers.push(options.connect().await.map_err(failed)?);
        }
        Ok(Self {
            writer: Connections::new(vec![writer]),
            readers: Connections::new(readers),
        })
    }

    /// Begins a transaction that writes. There is one at a time.
    pub(crate) async fn write(&self) -> Result<Lease<'_>, Error> {
        self.writer.begin("BEGIN IMMEDIATE").await
    }

    /// Lends a connection for single queries.
    pub(crate) async fn read(&self) -> Lease<'_> {
        self.readers.lend().await
    }

    /// Begins a transaction in which several queries see the same state.
    pub(crate) async fn snapshot(&self) -> Result<Lease<'_>, Error> {
        self.readers.begin("BEGIN").await
    }

    /// Closes the database. The last connection to close folds the write-ahead log into the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Each commit is on the disk when it returns: `kill -9` and a power cut lose nothing.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(32)
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .pragma("journal_size_limit", "4194304")
        // What is deleted, such as a wiped secret, is overwritten with zeros.
        .pragma("secure_delete", "ON")
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
        .thread_name(|number| format!("store-{number}"))
}

/// Makes the file, for its owner alone, when it is not there. Refuses a file that is no database,
/// before `SQLite` touches it.
fn touch(path: &Path) -> Result<(), Error> {
    let unusable = |error| Error::file(path, error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(unusable)?;
    let mut head = Vec::with_capacity(MAGIC.len());
    file.take(16).read_to_end(&mut head).map_err(unusable)?;
    if head.is_empty() || head == MAGIC {
        return Ok(());
    }
    Err(Error::Corrupt {
        file: path.to_owned(),
        reason: "it is not an SQLite database".to_owned(),
    })
}

/// Checks that a database that is there is sound, ours, and not of a newer version.
async fn check(file: &Path, connection: &mut SqliteConnection) -> Result<(), Error> {
    let failed = |error| Error::sqlite(file, error);
    let corrupt = |reason: &str| Error::Corrupt {
        file: file.to_owned(),
        reason: reason.to_owned(),
    };
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if tables == 0 {
        return Ok(());
    }
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if verdict != "ok" {
        return Err(corrupt(verdict.trim()));
    }
    let migrations: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
    let found: Option<i64> = if migrations == 0 {
        None
    } else {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?
    };
    let known = newest();
    match found {
        Some(found) if found > known => Err(Error::Newer {
            file: file.to_owned(),
            found,
            known,
        }),
        // Killed in the middle of the first start: there is nothing but the list of migrations.
        None if migrations == 1 && tables <= 2 => Ok(()),
        _ => {
            let id: i64 = sqlx::query_scalar("PRAGMA application_id")
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
            if id == APPLICATION_ID {
                Ok(())
            } else {
                Err(corrupt("it is not a database of Towpath"))
            }
        }
    }
}

async fn migrate(file: &Path, connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut migrator = Migrator::with_migrations(migrations());
    // The lock on the data directory keeps others out.
    migrator.set_locking(false);
    migrator
        .run_direct(None, connection, false)
        .await
        .map_err(|error| Error::migration(file, newest(), error))
}

/// All migrations, oldest first. They only go forward.
fn migrations() -> Vec<Migration> {
    let migration = |version, name: &'static str, sql: &'static str| {
        let sql = sqlx::SqlSafeStr::into_sql_str(sql);
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    vec![
        migration(1, "first", include_str!("migrations/0001_first.sql")),
        migration(
            2,
            "destructions",
            include_str!("migrations/0002_destructions.sql"),
        ),
        migration(3, "runs", include_str!("migrations/0003_runs.sql")),
        migration(
            4,
            "repositories",
            include_str!("migrations/0004_repositories.sql"),
        ),
        migration(
            5,
            "outside repositories",
            include_str!("migrations/0005_outside_repositories.sql"),
        ),
        migration(
            6,
            "notifications",
            include_str!("migrations/0006_notifications.sql"),
        ),
        migration(
            7,
            "commit statuses",
            include_str!("migrations/0007_commit_statuses.sql"),
        ),
        migration(8, "caches", include_str!("migrations/0008_caches.sql")),
    ]
}

fn newest() -> i64 {
    migrations()
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// Where the database of a data directory is.
pub(crate) fn file(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_of_each_earlier_version_is_brought_up_to_date_with_what_is_in_it() {
        for version in 1..newest() {
            let directory = tempfile::tempdir().unwrap();
            let path = file(directory.path());
            let mut connection = options(&path)
                .create_if_missing(true)
                .connect()
                .await
                .unwrap();
            let mut earlier = migrations();
            earlier.retain(|migration| migration.version <= version);
            let migrator = Migrator::with_migrations(earlier);
            migrator
                .run_direct(None, &mut connection, false)
                .await
                .unwrap();
            sqlx::query("INSERT INTO apps (name, created_at) VALUES ('shop', 'then')")
                .execute(&mut connection)
                .await
                .unwrap();
            drop(connection);

            let database = Database::open(directory.path()).await.unwrap();
            let mut read = database.read().await;
            let now: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
                .fetch_one(&mut *read)
                .await
                .unwrap();
            let apps: i64 = sqlx::query_scalar("SELECT count(*) FROM apps")
                .fetch_one(&mut *read)
                .await
                .unwrap();
            assert_eq!((now, apps), (newest(), 1), "from version {version}");
        }
    }
}
