//! The control plane over TLS, as those elsewhere meet it: the command line, Git, and who speaks plain
//! HTTP. Certificates are made here, by authorities that only these tests know.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::git::{commit, git};
use crate::site::{Answer, Site};

/// An authority, and its certificate as PEM.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
struct Certified {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut own = CertificateParams::new(Vec::<String>::new()).unwrap();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = own.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(own, key),
            pem,
        }
    }

    fn certify(&self, name: &str) -> Certified {
        self.certify_as(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    fn certify_as(&self, wanted: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        Certified {
            certificate: wanted.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A control plane that speaks TLS, a token for it, and who is trusted.
struct Scene {
    site: Site,
    token: String,
}

impl Scene {
    async fn new(authority: &Authority, certified: &Certified) -> Self {
        let site = Site::new();
        let path = |name| site.root().join(name).to_str().unwrap().to_owned();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        let words = ["--tls-cert", &certificate, "--tls-key", &key];
        let site = site.listening().started_with(&words);
        let mut scene = Self {
            site,
            token: String::new(),
        };
        scene.certified(certified);
        scene.trust(authority);
        scene.site.serve().await;
        let token = scene.site.client().create_token("laptop").await.unwrap();
        scene.token = token.secret;
        scene
    }

    /// Puts a file in the place of another, as renewals do.
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.site.root().join(name), self.site.root().join("new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }

    fn certified(&self, certified: &Certified) {
        self.put("cert.pem", &certified.certificate);
        self.put("key.pem", &certified.key);
    }

    fn trust(&self, authority: &Authority) -> String {
        let path = self.put("ca.pem", &authority.pem);
        path.to_str().unwrap().to_owned()
    }

    fn https(&self) -> String {
        format!("https://{}", self.site.api_address())
    }

    fn ca(&self) -> String {
        self.site.root().join("ca.pem").to_str().unwrap().to_owned()
    }

    /// Runs a command as somebody elsewhere does.
    async fn run(&self, arguments: &[&str]) -> Answer {
        self.run_at(&self.https(), &self.ca(), arguments, &[]).await
    }

    async fn run_at(&self, server: &str, ca: &str, arguments: &[&str], input: &[u8]) -> Answer {
        let variables = [
            ("TOWPATH_SERVER", server),
            ("TOWPATH_TOKEN", &self.token),
            ("TOWPATH_CA", ca),
            // Nobody elsewhere has the data directory.
            ("TOWPATH_HOME", "/nowhere"),
        ];
        let site = &self.site;
        site.run_with_variables(arguments, &variables, input).await
    }

    /// Refuses anything but that the certificate is not trusted, for this reason.
    async fn distrusted(&self, reason: &str) {
        let refused = self.run(&["env", "ls"]).await.exited(3);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
        assert!(refused.stderr.contains("TOWPATH_CA"), "{}", refused.stderr);
    }
}

/// What no compression makes small.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    rand::fill(&mut noise[..]);
    noise
}

const APP: &str = r#"
app: shop
environments: { dev: { deploy: { branch: main } } }
services: { web: { process: { command: "echo begun; exec sleep 1000" }, listen: false } }
"#;

const COMPOSE: &str = "services: { web: { image: busybox } }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_the_command_line_does_it_does_over_tls() {
    let authority = Authority::new();
    let mut scene = Scene::new(&authority, &authority.certify("127.0.0.1")).await;
    scene.site.write("compose.yaml", COMPOSE);
    scene.site.write("towpath.yaml", APP);
    let app = scene.site.root().join("app");
    std::fs::write(app.join("noise"), noise(3 << 20)).unwrap();
    let up = ["up", "--env", "dev", "--json", "--wait", "bake"];
    scene.run(&up).await.exited(0);
    let listed = scene.run(&["env", "ls"]).await.exited(0);
    assert!(listed.stdout.contains("shop/dev"), "{}", listed.stdout);
    let logs = scene.run(&["logs", "dev"]).await.exited(0);
    assert!(logs.stdout.contains("begun"), "{}", logs.stdout);

    let (https, ca) = (scene.https(), scene.ca());
    let input = "a line of no particular length\n".repeat(100_000);
    let exec = ["exec", "dev", "web", "--", "sh", "-c", "cat; exit 5"];
    let answer = scene.run_at(&https, &ca, &exec, input.as_bytes()).await;
    let answer = answer.exited(5);
    assert!(answer.stdout == input, "{} bytes", answer.stdout.len());
    let run = ["run", "dev", "web", "--", "cat"];
    let answer = scene.run_at(&https, &ca, &run, b"through\n").await;
    assert_eq!(answer.exited(0).stdout, "through\n");

    let events = scene.run(&["events", "--json"]).await.exited(0).json();
    let mut events = events.as_array().unwrap().iter();
    assert!(events.any(|one| one["actor"] == "token laptop"));
    scene.site.stop_control_plane().await;
    scene.run(&["env", "ls"]).await.exited(3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_over_tls_is_taken_where_its_authority_is_trusted() {
    let authority = Authority::new();
    let scene = Scene::new(&authority, &authority.certify("127.0.0.1")).await;
    let work = scene.site.root().join("work");
    std::fs::create_dir(&work).unwrap();
    git(&work, &["init", "--quiet", "--initial-branch=main"])
        .await
        .exited(0);
    for (name, content) in [
        ("compose.yaml", COMPOSE.as_bytes()),
        ("towpath.yaml", APP.as_bytes()),
        // More than Git sends in one piece.
        ("noise", &noise(3 << 20)),
    ] {
        std::fs::write(work.join(name), content).unwrap();
    }
    let head = commit(&work, "One").await;
    let address = scene.site.api_address();
    let url = format!("https://me:{}@{address}/git/shop", scene.token);
    let refused = git(&work, &["push", &url, "main"]).await;
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);

    let trusting = format!("http.sslCAInfo={}", scene.ca());
    let push = ["-c", &trusting, "push", &url, "main"];
    let answer = git(&work, &push).await.exited(0);
    let has = "remote: dev: has the release";
    assert!(answer.stderr.contains(has), "{}", answer.stderr);
    let list = ["-c", &trusting, "ls-remote", &url, "main"];
    let listed = git(&work, &list).await.exited(0);
    assert!(listed.stdout.starts_with(&head), "{}", listed.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_good_is_refused_with_the_reason() {
    let authority = Authority::new();
    let scene = Scene::new(&authority, &authority.certify("127.0.0.1")).await;
    scene.run(&["env", "ls"]).await.exited(0);
    scene.trust(&Authority::new());
    scene.distrusted("an authority that is not trusted").await;
    let none = scene.run_at(&scene.https(), "", &["env", "ls"], &[]).await;
    let none = none.exited(3).stderr;
    assert!(none.contains("an authority that is not trusted"), "{none}");

    scene.trust(&authority);
    scene.certified(&authority.certify("ship.example"));
    scene
        .distrusted("it is for another name: ship.example\n")
        .await;
    let mut old = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    old.not_after = date_time_ymd(2020, 1, 1);
    scene.certified(&authority.certify_as(&old));
    scene.distrusted("it has expired").await;
    let mut own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    scene.certified(&authority.certify_as(&own));
    scene.distrusted("it is that of an authority").await;

    let https = scene.https();
    let missing = scene.run_at(&https, "/no/such", &["env", "ls"], &[]);
    let missing = missing.await.exited(2).stderr;
    assert!(missing.contains("/no/such"), "{missing}");
    let empty = scene.put("empty.pem", "nothing\n");
    let empty = empty.to_str().unwrap();
    let refused = scene.run_at(&https, empty, &["env", "ls"], &[]);
    let refused = refused.await.exited(2).stderr;
    assert!(refused.contains(empty), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_taken_over_and_a_broken_one_is_not() {
    let first = Authority::new();
    let scene = Scene::new(&first, &first.certify("127.0.0.1")).await;
    scene.run(&["env", "ls"]).await.exited(0);
    let second = Authority::new();
    scene.certified(&second.certify("127.0.0.1"));
    scene.distrusted("an authority that is not trusted").await;
    scene.trust(&second);
    scene.run(&["env", "ls"]).await.exited(0);

    scene.put("cert.pem", "nothing\n");
    for _ in 0..3 {
        scene.run(&["env", "ls"]).await.exited(0);
    }
    let log = scene.site.log();
    let warnings = log.matches("the old one stays in use").count();
    assert_eq!(warnings, 1, "{log}");
    assert!(log.contains("there is no certificate in"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_speak_tls_is_told_so_and_holds_up_nobody() {
    let authority = Authority::new();
    let scene = Scene::new(&authority, &authority.certify("127.0.0.1")).await;
    let address = scene.site.api_address();
    let silent = TcpStream::connect(address).unwrap();
    let mut plain = TcpStream::connect(address).unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    for server in [address.to_string(), format!("http://{address}")] {
        let refused = scene.run_at(&server, "", &["env", "ls"], &[]).await;
        let refused = refused.exited(2).stderr;
        assert!(refused.contains("`https://`"), "{refused}");
    }
    scene.run(&["env", "ls"]).await.exited(0);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_without_a_good_certificate_does_not_start() {
    let site = Site::new();
    let (one, other) = (Authority::new(), Authority::new());
    let (one, other) = (one.certify("localhost"), other.certify("localhost"));
    let put = |name: &str, text: &str| {
        let path = site.root().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (certificate, key) = (put("cert.pem", &one.certificate), put("key.pem", &one.key));
    let other = put("other.pem", &other.key);
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    for (words, said) in [
        (&["--tls-cert", &certificate][..], "--tls-key"),
        (&["--tls-key", &key], "--tls-cert"),
        (&["--tls-cert", "/no/such", "--tls-key", &key], "/no/such"),
        (
            &["--tls-cert", &key, "--tls-key", &key],
            "there is no certificate in",
        ),
        (
            &["--tls-cert", &certificate, "--tls-key", &other],
            "is not that of the first certificate",
        ),
    ] {
        let refused = site.run(&[&listen[..], words].concat()).await.exited(2);
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    let nowhere = ["serve", "--tls-cert", &certificate, "--tls-key", &key];
    let refused = site.run(&nowhere).await.exited(2);
    assert!(refused.stderr.contains("--listen"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_on_a_network_works_and_is_warned_of_once() {
    let warning = "tokens cross the network in the clear";
    let mut site = Site::new().listening_everywhere();
    site.serve().await;
    let token = site.client().create_token("laptop").await.unwrap().secret;
    let server = format!("http://127.0.0.1:{}", site.api_address().port());
    let variables = [("TOWPATH_SERVER", &*server), ("TOWPATH_TOKEN", &token)];
    for _ in 0..2 {
        let listed = site.run_with_variables(&["env", "ls"], &variables, &[]);
        listed.await.exited(0);
    }
    let log = site.log();
    assert_eq!(log.matches(warning).count(), 1, "{log}");
    assert!(log.contains("--tls-cert FILE --tls-key FILE"), "{log}");

    let mut own = Site::new().listening();
    own.serve().await;
    assert!(!own.log().contains(warning), "{}", own.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_elsewhere_is_followed_over_tls_where_its_authority_is_trusted() {
    let authority = Authority::new();
    let scene = Scene::new(&authority, &authority.certify("127.0.0.1")).await;
    let (site, work) = (&scene.site, scene.site.root().join("work"));
    std::fs::create_dir(&work).unwrap();
    git(&work, &["init", "--quiet", "--initial-branch=main"])
        .await
        .exited(0);
    let compose = "services: { web: { image: busybox, command: [sleep, \"1000\"] } }\n";
    std::fs::write(work.join("compose.yaml"), compose).unwrap();
    commit(&work, "One").await;
    let address = site.api_address();
    let url = format!("https://me:{}@{address}/git/upstream", scene.token);
    let trusting = format!("http.sslCAInfo={}", scene.ca());
    git(&work, &["-c", &trusting, "push", &url, "main"])
        .await
        .exited(0);

    let upstream = format!("https://{address}/git/upstream");
    site.run(&["repo", "set", "shop", &upstream])
        .await
        .exited(0);
    let credential = ["repo", "secret", "shop", "credential"];
    let token = scene.token.as_bytes();
    site.run_with_input(&credential, token).await.exited(0);
    let refused = site.run(&["repo", "fetch", "shop"]).await.exited(1);
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);

    let authorities = ["repo", "secret", "shop", "ca"];
    let nothing = site.run_with_input(&authorities, b"nothing").await;
    nothing.exited(2);
    let ca = scene.ca();
    let authorities = [&authorities[..], &["--file", &ca]].concat();
    site.run(&authorities).await.exited(0);
    site.run(&["repo", "fetch", "shop"]).await.exited(0);
    let shown = site.run(&["repo", "show", "shop"]).await.exited(0).stdout;
    assert!(shown.contains("credential, ca"), "{shown}");
}
