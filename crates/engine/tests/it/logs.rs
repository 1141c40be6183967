//! The logs of several instances, read as one.

use std::time::Duration;

use towpath_model::id::ServiceName;
use towpath_model::port::{Engine as _, LogLine, LogQuery};

use crate::support::{PATIENCE, World, spec};

async fn read(world: &World, query: LogQuery) -> Vec<LogLine> {
    let mut lines = world.engine.logs(&world.environment, &query).await.unwrap();
    let mut all = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        all.push(line);
    }
    all
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn lines_of_all_instances_come_in_the_order_of_their_time() {
    let world = World::new().await;
    let a = world
        .start(1, "for n in 1 2 3 4 5; do echo a$n; sleep 0.02; done")
        .await;
    let b = world
        .start(2, "for n in 1 2 3 4 5; do echo b$n >&2; sleep 0.02; done")
        .await;
    world.until_exited(&a).await;
    world.until_exited(&b).await;
    let lines = read(&world, LogQuery::default()).await;
    assert_eq!(lines.len(), 10);
    assert!(lines.is_sorted_by_key(|line| line.at));
    let of_b: Vec<LogLine> = lines
        .iter()
        .filter(|line| line.instance == b)
        .cloned()
        .collect();
    assert_eq!(texts(&of_b), ["b1", "b2", "b3", "b4", "b5"]);
    assert!(of_b.iter().all(|line| line.stream == "stderr"));
}

#[tokio::test]
async fn a_tail_is_of_each_instance_and_a_filter_leaves_others_out() {
    let world = World::new().await;
    let a = world.start(1, "seq 1 50").await;
    let b = world.start(2, "seq 101 150").await;
    let mut other = spec("echo other");
    other.service = ServiceName::new("worker").unwrap();
    let c = world.start_spec(3, other).await;
    for id in [&a, &b, &c] {
        world.until_exited(id).await;
    }
    let web = vec![a.service.clone()];
    let query = LogQuery {
        services: web.clone(),
        tail: Some(2),
        ..LogQuery::default()
    };
    let mut seen = texts(&read(&world, query).await)
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    seen.sort();
    assert_eq!(seen, ["149", "150", "49", "50"]);
    let query = LogQuery {
        services: web,
        instance: Some(2),
        ..LogQuery::default()
    };
    assert_eq!(read(&world, query).await.len(), 50);
}

#[tokio::test]
async fn a_long_log_is_rotated_and_its_oldest_part_lost() {
    let world = World::new().await;
    let id = world.start(1, "seq 1 1000").await;
    world.until_exited(&id).await;
    let lines = read(&world, LogQuery::default()).await;
    // Three files of 2,000 bytes are kept.
    assert!((50..200).contains(&lines.len()), "{}", lines.len());
    let seen = texts(&lines);
    let expected: Vec<String> = (1001 - lines.len()..=1000).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_followed_log_goes_on_with_new_lines_and_new_instances() {
    let world = World::new().await;
    let a = world.start(1, "echo first").await;
    world.until_exited(&a).await;
    let query = LogQuery {
        tail: Some(0),
        follow: true,
        ..LogQuery::default()
    };
    let mut lines = world.engine.logs(&world.environment, &query).await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(300), lines.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    let b = world.start(2, "echo second; echo third").await;
    for expected in ["second", "third"] {
        let line = tokio::time::timeout(PATIENCE, lines.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!((line.text.as_str(), &line.instance), (expected, &b));
    }
}

#[tokio::test]
async fn the_logs_of_the_last_removed_instances_are_kept() {
    let world = World::new().await;
    for number in 1..=22 {
        let id = world.start(number, "echo it was $TOWPATH_INSTANCE").await;
        world.until_exited(&id).await;
        world.engine.remove(&id).await.unwrap();
    }
    let lines = read(&world, LogQuery::default()).await;
    let expected: Vec<String> = (3..=22)
        .map(|n| format!("it was shop/dev/web-{n}"))
        .collect();
    assert_eq!(texts(&lines), expected);
}

#[tokio::test]
async fn a_log_of_nothing_is_empty() {
    let world = World::without_release();
    assert_eq!(read(&world, LogQuery::default()).await, []);
}
