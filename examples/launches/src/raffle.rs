//! The rules of the raffle: who may enter, and who wins. No clock, no network, no store.
//!
//! Entries are numbered as they come and grouped into heats of a fixed size; each full heat has one
//! winner. The draw is verifiable: the heat's *commitment* (the SHA-256 of its seed) is shown while
//! entries are taken, the *seed* with the winner. Whoever has the heat's tickets can then check that
//! the seed is the committed one and that the winner is the ticket with the lowest
//! HMAC-SHA-256(seed, ticket).

use serde::{Deserialize, Serialize};

use crate::keyed::{Key, hex, hmac, sha256};

/// The longest address that mail can be sent to (RFC 5321, 4.5.3.1.3).
const LONGEST_EMAIL: usize = 254;

/// What is raffled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Raffle {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) line: String,
    /// Accepted sizes, smallest and largest.
    pub(crate) sizes: (u8, u8),
    /// Entries in each heat. One of them wins.
    pub(crate) heat: usize,
}

/// One entry, as the store keeps it under its ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) email: String,
    pub(crate) size: u8,
}

/// One drawn heat, as the store keeps it and everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Draw {
    pub(crate) heat: usize,
    pub(crate) ticket: String,
    pub(crate) seed: String,
    pub(crate) commitment: String,
}

/// Why an entry is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this is not an e-mail address")]
    Email,
    #[error("choose a size from {0} to {1}")]
    Size(u8, u8),
}

impl Raffle {
    /// Checks an entry and brings it into the form in which equal entrants are equal.
    pub(crate) fn entry(&self, email: &str, size: &str) -> Result<Entry, Refusal> {
        let email = email.trim().to_lowercase();
        if !is_email(&email) {
            return Err(Refusal::Email);
        }
        let (smallest, largest) = self.sizes;
        match size.trim().parse() {
            Ok(size) if (smallest..=largest).contains(&size) => Ok(Entry { email, size }),
            _ => Err(Refusal::Size(smallest, largest)),
        }
    }

    /// The ticket of an entrant: the same for the same address, and no way back from it to the
    /// address without the key. This is what makes it one entry for each address.
    pub(crate) fn ticket(&self, key: &Key, entry: &Entry) -> String {
        let mut ticket = hex(&key.digest(&["ticket", &self.id, &entry.email]));
        ticket.truncate(20);
        ticket
    }

    /// The heat, from 1, of the entry with this index, from 0.
    pub(crate) fn heat_of(&self, index: usize) -> usize {
        index / self.heat.max(1) + 1
    }

    /// How many heats so many entries fill.
    pub(crate) fn full_heats(&self, entries: usize) -> usize {
        entries / self.heat.max(1)
    }

    /// What is shown of a heat's seed before it is drawn.
    pub(crate) fn commitment(&self, key: &Key, heat: usize) -> String {
        hex(&sha256(&self.seed(key, heat)))
    }

    /// Draws a heat; `None` when nobody is in it. The order of the tickets does not matter.
    pub(crate) fn draw<'a>(
        &self,
        key: &Key,
        heat: usize,
        tickets: impl IntoIterator<Item = &'a str>,
    ) -> Option<Draw> {
        let seed = self.seed(key, heat);
        let ticket = lowest(&seed, tickets)?.to_owned();
        Some(Draw {
            heat,
            ticket,
            seed: hex(&seed),
            commitment: hex(&sha256(&seed)),
        })
    }

    fn seed(&self, key: &Key, heat: usize) -> [u8; 32] {
        key.digest(&["seed", &self.id, &heat.to_string()])
    }
}

/// An address as it may be shown to others.
pub(crate) fn masked(email: &str) -> String {
    let (name, domain) = email.split_once('@').unwrap_or((email, ""));
    let first: String = name.chars().take(1).collect();
    format!("{first}***@{domain}")
}

fn lowest<'a>(seed: &[u8], tickets: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    tickets
        .into_iter()
        .min_by_key(|ticket| (hmac(seed, ticket.as_bytes()), *ticket))
}

