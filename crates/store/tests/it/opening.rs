//! Opening a data directory: what is refused, how it is said, and that nothing is lost by it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;
use towpath_store::{Error, EventQuery, KeyError, MasterKey, Store};

use crate::support::{Directory, production};

#[tokio::test]
async fn a_second_control_plane_is_refused_and_told_who_is_there() {
    let directory = Directory::new();
    let first = directory.open().await;
    let error = directory.try_open().await.unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!(
            "the data directory {} is in use by another control plane (process {pid}); stop that one, or name another directory",
            directory.path().display()
        )
    );
    drop(first);
    directory.open().await;
}

#[tokio::test]
async fn a_child_that_was_just_started_does_not_keep_the_next_control_plane_out() {
    let directory = Directory::new();
    let store = directory.open().await;
    // It inherits nothing, but has everything between its fork and its exec.
    let starting = std::thread::spawn(|| {
        for _ in 0..100 {
            let child = Command::new("true").spawn();
            child.unwrap().wait().unwrap();
        }
    });
    store.close().await;
    while !starting.is_finished() {
        directory.open().await.close().await;
    }
    starting.join().unwrap();
}

#[tokio::test]
async fn opening_an_up_to_date_database_again_changes_nothing() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    directory.open().await.close().await;
    let before = fs::read(directory.database()).unwrap();
    directory.open().await.close().await;
    assert_eq!(fs::read(directory.database()).unwrap(), before);
}

#[tokio::test]
async fn an_empty_file_becomes_a_database() {
    let directory = Directory::new();
    let key = MasterKey::random().unwrap();
    fs::write(directory.database(), b"").unwrap();
    let store = Store::open(directory.path(), key).await.unwrap();
    assert_eq!(store.apps().await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_first_start_that_was_killed_between_two_transactions_is_finished_by_the_next() {
    let unmigrated = "CREATE TABLE _sqlx_migrations (
        version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
        checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";
    let unmigrated_directory = Directory::new();
    MasterKey::from_directory(unmigrated_directory.path()).unwrap();
    fs::write(unmigrated_directory.database(), b"").unwrap();
    unmigrated_directory.tamper(unmigrated).await;

    let keyless_directory = Directory::new();
    keyless_directory.open().await.close().await;
    keyless_directory
        .tamper("DELETE FROM master_key; DELETE FROM event_head")
        .await;

    for directory in [unmigrated_directory, keyless_directory] {
        directory.with_shop().await.close().await;
        let store = directory.open().await;
        let verification = store.verify_events().await.unwrap();
        assert_eq!((verification.count, verification.first_bad), (1, None));
    }
}

#[tokio::test]
async fn a_database_whose_key_record_was_removed_does_not_take_another_key() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    directory.tamper("DELETE FROM master_key").await;
    let other = MasterKey::random().unwrap();
    let error = Store::open(directory.path(), other).await.unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_alone() {
    let directory = Directory::new();
    let key = MasterKey::random().unwrap();
    let content = b"not a database, but somebody's only copy";
    fs::write(directory.database(), content).unwrap();
    let error = Store::open(directory.path(), key).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }));
    let text = error.to_string();
    assert!(text.contains("towpath.db") && text.contains("restore a backup"));
    assert_eq!(fs::read(directory.database()).unwrap(), content);
}

#[tokio::test]
async fn a_database_with_overwritten_pages_is_refused_and_left_alone() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    let mut content = fs::read(directory.database()).unwrap();
    for page in content.chunks_mut(4096).skip(1) {
        page.fill(0xa5);
    }
    fs::write(directory.database(), &content).unwrap();
    let error = directory.try_open().await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(directory.database()).unwrap(), content);
}

#[tokio::test]
async fn damage_in_a_table_that_is_not_read_at_the_start_is_found_at_the_start() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    let page: i64 = directory
        .query("SELECT rootpage FROM sqlite_schema WHERE name = 'tokens'")
        .await;
    let mut content = fs::read(directory.database()).unwrap();
    let index = usize::try_from(page).unwrap() - 1;
    content.chunks_mut(4096).nth(index).unwrap().fill(0xa5);
    fs::write(directory.database(), &content).unwrap();
    let error = directory.try_open().await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(directory.database()).unwrap(), content);
}

#[tokio::test]
async fn a_truncated_database_is_refused() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    let content = fs::read(directory.database()).unwrap();
    for keep in [20, 4096, content.len() / 2] {
        fs::write(directory.database(), content.get(..keep).unwrap()).unwrap();
        let error = directory.try_open().await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{keep}: {error}");
    }
}

