//! Caches: files that a job leaves for later runs of it, so that they are faster. Which of those that
//! are kept a job is given, what it leaves for whom, and which ones go when there are too many. Not
//! where they are kept.
//!
//! What the run of one reference leaves is given to others only where those who may push to it decide
//! on theirs anyway: what a pull request leaves stays with it, and the branches that environments are
//! brought releases from are there for all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::glob;
use super::push::{Push, Reference};
use crate::delivery::pipeline::{CacheSettings, MAIN_BRANCHES};
use crate::delivery::{DeliveryFile, Engine};
use crate::id::{Digest, RunNumber};
use crate::instance::elapsed;

/// The most bytes of one cache.
pub const BYTES_MAX: u64 = 2 << 30;

/// The most bytes of all caches of an app.
pub const APP_BYTES_MAX: u64 = 10 << 30;

/// How long a cache is kept that nobody is given.
pub const IDLE_MAX: Duration = Duration::from_hours(24 * 14);

/// Whose runs left something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Those of a branch.
    Branch(String),
    /// Those of a pull request.
    PullRequest(u64),
    /// Those of the files of directories.
    WorkingTree,
}

impl Scope {
    /// Returns that of the runs of a reference; `None` of a tag, which comes once.
    pub fn of(reference: &Reference) -> Option<Self> {
        match reference {
            Reference::Branch(name) => Some(Self::Branch(name.clone())),
            Reference::PullRequest { number, .. } => Some(Self::PullRequest(*number)),
            Reference::WorkingTree => Some(Self::WorkingTree),
            Reference::Tag(_) => None,
        }
    }
}

/// A text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scope of a cache")]
pub struct InvalidScope(String);

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::PullRequest(number) => write!(f, "pull request {number}"),
            Self::WorkingTree => f.write_str("working tree"),
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let invalid = || InvalidScope(text.to_owned());
        if let Some(name) = text.strip_prefix("branch ") {
            return Ok(Self::Branch(name.to_owned()));
        }
        if let Some(number) = text.strip_prefix("pull request ") {
            let number = number.parse().map_err(|_| invalid())?;
            return Ok(Self::PullRequest(number));
        }
        (text == "working tree")
            .then_some(Self::WorkingTree)
            .ok_or_else(invalid)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl TryFrom<String> for Scope {
    type Error = InvalidScope;

    fn try_from(text: String) -> Result<Self, InvalidScope> {
        text.parse()
    }
}

/// What a run may use of what others left, and for whom it leaves something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// For whom it leaves something; nobody where a tag is delivered, which comes once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Scope>,
    /// What it may use beside its own, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Scope>,
}

impl Reach {
    /// Returns that of a push. The branches that environments are brought releases from are for all.
    pub fn of(file: &DeliveryFile, push: &Push) -> Self {
        let own = Scope::of(&push.reference);
        let into = match &push.reference {
            Reference::PullRequest { into, .. } => Some(into.clone()),
            _ => None,
        };
        let named = file.environment_names().into_iter();
        let named = named.flat_map(|name| file.deploy(&name).branch);
        let named = named.filter(|name| !name.contains(['*', '?']));
        let main = MAIN_BRANCHES.map(str::to_owned);
        let mut others = Vec::new();
        for scope in into.into_iter().chain(named).chain(main).map(Scope::Branch) {
            if Some(&scope) != own.as_ref() && !others.contains(&scope) {
                others.push(scope);
            }
        }
        Self { own, others }
    }

    /// Returns how near something is that was left for `scope`; `None` for what is out of reach.
    pub fn distance(&self, scope: &Scope) -> Option<usize> {
        if self.own.as_ref() == Some(scope) {
            return Some(0);
        }
        let place = self.others.iter().position(|other| other == scope);
        place.map(|place| place + 1)
    }
}

