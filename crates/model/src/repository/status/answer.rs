//! What a forge's answer to a status means: taken, later, or never. A pure function of the answer and the
//! time.

use std::time::Duration;

use jiff::Timestamp;

use super::Answer;
use crate::instance::{after, elapsed};
use crate::repository::outside::Forge;

/// The time before the second try; it doubles with each.
const FIRST: Duration = Duration::from_secs(5);

/// The longest time between two tries.
const LONGEST: Duration = Duration::from_mins(30);

/// How long a forge is left alone that wants fewer requests and does not say until when.
const LIMITED: Duration = Duration::from_mins(1);

/// The longest that a forge is left alone, whatever it says: their limits are by the hour.
const LIMITED_MAX: Duration = Duration::from_hours(2);

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The forge has it.
    Taken,
    /// It may be taken later, not before a time where there is one.
    Later {
        /// When the forge wants to be asked again.
        not_before: Option<Timestamp>,
        /// What it said.
        reason: String,
    },
    /// Nothing will be taken until somebody mends the token, or the address.
    NotAllowed(String),
    /// This one will never be taken; others may.
    Refused(String),
}

/// Reads an answer.
pub fn judge(forge: Forge, answer: &Answer, now: Timestamp) -> Told {
    let reason = match answer.words.as_str() {
        "" => format!("the forge answered {}", answer.status),
        words => format!("the forge answered {}: {words}", answer.status),
    };
    let words = answer.words.to_ascii_lowercase();
    let is_limited = answer.retry_after.is_some()
        || answer.remaining == Some(0)
        || words.contains("rate limit")
        || words.contains("abuse detection");
    match answer.status {
        200..=299 => Told::Taken,
        429 => later(answer, reason, now),
        403 if is_limited => later(answer, reason, now),
        503 if answer.retry_after.is_some() => later(answer, reason, now),
        // It is in that state already.
        400 if forge == Forge::GitLab && words.contains("cannot transition status") => Told::Taken,
        // GitHub says 422 of a commit that it does not have, and its 404 names a page on commits.
        404 if forge != Forge::GitHub && words.contains("commit") => Told::Refused(reason),
        300..=399 | 401 | 403 | 404 => Told::NotAllowed(reason),
        408 | 500.. => Told::Later {
            not_before: None,
            reason,
        },
        _ => Told::Refused(reason),
    }
}

/// Returns when a forge is told again that was tried so often in vain, and not before a time.
pub fn retry_at(attempts: u32, not_before: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
    let at = after(now, FIRST.saturating_mul(doubled).min(LONGEST));
    not_before.map_or(at, |wanted| at.max(wanted))
}

fn later(answer: &Answer, reason: String, now: Timestamp) -> Told {
    let wanted = answer
        .retry_after
        .as_deref()
        .and_then(|text| moment(text, now));
    let reset = answer
        .reset
        .filter(|_| answer.remaining.is_none_or(|left| left == 0));
    let reset = reset.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let at = wanted.or(reset).filter(|at| *at > now);
    let wait = at.map_or(LIMITED, |at| elapsed(now, at).min(LIMITED_MAX));
    Told::Later {
        not_before: Some(after(now, wait)),
        reason,
    }
}

/// Reads `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(after(now, Duration::from_secs(seconds).min(LIMITED_MAX)));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn answer(status: u16, words: &str) -> Answer {
        Answer {
            status,
            words: words.to_owned(),
            ..Answer::default()
        }
    }

    fn waits(answer: &Answer) -> Option<i64> {
        match judge(Forge::GitHub, answer, now()) {
            Told::Later { not_before, .. } => {
                not_before.map(|at| at.as_second() - now().as_second())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wrong_token_is_told_from_a_limit_and_from_a_bad_status() {
        let github = |status, words| judge(Forge::GitHub, &answer(status, words), now());
        assert_eq!(github(201, "{}"), Told::Taken);
        for status in [301, 401, 403, 404] {
            let told = github(status, "commits/statuses");
            assert!(matches!(told, Told::NotAllowed(_)), "{status}: {told:?}");
        }
        for status in [400, 410, 422] {
            let told = github(status, "no");
            assert!(matches!(told, Told::Refused(_)), "{status}: {told:?}");
        }
        for status in [408, 500, 502] {
            let told = github(status, "");
            let expected = matches!(
                told,
                Told::Later {
                    not_before: None,
                    ..
                }
            );
            assert!(expected, "{status}: {told:?}");
        }
        let limited = github(403, "You have exceeded a secondary rate limit");
        assert!(matches!(limited, Told::Later { .. }), "{limited:?}");
    }

    #[test]
    fn the_words_of_gitlab_for_a_state_that_it_has_and_a_commit_that_it_has_not() {
        let gitlab = |status, words| judge(Forge::GitLab, &answer(status, words), now());
        let same = "Cannot transition status via :run from :running";
        assert_eq!(gitlab(400, same), Told::Taken);
        let none = gitlab(404, "404 Commit Not Found");
        assert!(matches!(none, Told::Refused(_)), "{none:?}");
        let project = gitlab(404, "404 Project Not Found");
        assert!(matches!(project, Told::NotAllowed(_)), "{project:?}");
    }

    #[test]
    fn a_forge_is_left_alone_for_as_long_as_it_says_but_not_for_ever() {
        let mut limited = answer(429, "");
        assert_eq!(waits(&limited), Some(60));
        limited.reset = Some(now().as_second() + 900);
        limited.remaining = Some(0);
        assert_eq!(waits(&limited), Some(900));
        limited.retry_after = Some("30".to_owned());
        assert_eq!(waits(&limited), Some(30));
        limited.retry_after = Some("Mon, 12 Jan 1970 13:50:00 GMT".to_owned());
        assert_eq!(waits(&limited), Some(200));
        limited.retry_after = Some(u64::MAX.to_string());
        assert_eq!(waits(&limited), Some(7200));
        let mut forbidden = answer(403, "");
        forbidden.remaining = Some(0);
        forbidden.reset = Some(i64::MAX);
        assert_eq!(waits(&forbidden), Some(60));
    }

    #[test]
    fn tries_are_further_and_further_apart_and_never_before_the_time_that_was_named() {
        let wait = |attempts| elapsed(now(), retry_at(attempts, None, now()));
        let waits = [1, 2, 3, 40].map(wait);
        let seconds = [5, 10, 20, 1800].map(Duration::from_secs);
        assert_eq!(waits, seconds);
        let named = after(now(), Duration::from_hours(1));
        assert_eq!(retry_at(1, Some(named), now()), named);
    }
}
