//! What runs take from others before them: caches, and results of the same inputs.

use super::*;

/// A job whose files change with a lock file, one whose files are always replaced, one that leaves
/// nothing that it says.
const CACHES: &str = "
app: shop
services: { web: { process: { command: serve, source: true } } }
environments: { dev: { deploy: { branch: main } } }
pipeline:
  - { name: locked, run: done, cache: { paths: [deps], files: [version] } }
  - { name: always, run: done, cache: deps }
  - { name: greedy, run: done, cache: { paths: nothing, name: other } }
  - { name: fails, run: bad, cache: { paths: deps, name: never } }
";

/// Jobs of which only the second one says that a result counts; it reads a secret and finds a file.
const REUSE: &str = "
app: shop
rollout: { bake: 0s, drain: 0s }
services: { web: { process: { command: serve, source: true } } }
environments: { dev: { deploy: { branch: main } } }
pipeline:
  - { name: build, run: done, artifacts: [dist] }
  - { name: unit, run: done, needs: [build], reuse: 1d, secrets: { KEY: key }, artifacts: [deps] }
  - { name: last, run: done, needs: [unit] }
";

fn own() -> towpath_model::id::ServiceName {
    "job".parse().unwrap()
}

impl Site {
    /// Has a tree of this version come to a reference, and waits for the end of its run.
    async fn settled(&self, number: u32, file: &str, (version, to): (&str, Reference)) -> Run {
        let commit = number.to_string();
        let begun = self.push_to(to, file, (&commit, version)).await;
        assert_eq!(begun.unwrap(), Some(RunNumber(number)));
        self.run_until(number, "settled", Run::is_settled).await
    }

    /// Returns what the first attempt at each job was given: the word, and the run that left it.
    fn given(run: &Run) -> Vec<(&'static str, Option<u32>)> {
        let jobs = run.jobs.iter().map(|job| &job.attempts[0]);
        jobs.map(|one| {
            let given = one.cache.as_ref().unwrap();
            (given.word(), given.found().map(|found| found.run.0))
        })
        .collect()
    }

    async fn set_key_of_dev(&self, value: &str) {
        self.set_key_of("shop/dev", value).await;
    }

    async fn set_key_of(&self, environment: &str, value: &str) {
        let id: EnvironmentId = environment.parse().unwrap();
        self.platform.create_environment(&id, "ada").await.unwrap();
        let value = SecretValue::new(value.as_bytes().to_vec());
        let key = "key".parse().unwrap();
        let set = self.platform.set_secret(&id, &key, &value, "ada");
        set.await.unwrap();
    }
}

fn branch(name: &str) -> Reference {
    Reference::Branch(name.to_owned())
}

fn request() -> Reference {
    Reference::PullRequest {
        number: 7,
        from: "topic".to_owned(),
        into: "main".to_owned(),
        fork: true,
    }
}

#[tokio::test]
async fn what_a_job_that_passed_leaves_is_given_to_later_runs_within_reach_after_a_restart_too() {
    let site = Site::new().await;
    site.world
        .set_left(&[("deps/a", b"first"), ("other", b"x")]);
    let run = site.settled(1, CACHES, ("one", branch("main"))).await;
    assert_eq!(Site::given(&run), [("none", None); 4]);
    let left = |run: &Run, job: usize| run.jobs[job].attempts[0].left.clone().unwrap();
    assert_eq!(left(&run, 0).cache.unwrap().files, 1);
    let note = "its cache was not kept: no file is called nothing";
    assert_eq!(left(&run, 2).notes, [note]);
    assert_eq!(run.jobs[2].state, JobState::Succeeded);
    assert_eq!(left(&run, 3).cache, None, "it did not pass");

    let site = site.restarted().await;
    site.world.set_left(&[("deps/a", b"second")]);
    let again = site.settled(2, CACHES, ("one", request())).await;
    let all = [
        ("exact", Some(1)),
        ("exact", Some(1)),
        ("none", None),
        ("none", None),
    ];
    assert_eq!(Site::given(&again), all);
    assert_eq!(left(&again, 0).cache, None, "it is there already");
    assert_eq!(left(&again, 1).cache.unwrap().files, 1);
    let environment = again.environment(&again.jobs[0].attempts[0].environment);
    let given = site.world.given_files(&environment, &own());
    assert!(String::from_utf8_lossy(&given[0]).contains("first"));

    // What the pull request left is its own: main has what main left.
    let other = site.settled(3, CACHES, ("two", branch("main"))).await;
    assert_eq!(
        Site::given(&other)[..2],
        [("older", Some(1)), ("exact", Some(1))]
    );
    let third = site.settled(4, CACHES, ("two", request())).await;
    assert_eq!(
        Site::given(&third)[..2],
        [("exact", Some(3)), ("exact", Some(2))]
    );
}