/// What a job's cache is called by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name in the delivery file, or that of the job.
    pub name: String,
    /// Of what has to be the same for one to be of any use: the paths, the engine and the image.
    pub kind: Digest,
    /// Of the content of the files that decide; `None` where none does.
    pub key: Option<Digest>,
}

/// What the identity of a job's cache is made of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The job's name, with the values of its matrix.
    pub label: &'a str,
    /// What the delivery file says of it.
    pub settings: &'a CacheSettings,
    /// The engine that the job runs on.
    pub engine: Engine,
    /// What the job runs in on that engine: an image or a service, with the values of its matrix.
    pub place: &'a str,
    /// The digest of every file of the source tree.
    pub tree: &'a BTreeMap<String, Digest>,
}

impl Identity {
    /// Returns that of a job's cache.
    pub fn of(subject: &Subject<'_>) -> Self {
        let settings = subject.settings;
        let name = settings.name.clone();
        let paths: BTreeSet<&String> = settings.paths.iter().collect();
        let kind = format!("{:?} {:?} {paths:?}", subject.engine, subject.place);
        let decides = |path: &str| glob::any(&settings.files, path);
        let files = subject.tree.iter().filter(|(path, _)| decides(path));
        let files: Vec<String> = files
            .map(|(path, content)| format!("{content} {path:?}\n"))
            .collect();
        Self {
            name: name.unwrap_or_else(|| subject.label.to_owned()),
            kind: Digest::of(kind.as_bytes()),
            key: (!settings.files.is_empty()).then(|| Digest::of(files.concat().as_bytes())),
        }
    }
}

/// A cache that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// What it is called by.
    pub identity: Identity,
    /// Whose runs may replace it.
    pub scope: Scope,
    /// The run that left it.
    pub run: RunNumber,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// When it was left.
    pub made_at: Timestamp,
    /// When it was left, or given to a job at last.
    pub used_at: Timestamp,
}

impl Cache {
    /// Returns what it is stored under: another one with the same identity and scope takes its place.
    pub fn id(&self) -> Digest {
        let Identity { name, kind, key } = &self.identity;
        let key = key.as_ref().map_or("", Digest::as_str);
        let text = format!("{:?} {name:?} {kind} {key}", self.scope.to_string());
        Digest::of(text.as_bytes())
    }
}

/// What an attempt at a job was given of what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// There is nothing for it.
    Nothing,
    /// What was made of files with the same content.
    Exact(Found),
    /// What was made of others.
    Older(Found),
}

/// A cache that was found for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it is stored under.
    pub id: Digest,
    /// The run that left it.
    pub run: RunNumber,
    /// Whose runs may replace it.
    pub scope: Scope,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl Given {
    /// Returns the word that a job is told.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Exact(_) => "exact",
            Self::Older(_) => "older",
        }
    }

    /// Returns what was found.
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Nothing => None,
            Self::Exact(found) | Self::Older(found) => Some(found),
        }
    }
}

/// Chooses what a job is given: of the same files, the nearest; else the nearest of others, of which
/// the newest.
pub fn choose(kept: &[Cache], wanted: &Identity, reach: &Reach) -> Given {
    let usable = kept
        .iter()
        .filter(|one| one.identity.name == wanted.name && one.identity.kind == wanted.kind);
    let near = usable.filter_map(|one| Some((reach.distance(&one.scope)?, one)));
    let is_exact = |one: &Cache| one.identity.key == wanted.key;
    let best = near
        .min_by_key(|(distance, one)| (!is_exact(one), *distance, std::cmp::Reverse(one.made_at)));
    let Some((_, best)) = best else {
        return Given::Nothing;
    };
    let found = Found {
        id: best.id(),
        run: best.run,
        scope: best.scope.clone(),
        files: best.files,
        bytes: best.bytes,
    };
    if is_exact(best) {
        Given::Exact(found)
    } else {
        Given::Older(found)
    }
}

