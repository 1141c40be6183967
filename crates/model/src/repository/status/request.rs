//! A status as each forge wants to be told it: a request as a value. Not how it travels.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{State, Status};
use crate::id::Digest;
use crate::repository::outside::{Forge, Outside, Transport};
use crate::workload::SecretValue;

/// The most characters of a description: GitHub refuses longer ones.
const DESCRIPTION_MAX: usize = 140;

/// The most characters of a context: Gitea and GitLab have columns of 255.
const CONTEXT_MAX: usize = 200;

/// The most characters of a key of Bitbucket Cloud.
const KEY_MAX: usize = 40;

/// A request to a forge: a POST of a JSON document.
#[derive(Debug, Clone, PartialEq)]
pub struct ForgeRequest {
    /// Where to.
    pub url: String,
    /// The field that shows who asks.
    pub authorization: (&'static str, SecretValue),
    /// What is sent.
    pub body: Value,
    /// Which authorities are trusted beside those of the machine, as PEM.
    pub authorities: Option<SecretValue>,
}

/// Where a repository is at its forge.
struct Place {
    /// The forge's own address, without a slash at its end.
    base: String,
    host: String,
    /// The repository there.
    path: String,
    /// Whether somebody named the forge's address.
    is_named: bool,
}

/// Returns the request that tells a forge a status. `None` where the forge is not known, or the address
/// names no repository of it.
pub fn request(outside: &Outside, token: &SecretValue, status: &Status) -> Option<ForgeRequest> {
    let forge = outside.forge()?;
    let place = place(outside)?;
    let api = api(forge, &place)?;
    let commit = status.commit.as_str();
    let (url, body) = match forge {
        Forge::GitHub | Forge::Gitea => (format!("{api}/statuses/{commit}"), plain(status)),
        Forge::GitLab => (format!("{api}/statuses/{commit}"), gitlab(status)),
        Forge::BitbucketCloud => {
            let url = format!("{api}/commit/{commit}/statuses/build");
            (url, build(status, "STOPPED", &page(forge, &place, commit)?))
        }
        Forge::BitbucketDataCenter => {
            let url = format!("{api}/commits/{commit}/builds");
            (
                url,
                build(status, "CANCELLED", &page(forge, &place, commit)?),
            )
        }
    };
    Some(ForgeRequest {
        url,
        authorization: authorization(forge, token),
        body,
        authorities: None,
    })
}

fn place(outside: &Outside) -> Option<Place> {
    let url = &outside.url;
    let mut path = url.path()?.trim_matches('/');
    let base = match (&outside.web, url.transport()) {
        (Some(web), _) => web.as_str().trim_end_matches('/').to_owned(),
        (None, Transport::Https) => format!("https://{}", url.authority()?),
        (None, Transport::Http) => format!("http://{}", url.authority()?),
        // The port is that of SSH.
        (None, Transport::Ssh) => format!("https://{}", url.host()?),
        (None, Transport::File) => return None,
    };
    let (_, rest) = base.split_once("://")?;
    let (authority, below) = rest.split_once('/').unwrap_or((rest, ""));
    if !below.is_empty() && matches!(url.transport(), Transport::Https | Transport::Http) {
        let within = path
            .strip_prefix(below)
            .and_then(|rest| rest.strip_prefix('/'));
        path = within.unwrap_or(path);
    }
    let path = path.strip_suffix(".git").unwrap_or(path).to_owned();
    let odd = |c: char| matches!(c, '?' | '#' | '%' | '\\');
    let climbs = path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if path.contains(odd) || climbs {
        return None;
    }
    Some(Place {
        host: authority.split(':').next()?.to_owned(),
        is_named: outside.web.is_some(),
        base,
        path,
    })
}

/// Returns the address of the repository in the forge's API.
fn api(forge: Forge, place: &Place) -> Option<String> {
    let Place { base, path, .. } = place;
    Some(match forge {
        Forge::GitHub => {
            let (owner, name) = owner_and_name(path)?;
            let api = match place.host.as_str() {
                "github.com" => "https://api.github.com".to_owned(),
                host if host.ends_with(".ghe.com") => format!("https://api.{host}"),
                _ => format!("{base}/api/v3"),
            };
            format!("{api}/repos/{owner}/{name}")
        }
        Forge::Gitea => {
            let (owner, name) = owner_and_name(path)?;
            format!("{base}/api/v1/repos/{owner}/{name}")
        }
        Forge::GitLab => {
            path.split_once('/')?;
            // The whole path is one segment, whatever groups there are.
            format!("{base}/api/v4/projects/{}", path.replace('/', "%2F"))
        }
        Forge::BitbucketCloud => {
            let (owner, name) = owner_and_name(path)?;
            let api = if place.is_named {
                base.as_str()
            } else {
                "https://api.bitbucket.org"
            };
            format!("{api}/2.0/repositories/{owner}/{name}")
        }
        Forge::BitbucketDataCenter => {
            let (project, name) = project_and_name(path)?;
            format!("{base}/rest/api/latest/projects/{project}/repos/{name}")
        }
    })
}

/// Returns the forge's own page of a commit: Bitbucket wants an address, and Towpath may have none.
fn page(forge: Forge, place: &Place, commit: &str) -> Option<String> {
    let Place { base, path, .. } = place;
    if forge == Forge::BitbucketCloud {
        return Some(format!("https://bitbucket.org/{path}/commits/{commit}"));
    }
    let (project, name) = project_and_name(path)?;
    Some(format!(
        "{base}/projects/{project}/repos/{name}/commits/{commit}"
    ))
}

fn plain(status: &Status) -> Value {
    let state = match status.state {
        State::Pending => "pending",
        State::Success => "success",
        State::Failure => "failure",
        State::Error => "error",
    };
    let body = json!({
        "state": state,
        "context": cut(&status.context, CONTEXT_MAX),
        "description": cut(&status.description, DESCRIPTION_MAX),
    });
    with_link(body, status)
}

fn gitlab(status: &Status) -> Value {
    let state = match status.state {
        State::Pending => "running",
        State::Success => "success",
        State::Failure => "failed",
        State::Error => "canceled",
    };
    let body = json!({
        "state": state,
        "name": cut(&status.context, CONTEXT_MAX),
        "description": cut(&status.description, DESCRIPTION_MAX),
    });
    with_link(body, status)
}

fn with_link(mut body: Value, status: &Status) -> Value {
    if let (Some(link), Some(fields)) = (&status.link, body.as_object_mut()) {
        fields.insert("target_url".to_owned(), json!(link));
    }
    body
}

fn build(status: &Status, stopped: &str, page: &str) -> Value {
    let state = match status.state {
        State::Pending => "INPROGRESS",
        State::Success => "SUCCESSFUL",
        State::Failure => "FAILED",
        State::Error => stopped,
    };
    let mut body = Map::new();
    let fields = [
        ("state", state.to_owned()),
        ("key", key(&status.context)),
        ("name", cut(&status.context, CONTEXT_MAX)),
        ("description", cut(&status.description, DESCRIPTION_MAX)),
        (
            "url",
            status.link.clone().unwrap_or_else(|| page.to_owned()),
        ),
    ];
    for (name, value) in fields {
        body.insert(name.to_owned(), json!(value));
    }
    Value::Object(body)
}

/// Makes a key of a context: the same for the same, and another for another, however long it is.
fn key(context: &str) -> String {
    if context.chars().count() <= KEY_MAX {
        return context.to_owned();
    }
    let digest: String = Digest::of(context.as_bytes()).into();
    let digest = digest.rsplit(':').next().unwrap_or_default();
    let begins: String = context.chars().take(KEY_MAX - 9).collect();
    let ends: String = digest.chars().take(8).collect();
    format!("{begins}-{ends}")
}

fn authorization(forge: Forge, token: &SecretValue) -> (&'static str, SecretValue) {
    let token = token.expose().trim_ascii();
    let with = |scheme: &str| SecretValue::new([scheme.as_bytes(), token].concat());
    match forge {
        Forge::GitLab => ("private-token", with("")),
        Forge::Gitea => ("authorization", with("token ")),
        // A name and an app password or API token, as Bitbucket gives them to people.
        Forge::BitbucketCloud | Forge::BitbucketDataCenter if token.contains(&b':') => {
            let value = format!("Basic {}", STANDARD.encode(token));
            ("authorization", SecretValue::new(value.into_bytes()))
        }
        Forge::GitHub | Forge::BitbucketCloud | Forge::BitbucketDataCenter => {
            ("authorization", with("Bearer "))
        }
    }
}

fn owner_and_name(path: &str) -> Option<(&str, &str)> {
    let (owner, name) = path.split_once('/')?;
    (!name.contains('/')).then_some((owner, name))
}

/// Over HTTP a repository of Bitbucket Data Center is below `scm/`.
fn project_and_name(path: &str) -> Option<(&str, &str)> {
    owner_and_name(path.strip_prefix("scm/").unwrap_or(path))
}

/// Makes one line that is short enough.
fn cut(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let plain: Vec<char> = line.chars().filter(|c| !c.is_control()).collect();
    if plain.len() <= most {
        return plain.into_iter().collect();
    }
    let begins = plain.into_iter().take(most.saturating_sub(1));
    begins.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn commit() -> String {
        "0123456789".repeat(4)
    }

    fn outside(forge: Option<Forge>, url: &str, web: Option<&str>) -> Outside {
        Outside {
            url: url.parse().unwrap(),
            every: Duration::from_mins(5),
            forge,
            web: web.map(|web| web.parse().unwrap()),
            link: None,
        }
    }

    fn status(state: State) -> Status {
        Status {
            commit: commit().parse().unwrap(),
            context: "towpath/unit".to_owned(),
            state,
            description: format!("compose.yaml:1:1: error\n{}", "x".repeat(500)),
            link: None,
        }
    }

    fn told(outside: &Outside, token: &[u8], state: State) -> ForgeRequest {
        request(outside, &SecretValue::new(token.to_vec()), &status(state)).unwrap()
    }

    /// Where a status of such a repository goes, without the commit.
    fn address(forge: Option<Forge>, url: &str, web: Option<&str>) -> Option<String> {
        let outside = outside(forge, url, web);
        let token = SecretValue::new(b"t".to_vec());
        let request = request(&outside, &token, &status(State::Success))?;
        Some(request.url.replace(&commit(), "SHA"))
    }

    #[test]
    fn each_forge_has_its_own_address() {
        let of = |url| address(None, url, None).unwrap();
        let github = "https://api.github.com/repos/ada/shop/statuses/SHA";
        assert_eq!(of("https://github.com/ada/shop.git"), github);
        assert_eq!(of("git@github.com:ada/shop.git"), github);
        let gitlab = "https://gitlab.com/api/v4/projects/team%2Fweb%2Fshop/statuses/SHA";
        assert_eq!(of("https://gitlab.com/team/web/shop.git"), gitlab);
        let api = "https://api.bitbucket.org/2.0/repositories";
        let cloud = format!("{api}/team/shop/commit/SHA/statuses/build");
        assert_eq!(of("https://bitbucket.org/team/shop"), cloud);
        let gitea = "https://codeberg.org/api/v1/repos/ada/shop/statuses/SHA";
        assert_eq!(of("https://codeberg.org/ada/shop"), gitea);
    }

    #[test]
    fn a_forge_of_ones_own_is_where_the_repository_is_or_where_somebody_says() {
        let of = |forge, url| address(Some(forge), url, None).unwrap();
        let ours = "https://git.example.com";
        let github = format!("{ours}/api/v3/repos/ada/shop/statuses/SHA");
        assert_eq!(
            of(Forge::GitHub, "https://git.example.com/ada/shop"),
            github
        );
        let hosted = "https://api.a.ghe.com/repos/ada/shop/statuses/SHA";
        assert_eq!(of(Forge::GitHub, "https://a.ghe.com/ada/shop"), hosted);
        let gitea = "http://127.0.0.1:3000/api/v1/repos/ada/shop/statuses/SHA";
        assert_eq!(of(Forge::Gitea, "http://127.0.0.1:3000/ada/shop"), gitea);
        // The port of SSH is not that of the web.
        let ssh = "ssh://git@git.example.com:2222/ada/shop.git";
        let gitea = format!("{ours}/api/v1/repos/ada/shop/statuses/SHA");
        assert_eq!(of(Forge::Gitea, ssh), gitea);
        let named = address(Some(Forge::Gitea), ssh, Some("http://10.0.0.1:3000")).unwrap();
        assert_eq!(
            named,
            "http://10.0.0.1:3000/api/v1/repos/ada/shop/statuses/SHA"
        );
        let below = Some("https://git.example.com/lab/");
        let gitlab = address(
            Some(Forge::GitLab),
            "https://git.example.com/lab/team/shop",
            below,
        );
        let wanted = format!("{ours}/lab/api/v4/projects/team%2Fshop/statuses/SHA");
        assert_eq!(gitlab.unwrap(), wanted);
        let center = format!("{ours}/rest/api/latest/projects/web/repos/shop/commits/SHA/builds");
        for url in [
            "https://git.example.com/scm/web/shop.git",
            "ssh://git@git.example.com:7999/web/shop.git",
        ] {
            assert_eq!(of(Forge::BitbucketDataCenter, url), center);
        }
    }

    #[test]
    fn only_hosts_that_everybody_knows_are_recognised_and_only_repositories_are_told() {
        for url in [
            "https://github.com.example.com/ada/shop",
            "file:///srv/ada/shop",
            "https://github.com/shop",
            "https://github.com/ada/shop/more",
            "https://github.com/ada/..",
            "https://github.com/ada/sh%2Fop",
        ] {
            assert_eq!(address(None, url, None), None, "{url}");
        }
    }

    #[test]
    fn each_forge_has_its_own_words() {
        let github = outside(None, "https://github.com/ada/shop", None);
        let gitlab = outside(None, "https://gitlab.com/ada/shop", None);
        let gitea = outside(None, "https://codeberg.org/ada/shop", None);
        let cloud = outside(None, "https://bitbucket.org/ada/shop", None);
        let center = outside(
            Some(Forge::BitbucketDataCenter),
            "https://b.example/scm/a/shop",
            None,
        );
        for (outside, words) in [
            (&github, ["pending", "success", "failure", "error"]),
            (&gitea, ["pending", "success", "failure", "error"]),
            (&gitlab, ["running", "success", "failed", "canceled"]),
            (&cloud, ["INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"]),
            (&center, ["INPROGRESS", "SUCCESSFUL", "FAILED", "CANCELLED"]),
        ] {
            let states = [State::Pending, State::Success, State::Failure, State::Error];
            for (state, word) in states.into_iter().zip(words) {
                let body = told(outside, b"t", state).body;
                assert_eq!(body["state"], word, "{outside:?}");
                assert_eq!(
                    body["description"], "compose.yaml:1:1: error",
                    "{outside:?}"
                );
            }
        }
        let body = |outside| told(outside, b"t", State::Success).body;
        assert_eq!(body(&github)["context"], "towpath/unit");
        assert_eq!(body(&gitlab)["name"], "towpath/unit");
        assert_eq!(body(&cloud)["key"], "towpath/unit");
        let page = format!("https://bitbucket.org/ada/shop/commits/{}", commit());
        assert_eq!(body(&cloud)["url"], page.as_str());
        let page = format!(
            "https://b.example/projects/a/repos/shop/commits/{}",
            commit()
        );
        assert_eq!(body(&center)["url"], page.as_str());
    }

    #[test]
    fn each_forge_is_shown_the_token_in_its_own_way_and_no_line_end() {
        let github = outside(None, "https://github.com/ada/shop", None);
        let gitlab = outside(None, "https://gitlab.com/ada/shop", None);
        let gitea = outside(None, "https://codeberg.org/ada/shop", None);
        let cloud = outside(None, "https://bitbucket.org/ada/shop", None);
        for (outside, token, field, value) in [
            (&github, "t0ken\n", "authorization", "Bearer t0ken"),
            (&gitlab, "t0ken\n", "private-token", "t0ken"),
            (&gitea, "t0ken", "authorization", "token t0ken"),
            (&cloud, "t0ken", "authorization", "Bearer t0ken"),
            // RFC 7617 section 2.
            (
                &cloud,
                "Aladdin:open sesame",
                "authorization",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
        ] {
            let request = told(outside, token.as_bytes(), State::Success);
            assert_eq!(request.authorization.0, field);
            assert_eq!(request.authorization.1.expose(), value.as_bytes());
            assert!(!format!("{request:?}").contains(value), "{request:?}");
        }
    }

    #[test]
    fn a_long_context_has_a_short_key_of_its_own() {
        let long = |end: &str| key(&format!("towpath/{}{end}", "x".repeat(60)));
        assert!(long("a").chars().count() <= KEY_MAX);
        assert_ne!(long("a"), long("b"));
        let text = cut(&"ü".repeat(500), DESCRIPTION_MAX);
        assert_eq!(text.chars().count(), DESCRIPTION_MAX);
    }
}
