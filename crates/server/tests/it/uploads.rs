//! Source trees over the socket: what is refused, and that nothing of it stays.

use std::io::Write as _;

use towpath_api::tree::{ContentHash, EntryKind, Tree, TreePath};
use towpath_model::id::Digest;

use crate::site::{Answer, Site};

/// The kinds of an entry in a tar header (POSIX ustar).
const FILE: u8 = b'0';
const LINK: u8 = b'2';

/// Writes a gzipped tar archive of entries: name, kind, content (of a link, where it leads).
fn archive(entries: &[(&str, u8, &str)]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_ustar();
        // Written as bytes: the builder would refuse names that are tried here.
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkflag = [*kind];
        let body = if *kind == LINK {
            old.linkname[..content.len()].copy_from_slice(content.as_bytes());
            ""
        } else {
            content
        };
        header.set_mode(0o644);
        header.set_size(body.len().try_into().unwrap());
        header.set_cksum();
        builder.append(&header, body.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// What is tried, its bytes, and a word of the refusal.
type Case = (&'static str, Vec<u8>, &'static str);

/// The digest of a tree with one file.
fn digest_of(name: &str, content: &str) -> Digest {
    let mut hash = ContentHash::default();
    hash.update(content.as_bytes());
    let mut tree = Tree::default();
    tree.insert(TreePath::new(name).unwrap(), EntryKind::File, hash.finish());
    tree.digest()
}

async fn upload(site: &Site, digest: &Digest, body: &[u8]) -> Answer {
    site.ask(&format!("PUT /v1/sources/{digest}"), body).await
}

/// What is in the directory of the source trees.
fn kept(site: &Site) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(site.directory.path().join("sources")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_good_tree_is_taken_once_and_known_afterwards() {
    let site = Site::new().await;
    let digest = digest_of("run", "x");
    let show = format!("GET /v1/sources/{digest}");
    assert_eq!(site.ask(&show, b"").await.status, 404);
    let body = archive(&[("run", FILE, "x")]);
    assert_eq!(upload(&site, &digest, &body).await.status, 201);
    assert_eq!(upload(&site, &digest, &body).await.status, 200);
    assert_eq!(site.ask(&show, b"").await.status, 200);
    assert_eq!(kept(&site), [digest.as_str()]);
}

#[tokio::test]
async fn a_bad_tree_is_refused_and_nothing_of_it_stays() {
    let site = Site::new().await;
    let outside = site.directory.path().join("stolen");
    let absolute = outside.to_str().unwrap();
    let good = digest_of("run", "x");
    let mut cut = archive(&[("run", FILE, "x")]);
    cut.truncate(cut.len() / 2);
    let mut garbage = Vec::new();
    garbage.write_all(b"this is no archive at all").unwrap();
    let cases: Vec<Case> = vec![
        ("what is no archive", garbage, "cannot be read"),
        ("half an archive", cut, "cannot be read"),
        ("nothing", Vec::new(), ""),
        (
            "a path that climbs",
            archive(&[("../stolen", FILE, "x")]),
            "../stolen",
        ),
        (
            "a path from the root",
            archive(&[(absolute, FILE, "x")]),
            "stolen",
        ),
        (
            "a path that climbs later",
            archive(&[("a/../../stolen", FILE, "x")]),
            "stolen",
        ),
        (
            "a link that climbs",
            archive(&[("out", LINK, "../..")]),
            "out",
        ),
        (
            "a link from the root",
            archive(&[("out", LINK, "/etc")]),
            "out",
        ),
        (
            "a file through a link",
            archive(&[("d", LINK, "."), ("d/run", FILE, "x")]),
            "d",
        ),
        (
            "a name twice",
            archive(&[("run", FILE, "x"), ("run", FILE, "y")]),
            "twice",
        ),
        ("a device", archive(&[("null", b'3', "")]), "null"),
        ("another tree", archive(&[("run", FILE, "y")]), "changed"),
    ];
    for (what, body, word) in cases {
        let answer = upload(&site, &good, &body).await;
        assert_eq!(answer.status, 422, "{what}: {answer:?}");
        assert_eq!(answer.json()["type"], "invalid", "{what}");
        assert!(answer.body.contains(word), "{what}: {answer:?}");
        assert_eq!(kept(&site), Vec::<String>::new(), "{what}");
        assert!(!outside.exists(), "{what}");
    }
    let bad = site.ask("PUT /v1/sources/not-a-digest", b"").await;
    assert_eq!(bad.status, 400, "{bad:?}");
}

#[tokio::test]
async fn an_archive_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let site = Site::new().await;
    let digest = digest_of("run", "x");
    let head = format!("PUT /v1/sources/{digest}\r\nContent-Length: 2000000000");
    let answer = site.ask(&head, b"").await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.json()["type"], "too-large");
    assert_eq!(kept(&site), Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let site = Site::new().await;
    let digest = digest_of("run", "x");
    let mut stream = tokio::net::UnixStream::connect(site.socket())
        .await
        .unwrap();
    let head =
        format!("PUT /v1/sources/{digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsome");
    stream.write_all(head.as_bytes()).await.unwrap();
    let begun = || kept(&site).iter().any(|name| name.starts_with(".incoming"));
    wait_until(begun).await;
    drop(stream);
    wait_until(|| kept(&site).is_empty()).await;
}

async fn wait_until(done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it never comes to that");
}
