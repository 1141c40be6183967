//! Secrets reach the instance and nobody else.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use towpath_model::id::{SecretName, SecretVersion};
use towpath_model::port::Engine as _;
use towpath_model::workload::{SecretMount, SecretValue, WorkloadSpec};

use crate::support::{PATIENCE, World, processes_with, spec};

/// Not found anywhere else on the machine.
const CANARY: &str = "correct-horse-battery-staple-4711";

fn with_secret(line: &str) -> (WorkloadSpec, BTreeMap<SecretName, SecretValue>) {
    let name = SecretName::new("token").unwrap();
    let mut spec = spec(line);
    spec.secrets.push(SecretMount {
        secret: name.clone(),
        version: SecretVersion(1),
        file: Some("token".to_owned()),
        variable: Some("TOKEN".to_owned()),
    });
    spec.environment
        .insert("TOKEN_FILE".to_owned(), "/run/secrets/token".to_owned());
    (
        spec,
        BTreeMap::from([(name, SecretValue::new(CANARY.into()))]),
    )
}

fn files_with(needle: &str, directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            files_with(needle, &path, found);
        } else if kind.is_file() {
            let content = fs::read(&path).unwrap();
            if content
                .windows(needle.len())
                .any(|part| part == needle.as_bytes())
            {
                found.push(path);
            }
        }
    }
}

#[tokio::test]
async fn a_secret_is_a_file_and_a_variable_of_the_instance_and_nowhere_else() {
    let world = World::new().await;
    let line = "test \"$TOKEN\" = \"$(cat $TOKEN_FILE)\" && test \"$TOKEN_FILE\" = \
                \"$SECRETS_DIR/token\" && echo same; echo file=$TOKEN_FILE; exec sleep 1000";
    let (spec, values) = with_secret(line);
    let order = world.order(1, spec);
    world.engine.start(&order, &values).await.unwrap();
    world.line(|line| line == "same").await;
    let file = PathBuf::from(world.value("file").await);
    assert_eq!(fs::read_to_string(&file).unwrap(), CANARY);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    assert_eq!(
        file.parent()
            .unwrap()
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );

    let mut found = Vec::new();
    files_with(CANARY, world.directory.path(), &mut found);
    // Where there is no file system in memory the secret's own files are on the disk.
    found.retain(|path| !path.starts_with(world.instance_directory(&order.id).join("secrets")));
    assert_eq!(found, Vec::<PathBuf>::new());
    for (pid, line) in processes_with(world.directory.path()) {
        assert!(!line.contains(CANARY), "{pid}");
    }
    for entry in fs::read_dir("/proc").unwrap() {
        let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(CANARY));
    }

    let secrets = file.parent().and_then(Path::parent).unwrap().to_owned();
    world.stop(&order.id, PATIENCE).await;
    world.until_exited(&order.id).await;
    assert!(!secrets.exists());
    world.engine.remove(&order.id).await.unwrap();
    // Nor is an empty place left in memory.
    assert!(!secrets.exists() && !secrets.parent().unwrap().exists());
}

#[tokio::test]
async fn an_instance_whose_secret_is_not_given_does_not_start() {
    let world = World::new().await;
    let (spec, _) = with_secret("echo started");
    let order = world.order(1, spec);
    world.engine.start(&order, &BTreeMap::new()).await.unwrap();
    let exit = world.until_exited(&order.id).await;
    assert_eq!(
        exit.error.as_deref(),
        Some("the value of the secret `token` was not given")
    );
    let world = world.reopen();
    assert_eq!(world.until_exited(&order.id).await.error, exit.error);
}

#[tokio::test]
async fn a_secret_that_is_not_text_can_be_a_file_but_no_variable() {
    let world = World::new().await;
    let (mut spec, mut values) = with_secret("od -An -tx1 $TOKEN_FILE");
    let name = SecretName::new("token").unwrap();
    values.insert(name, SecretValue::new(vec![0xff, 0x00, 0x0a]));
    let order = world.order(1, spec.clone());
    world.engine.start(&order, &values).await.unwrap();
    let exit = world.until_exited(&order.id).await;
    assert!(exit.error.unwrap().contains("not text"));
    spec.secrets[0].variable = None;
    let order = world.order(2, spec);
    world.engine.start(&order, &values).await.unwrap();
    assert_eq!(world.until_exited(&order.id).await.log_tail, [" ff 00 0a"]);
}