/// Catches slips of the pen; only a mail can tell whether somebody reads it.
fn is_email(text: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"@<>,;\"\\".contains(c);
    text.len() <= LONGEST_EMAIL
        && text.split_once('@').is_some_and(|(name, domain)| {
            !name.is_empty()
                && name.chars().all(plain)
                && domain.chars().all(plain)
                && domain.contains('.')
                && domain.split('.').all(|label| !label.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raffle() -> Raffle {
        Raffle {
            id: "tidal".to_owned(),
            name: "Tidal".to_owned(),
            line: String::new(),
            sizes: (36, 46),
            heat: 25,
        }
    }

    fn key(byte: u8) -> Key {
        Key::new(vec![byte; 32]).expect("long enough")
    }

    fn tickets() -> Vec<String> {
        (0..25)
            .map(|n| Entry {
                email: format!("{n}@example.com"),
                size: 40,
            })
            .map(|entry| raffle().ticket(&key(b'k'), &entry))
            .collect()
    }

    #[test]
    fn an_address_has_one_ticket_however_it_is_typed() {
        let ticket = |email| {
            let entry = raffle().entry(email, "40").expect("a good entry");
            raffle().ticket(&key(b'k'), &entry)
        };
        assert_eq!(ticket("ada@example.com"), ticket("  Ada@Example.COM "));
        assert_ne!(ticket("ada@example.com"), ticket("eda@example.com"));
    }

    #[test]
    fn bad_addresses_and_sizes_are_refused() {
        for email in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@localhost",
            "a b@example.com",
            "a@b@c.d",
        ] {
            assert_eq!(
                raffle().entry(email, "40"),
                Err(Refusal::Email),
                "{email:?}"
            );
        }
        for size in ["", "35", "47", "forty", "-1"] {
            assert_eq!(
                raffle().entry("ada@example.com", size),
                Err(Refusal::Size(36, 46))
            );
        }
    }

    #[test]
    fn a_draw_depends_on_the_key_and_the_heat_but_not_on_the_order() {
        let tickets = tickets();
        let draw = |byte, heat, order: Vec<&str>| {
            raffle()
                .draw(&key(byte), heat, order)
                .expect("somebody is in it")
        };
        let forward: Vec<_> = tickets.iter().map(String::as_str).collect();
        let backward: Vec<_> = forward.iter().rev().copied().collect();
        assert_eq!(draw(b'k', 1, forward.clone()), draw(b'k', 1, backward));

        let winners: std::collections::BTreeSet<_> = (1..50)
            .map(|heat| draw(b'k', heat, forward.clone()).ticket)
            .collect();
        assert!(
            winners.len() > 10,
            "49 heats had only {} winners",
            winners.len()
        );
        assert_ne!(
            draw(b'k', 1, forward.clone()).seed,
            draw(b'l', 1, forward).seed
        );
        assert!(raffle().draw(&key(b'k'), 1, []).is_none());
    }

    #[test]
    fn anybody_can_verify_a_draw_from_what_is_published() {
        let tickets = tickets();
        let promised = raffle().commitment(&key(b'k'), 3);
        let draw = raffle()
            .draw(&key(b'k'), 3, tickets.iter().map(String::as_str))
            .expect("a winner");

        // From here on only published values are used.
        let seed: Vec<u8> = draw
            .seed
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).expect("hexadecimal"))
            .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"))
            .collect();
        assert_eq!(hex(&sha256(&seed)), promised);
        assert_eq!(draw.commitment, promised);
        assert_eq!(
            lowest(&seed, tickets.iter().map(String::as_str)),
            Some(draw.ticket.as_str())
        );
    }

    #[test]
    fn only_full_heats_are_drawn() {
        assert_eq!(
            [24, 25, 49, 50].map(|n| raffle().full_heats(n)),
            [0, 1, 1, 2]
        );
        assert_eq!([0, 24, 25].map(|index| raffle().heat_of(index)), [1, 1, 2]);
    }

    #[test]
    fn an_address_is_shown_without_its_name() {
        assert_eq!(masked("ada@example.com"), "a***@example.com");
    }
}
