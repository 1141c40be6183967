//! That the value of a secret is nowhere but where it is used. A canary is given to the app, and
//! then looked for everywhere.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use towpath_model::id::EnvironmentId;

use crate::machine;
use crate::site::{Answer, Delivery, Site, production};

/// How long a stream of the API is listened to; everything else ends by itself before.
const LISTEN: Duration = Duration::from_secs(3);

/// What is looked for, and where everything that was said is kept until then.
#[derive(Debug, Default)]
pub(crate) struct Search {
    canaries: Vec<String>,
    said: Vec<(String, Vec<u8>)>,
}

impl Search {
    /// Makes a secret that nothing has by chance.
    pub(crate) fn canary(&mut self) -> String {
        let canary = format!("canary-{:032x}", rand::random::<u128>());
        self.canaries.push(canary.clone());
        canary
    }

    pub(crate) fn hear(&mut self, what: &str, answer: &Answer) {
        let text = format!("{}{}", answer.stdout, answer.stderr);
        self.said.push((what.to_owned(), text.into_bytes()));
    }

    /// Returns every place that has a canary, as it is or in hexadecimal.
    pub(crate) fn found(&self) -> Vec<String> {
        self.said
            .iter()
            .filter(|(_, bytes)| self.is_in(bytes))
            .map(|(place, _)| place.clone())
            .collect()
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.canaries.iter().any(|canary| {
            let hexadecimal: String = canary
                .bytes()
                .flat_map(|byte| format!("{byte:02x}").into_bytes())
                .map(char::from)
                .collect();
            [canary.as_str(), hexadecimal.as_str()].iter().any(|text| {
                bytes
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
            })
        })
    }

    /// Takes in all files below a directory but those that are the secrets themselves.
    pub(crate) fn read_files(&mut self, directory: &Path) -> usize {
        let mut count = 0;
        let mut waiting = vec![directory.to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in std::fs::read_dir(&directory).unwrap().flatten() {
                let path = entry.path();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    waiting.push(path);
                } else if kind.is_file() && !is_a_secret_file(&path) {
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    self.said.push((path.display().to_string(), bytes));
                    count += 1;
                }
            }
        }
        count
    }

    /// Takes in what anybody may see of processes, and the environment of those that are ours.
    pub(crate) fn read_processes(&mut self, site: &Site) {
        for process in machine::belonging_to(Path::new("")) {
            let line = process.arguments.join(" ");
            self.said.push((
                format!("arguments of {}", process.words()),
                line.into_bytes(),
            ));
        }
        for process in site.processes() {
            if ["serve", "router", "__shim"]
                .iter()
                .any(|role| process.has_role(role))
            {
                let all = process.environment.join("\n");
                self.said.push((
                    format!("environment of {}", process.words()),
                    all.into_bytes(),
                ));
            }
        }
    }
}

/// Where there is no file system in memory, the files that instances read are below their directory.
fn is_a_secret_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "secrets")
}

#[tokio::test]
async fn the_value_of_a_secret_is_nowhere_but_where_it_is_used() {
    let mut search = Search::default();
    let mut delivery = Delivery::default();
    delivery
        .web
        .insert("secrets", json!({ "PAYMENT_KEY": "payment-key" }));
    delivery
        .before
        .insert("web", "echo \"${#PAYMENT_KEY}\" >> '{root}/lengths'");
    let site = Site::with_launches(&delivery).await;
    std::fs::remove_file(site.root().join("app/raffle_key")).unwrap();
    let client = site.client();
    let id = production();
    let created = site.run(&["env", "create", "production", "--json"]).await;
    search.hear("env create", &created);
    let (first, payment) = (search.canary(), search.canary());
    let length = payment.len();
    let set = ["secret", "set", "production", "raffle_key", "--json"];
    let set = site.run_with_input(&set, first.as_bytes()).await.exited(0);
    search.hear("secret set", &set);
    client
        .set_secret(&id, "payment-key", payment.into())
        .await
        .unwrap();
    hear_refusals(&mut search, &site).await;

    let up = site
        .run(&["up", "--env", "production", "--json"])
        .await
        .exited(0);
    search.hear("up", &up);
    let with_first = secret_check(&site).await;
    let lengths = std::fs::read_to_string(site.root().join("lengths")).unwrap();
    assert!(
        lengths.lines().all(|line| line == length.to_string()),
        "{lengths}"
    );

    // Another value, with a good release and with one that fails.
    let second = search.canary();
    client
        .set_secret(&id, "raffle_key", second.into())
        .await
        .unwrap();
    site.write_version("2", "none");
    let deploy = ["deploy", "production", "--wait", "bake"];
    search.hear("deploy", &site.run(&deploy).await.exited(0));
    let with_second = secret_check(&site).await;
    assert_ne!(with_first, with_second);
    site.write_version("3", "crash-at-start");
    search.hear("failed deploy", &site.run(&deploy).await.exited(1));
    assert_eq!(secret_check(&site).await, with_second);
    search.read_processes(&site);
    hear_everything(&mut search, &site, &id).await;

    // A release has the versions of its secrets: the rollback brings back the first value.
    let back = site
        .run(&["rollback", "production", "--release", "1"])
        .await
        .exited(0);
    search.hear("rollback", &back);
    assert_eq!(secret_check(&site).await, with_first);
    for command in ["status", "deployments", "plan"] {
        search.hear(command, &site.run(&[command, "production"]).await.exited(0));
    }
    search.read_processes(&site);
    hear_everything(&mut search, &site, &id).await;
    assert_found_nowhere(search, &site);
}