#[tokio::test]
async fn a_cache_without_its_file_is_none_and_files_without_a_record_go() {
    let site = Site::new().await;
    site.world.set_left(&[("deps/a", b"first")]);
    site.settled(1, CACHES, ("one", branch("main"))).await;
    let app = "shop".parse().unwrap();
    let kept = site.platform.caches(&app).await.unwrap();
    assert_eq!(kept.len(), 2);
    let directory = site.platform.data().caches(&app);
    let of_name = |name: &str| {
        let one = kept.iter().find(|one| one.identity.name == name).unwrap();
        directory.join(format!("{}.tar", one.id()))
    };
    std::fs::remove_file(of_name("locked")).unwrap();
    std::fs::write(directory.join("stray.tar"), "x").unwrap();
    let site = site.restarted().await;
    assert!(!directory.join("stray.tar").exists());
    assert!(of_name("always").exists());
    let run = site.settled(2, CACHES, ("one", branch("topic"))).await;
    assert_eq!(Site::given(&run)[..2], [("none", None), ("exact", Some(1))]);

    let gone = site.platform.remove_caches(&app, Some("always"), "ada");
    assert_eq!(gone.await.unwrap().len(), 2);
    assert!(!of_name("always").exists());
    let gone = site.platform.remove_caches(&app, Some("always"), "ada");
    assert_eq!(gone.await.unwrap_err().kind(), Kind::NotFound);
    let gone = site.platform.remove_caches(&app, None, "ada").await;
    assert!(!gone.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[tokio::test]
async fn a_cache_that_is_kept_by_a_file_that_is_not_there_is_refused_with_its_place() {
    let site = Site::new().await;
    let file = CACHES.replace("files: [version]", "files: [versoin]");
    let refused = site.push("one", &file).await.unwrap_err().to_string();
    let place = "towpath.yaml:6:64: error: no file of the source tree is called `versoin`";
    assert!(refused.contains(place), "{refused}");
}

#[tokio::test]
async fn a_result_counts_only_where_all_inputs_are_the_same_and_the_deployment_is_made_anyway() {
    let site = Site::new().await;
    site.set_key_of_dev("first").await;
    let files: [(&str, &[u8]); 2] = [("dist/app", b"program"), ("deps/a", b"kept")];
    site.world.set_left(&files);
    let first = site.settled(1, REUSE, ("one", branch("main"))).await;
    assert_eq!(first.outcome, Some(Outcome::Succeeded), "{first:#?}");
    assert!(first.jobs[1].reused().is_none());

    // The same tree as a tag: the job that says so is not run, all others are.
    let tag = Reference::Tag("v1".to_owned());
    let second = site.settled(2, REUSE, ("one", tag.clone())).await;
    let tried = |run: &Run| {
        run.jobs
            .iter()
            .map(|job| job.attempts.len())
            .collect::<Vec<_>>()
    };
    assert_eq!(second.outcome, Some(Outcome::Succeeded), "{second:#?}");
    assert_eq!(tried(&second), [1, 0, 1]);
    assert_eq!(second.jobs[1].reused().unwrap().run, RunNumber(1));
    let environment = second.environment(&second.jobs[2].attempts[0].environment);
    let given = site.world.given_files(&environment, &own());
    let file = site.platform.run_artifacts(&id(2), 2).await;
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut file.unwrap(), &mut bytes)
        .await
        .unwrap();
    assert_eq!(bytes, given[0]);
    assert!(String::from_utf8_lossy(&bytes).contains("kept"));
    // Its log is that of the run that counts.
    let query = RunLogQuery {
        job: 2,
        attempt: None,
        follow: false,
        only_job: true,
    };
    let mut log = site.platform.run_log(&id(2), &query).await.unwrap();
    assert!(log.next().await.unwrap().is_some());

    // To deploy is never left out.
    let third = site.settled(3, REUSE, ("one", branch("main"))).await;
    assert_eq!(tried(&third), [1, 0, 1]);
    assert_eq!(third.targets[0].state, TargetState::Succeeded);
    assert_ne!(third.targets[0].deployment, first.targets[0].deployment);

    let changed = site.settled(4, REUSE, ("two", tag.clone())).await;
    assert_eq!(tried(&changed), [1, 1, 1], "another tree");
    site.world
        .set_left(&[("dist/app", b"another"), ("deps/a", b"kept")]);
    let other = site
        .settled(5, REUSE, ("one", Reference::Tag("v2".to_owned())))
        .await;
    assert_eq!(tried(&other), [1, 1, 1], "another artifact");
    site.world.set_left(&files);
    site.set_key_of_dev("second").await;
    let other = site
        .settled(6, REUSE, ("one", Reference::Tag("v3".to_owned())))
        .await;
    assert_eq!(tried(&other), [1, 1, 1], "another secret");
}

#[tokio::test]
async fn what_a_pull_request_found_counts_for_nobody_else() {
    let file = REUSE.replace("secrets: { KEY: key }, ", "");
    let site = Site::new().await;
    let files: [(&str, &[u8]); 2] = [("dist/app", b"program"), ("deps/a", b"kept")];
    site.world.set_left(&files);
    let first = site.settled(1, &file, ("one", request())).await;
    assert_eq!(first.outcome, Some(Outcome::Succeeded), "{first:#?}");
    let second = site.settled(2, &file, ("one", branch("main"))).await;
    assert!(second.jobs[1].reused().is_none());
    let other = Reference::PullRequest {
        number: 8,
        from: "other".to_owned(),
        into: "main".to_owned(),
        fork: false,
    };
    let third = site.settled(3, &file, ("one", other)).await;
    assert_eq!(third.jobs[1].reused().unwrap().run, RunNumber(2));
}

#[tokio::test]
async fn a_version_of_a_secret_is_that_of_its_own_environment() {
    let two = "environments: { dev: { deploy: { branch: main } }, live: { deploy: { tag: v1 } } }";
    let one = "environments: { dev: { deploy: { branch: main } } }";
    let file = REUSE.replace(one, two);
    assert_ne!(file, REUSE);
    let site = Site::new().await;
    site.set_key_of("shop/dev", "first").await;
    site.set_key_of("shop/live", "another").await;
    let files: [(&str, &[u8]); 2] = [("dist/app", b"program"), ("deps/a", b"kept")];
    site.world.set_left(&files);
    site.settled(1, &file, ("one", branch("main"))).await;
    let tag = Reference::Tag("v1".to_owned());
    let second = site.settled(2, &file, ("one", tag)).await;
    assert_eq!(second.jobs[1].like.as_str(), "live");
    assert!(second.jobs[1].reused().is_none(), "{second:#?}");
    let third = site.settled(3, &file, ("one", branch("main"))).await;
    assert!(third.jobs[1].reused().is_some());
}
