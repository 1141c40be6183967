//! Previews: when they are told of and go, whose secrets they read, what they run in place of what the
//! other environment runs.

use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap()
}

fn name(text: &str) -> EnvironmentName {
    text.parse().unwrap()
}

fn asked(ttl: Option<u64>) -> Asked {
    Asked {
        like: name("staging"),
        ttl: ttl.map(Duration::from_secs),
        secrets_from: None,
        request: None,
        actor: "ada".to_owned(),
    }
}

fn preview(ttl: u64) -> Preview {
    Preview::new(asked(Some(ttl)), Terms::default(), at(0))
}

fn environment(ttl: u64) -> Environment {
    let mut environment = Environment::new("shop/qa-42".parse().unwrap());
    environment.preview = Some(preview(ttl));
    environment
}

fn words(change: &Change) -> Vec<&str> {
    change.events.iter().map(|one| one.what.as_str()).collect()
}

#[test]
fn a_preview_is_told_of_an_hour_before_it_goes_or_a_quarter_of_its_time() {
    let day = preview(24 * HOUR);
    assert_eq!(day.due(at(0)), Due::At(at(23 * HOUR)));
    assert_eq!(day.due(at(23 * HOUR - 1)), Due::At(at(23 * HOUR)));
    assert_eq!(day.due(at(23 * HOUR)), Due::Tell);
    assert_eq!(day.due(at(24 * HOUR)), Due::Remove);
    let short = preview(40);
    assert_eq!(short.due(at(29)), Due::At(at(30)));
    assert_eq!(short.due(at(30)), Due::Tell);
    let told = Preview {
        is_told: true,
        ..short
    };
    assert_eq!(told.due(at(31)), Due::At(at(40)));
    // A control plane that was away for days says nothing more before it removes it.
    assert_eq!(day.due(at(100 * 24 * HOUR)), Due::Remove);
}

#[test]
fn each_of_its_ends_is_told_once_and_an_extension_takes_them_back() {
    let mut environment = environment(40);
    assert_eq!(words(&environment.tell_end(at(10))), Vec::<&str>::new());
    assert_eq!(
        words(&environment.tell_end(at(30))),
        ["environment.expiring"]
    );
    assert_eq!(words(&environment.tell_end(at(31))), Vec::<&str>::new());
    let (then, change) = environment
        .extend(Duration::from_secs(100), "bob", at(39))
        .unwrap();
    assert_eq!(
        (then, words(&change)),
        (at(139), vec!["environment.extended"])
    );
    assert_eq!(change.events[0].from, Some(at(40).to_string()));
    assert_eq!(environment.expire(at(40)), (false, Change::default()));
    assert_eq!(
        words(&environment.tell_end(at(114))),
        ["environment.expiring"]
    );
    let (gone, change) = environment.expire(at(139));
    assert!(gone && words(&change) == ["environment.expired"]);
    assert_eq!(environment.expire(at(140)), (true, Change::default()));
    let late = environment.extend(Duration::from_secs(9), "bob", at(140));
    assert_eq!(late.unwrap_err(), Refusal::Over(environment.id.clone()));
}

#[test]
fn only_previews_are_extended_and_never_to_nothing() {
    let id: EnvironmentId = "shop/staging".parse().unwrap();
    let mut staging = Environment::new(id.clone());
    let refused = staging.extend(Duration::from_secs(9), "bob", at(1));
    assert_eq!(refused.unwrap_err(), Refusal::NotPreview(id));
    assert_eq!(staging.expire(at(9_999)), (false, Change::default()));
    let refused = environment(40).extend(Duration::ZERO, "bob", at(1));
    assert_eq!(refused.unwrap_err(), Refusal::NoTime);
}

#[test]
fn a_push_has_a_preview_stay_on_and_never_takes_time_away() {
    let terms = Terms {
        ttl: Duration::from_secs(100),
        ..Terms::default()
    };
    let mut environment = environment(40);
    environment.renew(&terms, at(35));
    let expires_at = |environment: &Environment| environment.preview.as_ref().unwrap().expires_at;
    assert_eq!(expires_at(&environment), at(135));
    let more = Duration::from_secs(1_000);
    environment.extend(more, "bob", at(40)).unwrap();
    environment.renew(&terms, at(50));
    assert_eq!(expires_at(&environment), at(1_040));
}

#[test]
fn secrets_are_lent_by_the_environment_that_it_is_like_unless_that_is_guarded_or_it_is_of_a_fork() {
    let (like, other) = (name("staging"), name("dev"));
    let plain = Terms::default();
    assert_eq!(plain.lender(&like, None), Some(like.clone()));
    assert_eq!(plain.lender(&like, Some(&other)), Some(other.clone()));
    let guarded = Terms {
        is_guarded: true,
        ..Terms::default()
    };
    assert_eq!(guarded.lender(&like, None), None);
    assert_eq!(guarded.lender(&like, Some(&like)), Some(like.clone()));
    let said = Terms {
        secrets_from: Some(other.clone()),
        ..guarded
    };
    assert_eq!(said.lender(&like, None), Some(other));
    let of_fork = Asked {
        request: Some(OfRequest {
            number: 7,
            from: "basket".to_owned(),
            is_fork: true,
        }),
        ..asked(None)
    };
    assert_eq!(Preview::new(of_fork, said, at(0)).secrets_from, None);
}

#[test]
fn above_the_limit_a_preview_is_refused_with_those_that_are_there() {
    let terms = Terms {
        limit: 2,
        ..Terms::default()
    };
    let app: AppName = "shop".parse().unwrap();
    terms.refuse_more(&app, &[name("qa-1")]).unwrap();
    let present = [name("pr-7"), name("qa-1")];
    let refused = terms.refuse_more(&app, &present).unwrap_err().to_string();
    for words in ["(2)", "pr-7, qa-1", "env rm", "previews.limit"] {
        assert!(refused.contains(words), "{refused}");
    }
}

proptest! {
    #[test]
    fn every_preview_is_told_of_before_it_goes(ttl in 1_u64..10_000_000, now in 0_u64..20_000_000) {
        let preview = preview(ttl);
        match preview.due(at(now)) {
            Due::At(then) => prop_assert!(then > at(now) && then <= at(ttl)),
            Due::Tell => prop_assert!(now < ttl && ttl - now <= HOUR.min(ttl / 4 + 1)),
            Due::Remove => prop_assert!(now >= ttl),
        }
    }
}