/// Looks through what was said and all files of the site.
pub(crate) fn assert_found_nowhere(mut search: Search, site: &Site) {
    let files = search.read_files(site.root());
    assert!(files > 10, "only {files} files were found");
    let database = |suffix: &str| search.said.iter().any(|(place, _)| place.ends_with(suffix));
    assert!(
        database(".db") && database(".db-wal"),
        "the database was not found"
    );
    assert_eq!(search.found(), Vec::<String>::new());
    // The search itself finds a canary where one is.
    let canary = search.canaries.first().unwrap().clone().into_bytes();
    search.said.push(("here".to_owned(), canary));
    assert_eq!(search.found(), ["here"]);
}

/// Has secrets refused, and takes in what was said about it.
async fn hear_refusals(search: &mut Search, site: &Site) {
    let (client, id) = (site.client(), production());
    // What is refused is not repeated to whoever asked, nor noted.
    let refused = search.canary();
    let nowhere = "launches/nowhere".parse().unwrap();
    for (id, name) in [(&nowhere, "raffle_key"), (&id, "no name/at all")] {
        let error = client
            .set_secret(id, name, refused.clone().into())
            .await
            .unwrap_err();
        search.said.push((
            "a refused secret".to_owned(),
            format!("{error:?} {error}").into_bytes(),
        ));
    }
}

/// Takes in the answer of every GET that the API's own document has.
pub(crate) async fn hear_everything(search: &mut Search, site: &Site, id: &EnvironmentId) {
    let (_, document) = get(site, "/openapi.json").await;
    let document: Value = serde_json::from_slice(&document).unwrap();
    let number = site.client().deployments(id, 1).await.unwrap()[0].number;
    let mut heard = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods["get"].is_null() {
            continue;
        }
        for number in 1..=number {
            let path = path
                .replace("{app}", id.app.as_str())
                .replace("{environment}", id.name.as_str())
                .replace("{number}", &number.to_string())
                .replace("{digest}", &format!("sha256:{}", "0".repeat(64)));
            let (status, body) = get(site, &path).await;
            assert!(
                status == 200 || path.contains("/sources/") || path.contains("/runs/"),
                "{path}: {status}"
            );
            search.said.push((format!("GET {path}"), body));
            heard += 1;
            if !path.contains("/deployments/") {
                break;
            }
        }
    }
    assert!(heard >= 10, "only {heard} answers were heard");
}

/// Asks the API, and returns the status and what came within [`LISTEN`].
async fn get(site: &Site, path: &str) -> (u16, Vec<u8>) {
    let mut stream = UnixStream::connect(site.home().join("towpath.sock"))
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: towpath\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A stream of events goes on: what came by then is looked at.
    drop(tokio::time::timeout(LISTEN, stream.read_to_end(&mut answer)).await);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = answer.split_off(end.unwrap() + 4);
    let head = String::from_utf8_lossy(&answer);
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap(), body)
}

/// Returns the digest that the app makes with the key that it has.
async fn secret_check(site: &Site) -> String {
    let mut stream = TcpStream::connect(site.address()).await.unwrap();
    let request =
        "GET /secret-check HTTP/1.1\r\nhost: launches.example\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    body.to_owned()
}