/// Returns for whom a job that passed leaves its files; `None` where that would be no use to anybody:
/// it was given what was made of the same files, or comes only once.
pub fn leaves_for(given: Option<&Given>, settings: &CacheSettings, reach: &Reach) -> Option<Scope> {
    let is_known = matches!(given, Some(Given::Exact(_))) && !settings.files.is_empty();
    reach.own.clone().filter(|_| !is_known)
}

/// Returns what has to go of an app's caches: those that nobody was given for long, and the longest
/// unused ones of those that are too many.
pub fn surplus(kept: &[Cache], now: Timestamp) -> Vec<Digest> {
    let mut newest: Vec<&Cache> = kept.iter().collect();
    newest.sort_by_key(|one| std::cmp::Reverse(one.used_at));
    let mut bytes: u64 = 0;
    let goes = newest.into_iter().filter(|one| {
        if elapsed(one.used_at, now) > IDLE_MAX {
            return true;
        }
        bytes = bytes.saturating_add(one.bytes);
        bytes > APP_BYTES_MAX
    });
    goes.map(Cache::id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn identity(name: &str, key: &str) -> Identity {
        Identity {
            name: name.to_owned(),
            kind: Digest::of(b"kind"),
            key: (!key.is_empty()).then(|| Digest::of(key.as_bytes())),
        }
    }

    fn cache(scope: &str, key: &str, run: u32) -> Cache {
        Cache {
            identity: identity("unit", key),
            scope: scope.parse().unwrap(),
            run: RunNumber(run),
            files: 1,
            bytes: 10,
            made_at: at(i64::from(run)),
            used_at: at(i64::from(run)),
        }
    }

    fn push(reference: Reference) -> Push {
        Push {
            app: "shop".parse().unwrap(),
            source: Digest::of(b"tree"),
            commit: "c".to_owned(),
            reference,
            changed: None,
            author: String::new(),
            message: String::new(),
            actor: String::new(),
        }
    }

    fn reach(reference: Reference) -> Reach {
        let yaml = "environments:\n  dev: { deploy: { branch: [develop, \"x/*\"] } }\n";
        let source = towpath_compose::Source::new("towpath.yaml", yaml.to_owned());
        let delivery = crate::delivery::Delivery::parse(&source).unwrap();
        Reach::of(&delivery.file, &push(reference))
    }

    fn scopes(reach: &Reach) -> (String, Vec<String>) {
        let own = reach.own.as_ref().map(Scope::to_string);
        let others = reach.others.iter().map(Scope::to_string);
        (own.unwrap_or_default(), others.collect())
    }

    fn request() -> Reference {
        Reference::PullRequest {
            number: 7,
            from: "main".to_owned(),
            into: "next".to_owned(),
            fork: true,
        }
    }

    #[test]
    fn what_a_pull_request_leaves_stays_with_it_and_trunks_are_for_all() {
        let trunks = |more: &[&str]| {
            let names = more.iter().chain(&["develop", "main", "master"]);
            let names = names.map(|name| format!("branch {name}"));
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            scopes(&reach(request())),
            ("pull request 7".to_owned(), trunks(&["next"]))
        );
        let feature = reach(Reference::Branch("feature".to_owned()));
        assert_eq!(scopes(&feature), ("branch feature".to_owned(), trunks(&[])));
        let tag = reach(Reference::Tag("v1".to_owned()));
        assert_eq!(scopes(&tag), (String::new(), trunks(&[])));
        let main = reach(Reference::Branch("main".to_owned()));
        assert_eq!(main.distance(&"branch main".parse().unwrap()), Some(0));
        for stranger in ["pull request 7", "branch feature", "working tree"] {
            assert_eq!(main.distance(&stranger.parse().unwrap()), None);
        }
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for text in ["branch a b", "pull request 7", "working tree"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in ["", "tag v1", "pull request x"] {
            text.parse::<Scope>().unwrap_err();
        }
    }

    #[test]
    fn the_same_files_count_more_than_nearness_and_nearness_more_than_age() {
        let reach = reach(request());
        let own_old = cache("pull request 7", "a", 9);
        let base_same = cache("branch next", "b", 2);
        let main_same = cache("branch main", "b", 3);
        let foreign = cache("branch feature", "b", 4);
        let wanted = identity("unit", "b");
        let chosen = |kept: &[&Cache]| {
            let kept: Vec<Cache> = kept.iter().map(|&one| one.clone()).collect();
            let given = choose(&kept, &wanted, &reach);
            let run = given.found().map(|found| found.run.0);
            (given.word(), run)
        };
        assert_eq!(chosen(&[&foreign]), ("none", None));
        assert_eq!(
            chosen(&[&own_old, &main_same, &base_same, &foreign]),
            ("exact", Some(2))
        );
        let older = cache("branch main", "c", 8);
        assert_eq!(chosen(&[&older, &own_old]), ("older", Some(9)));
        let newer = cache("pull request 7", "c", 10);
        assert_eq!(chosen(&[&newer, &own_old]), ("older", Some(10)));
        let mut other_kind = main_same.clone();
        other_kind.identity.kind = Digest::of(b"another image");
        assert_eq!(chosen(&[&other_kind]), ("none", None));
    }

    fn settings(files: &[&str]) -> CacheSettings {
        CacheSettings {
            paths: vec!["deps".to_owned()],
            files: files.iter().map(|&file| file.to_owned()).collect(),
            name: None,
        }
    }

    #[test]
    fn the_key_is_made_of_the_files_that_decide_and_the_kind_of_where_the_job_runs() {
        let tree = |lock: &str| {
            BTreeMap::from([
                ("a/x.lock".to_owned(), Digest::of(lock.as_bytes())),
                ("main.rs".to_owned(), Digest::of(lock.as_bytes())),
            ])
        };
        let of = |files: &[&str], place: &str, lock: &str| {
            Identity::of(&Subject {
                label: "unit (3.12)",
                settings: &settings(files),
                engine: Engine::Docker,
                place,
                tree: &tree(lock),
            })
        };
        let base = of(&["**/*.lock"], "debian", "1");
        assert_eq!(base.name, "unit (3.12)");
        assert_eq!(base, of(&["**/*.lock"], "debian", "1"));
        assert_ne!(base.key, of(&["**/*.lock"], "debian", "2").key);
        assert_ne!(base.kind, of(&["**/*.lock"], "alpine", "1").kind);
        assert_eq!(of(&[], "debian", "1").key, None);
    }

    #[test]
    fn a_job_leaves_nothing_that_is_there_already_and_a_tag_leaves_nothing_at_all() {
        let given = choose(
            &[cache("branch main", "b", 1)],
            &identity("unit", "b"),
            &reach(request()),
        );
        let left = |reference, files: &[&str], given| {
            leaves_for(given, &settings(files), &reach(reference)).map(|one| one.to_string())
        };
        let own = Some("pull request 7".to_owned());
        assert_eq!(left(request(), &["x.lock"], Some(&given)), None);
        assert_eq!(left(request(), &["x.lock"], Some(&Given::Nothing)), own);
        assert_eq!(left(request(), &[], Some(&given)), own);
        let tag = Reference::Tag("v1".to_owned());
        assert_eq!(left(tag, &[], Some(&Given::Nothing)), None);
    }

    #[test]
    fn the_longest_unused_go_first_when_there_are_too_many() {
        let large = |run: u32| Cache {
            bytes: 4 << 30,
            ..cache("branch main", &run.to_string(), run)
        };
        let (one, two, three) = (large(1), large(2), large(3));
        let kept = [two.clone(), one.clone(), three.clone()];
        assert_eq!(surplus(&kept, at(10)), [one.id()]);
        let later = at(10 + 14 * 24 * 3600);
        let used = Cache {
            used_at: later,
            ..three
        };
        assert_eq!(surplus(&[two.clone(), used], later), [two.id()]);
        assert_eq!(surplus(&[], later), []);
    }
}