#[tokio::test]
async fn somebody_elses_sqlite_database_is_refused() {
    let directory = Directory::new();
    let key = MasterKey::random().unwrap();
    fs::write(directory.database(), b"").unwrap();
    directory.tamper("CREATE TABLE recipes (name TEXT)").await;
    let error = Store::open(directory.path(), key).await.unwrap_err();
    assert!(
        error.to_string().contains("not a database of Towpath"),
        "{error}"
    );
}

#[tokio::test]
async fn a_schema_newer_than_the_binary_is_refused() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    directory
        .tamper(
            "INSERT INTO _sqlx_migrations
             SELECT 999, 'later', installed_on, success, checksum, execution_time
             FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    let error = directory.try_open().await.unwrap_err();
    assert!(matches!(error, Error::Newer { found: 999, .. }), "{error}");
}

#[tokio::test]
async fn a_migration_that_is_not_the_one_applied_is_refused() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    directory
        .tamper("UPDATE _sqlx_migrations SET checksum = x'00'")
        .await;
    assert!(matches!(
        directory.try_open().await,
        Err(Error::Corrupt { .. })
    ));
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_named() {
    let directory = Directory::new();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let key = MasterKey::random().unwrap();
    let error = Store::open(&file, key).await.unwrap_err();
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
}

#[tokio::test]
async fn another_master_key_is_refused_and_the_right_one_still_works() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    let wrong = MasterKey::random().unwrap();
    let error = Store::open(directory.path(), wrong).await.unwrap_err();
    assert!(
        matches!(error, Error::Key(KeyError::Wrong { .. })),
        "{error}"
    );
    let store = directory.open().await;
    assert!(
        store
            .load_environment(&production())
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn the_key_file_is_made_once_for_its_owner_alone() {
    let directory = Directory::new();
    let inner = directory.path().join("data");
    MasterKey::from_directory(&inner).unwrap();
    let file = inner.join("master.key");
    let content = fs::read(&file).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::metadata(&inner).unwrap().permissions().mode() & 0o777,
        0o700
    );
    MasterKey::from_directory(&inner).unwrap();
    assert_eq!(fs::read(&file).unwrap(), content);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_refused() {
    let directory = Directory::new();
    MasterKey::from_directory(directory.path()).unwrap();
    let file = directory.path().join("master.key");
    for mode in [0o640, 0o604, 0o660, 0o777] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let error = MasterKey::from_directory(directory.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{mode:o}: {error}");
    }
}

#[tokio::test]
async fn a_lost_key_file_is_not_replaced_by_a_new_key() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    fs::remove_file(directory.path().join("master.key")).unwrap();
    let error = directory.try_open().await.unwrap_err();
    assert!(
        matches!(error, Error::Key(KeyError::Missing { .. })),
        "{error}"
    );
    assert!(!directory.path().join("master.key").exists());
}

#[tokio::test]
async fn a_malformed_key_is_refused_without_being_repeated() {
    let directory = Directory::new();
    let file = directory.path().join("master.key");
    fs::write(&file, b"hunter2").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let error = MasterKey::from_directory(directory.path()).unwrap_err();
    assert!(error.to_string().contains("master.key"), "{error}");
    let given = MasterKey::from_base64("aHVudGVyMg==").unwrap_err();
    for text in [format!("{error} {error:?}"), format!("{given} {given:?}")] {
        assert!(
            !text.contains("hunter2") && !text.contains("aHVudGVyMg"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_key_given_as_text_opens_what_the_same_key_in_a_file_made() {
    let directory = Directory::new();
    directory.with_shop().await.close().await;
    let text = fs::read_to_string(directory.path().join("master.key")).unwrap();
    let key = MasterKey::from_base64(&text).unwrap();
    assert!(!format!("{key:?}").contains(text.trim()));
    Store::open(directory.path(), key).await.unwrap();
}

#[tokio::test]
async fn the_files_of_the_store_are_their_owners_alone() {
    let directory = Directory::new();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let store = directory.with_shop().await;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_make_the_store_time_out() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let (query, id, document) = (EventQuery::default(), production(), json!(1));
    let (events, apps, commit) = tokio::join!(
        store.events(&query),
        store.apps(),
        store.commit_environment(&id, 1, &document, &[], &[])
    );
    assert_eq!((events.unwrap().len(), apps.unwrap().len()), (1, 1));
    assert_eq!(commit.unwrap(), 2);
}
