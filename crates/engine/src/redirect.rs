//! Redirects of published ports, as rules of the kernel's packet filter that stand before Docker's
//! own. Not when they are wanted, which the model decides.
//!
//! Rules are made with `iptables`, as Docker's are, and carry a comment that names the data directory
//! and the environment: by it they are found again, and nothing else is touched. They are gone after
//! a reboot, and made again while they are wanted. Only the first packet of a connection meets them:
//! what is open goes on as it is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;
use tokio::sync::Semaphore;
use towpath_model::adoption::takeover::Redirect;
use towpath_model::id::{Digest, EnvironmentId};
use towpath_model::port::{DataDirectory, PortError, Redirects};

/// The longest that `iptables` may take: another program may hold its lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections from elsewhere meet the first chain, those of this machine the second.
const CHAINS: [&str; 2] = ["PREROUTING", "OUTPUT"];

/// Makes redirects with `iptables`.
#[derive(Debug)]
pub struct PacketFilter {
    data: String,
    /// Rules are read and changed by one at a time.
    turn: Semaphore,
}

impl PacketFilter {
    /// Makes rules for environments of this data directory.
    pub fn new(data: &DataDirectory) -> Self {
        let path = data.0.as_os_str().as_encoded_bytes();
        Self {
            data: Digest::of(path).short().to_owned(),
            turn: Semaphore::new(1),
        }
    }

    fn mark(&self, environment: &EnvironmentId) -> String {
        format!("towpath:{}:{environment}", self.data)
    }

    /// Returns the rules of an environment, in their order.
    async fn rules(&self, environment: &EnvironmentId) -> Result<Vec<Rule>, PortError> {
        let listed = iptables(&["-t", "nat", "-S"]).await?;
        Ok(rules(&listed, &self.mark(environment)))
    }
}

#[async_trait]
impl Redirects for PacketFilter {
    async fn available(&self) -> Result<Vec<String>, PortError> {
        iptables(&["-t", "nat", "-S", "PREROUTING"]).await?;
        let input = iptables(&["-S", "INPUT"]).await?;
        let drops = input.lines().any(|line| line == "-P INPUT DROP");
        let note = "the machine's firewall drops what it does not know, which Docker goes around and the router does not: allow the published ports, and those from 21000 to 28999, before";
        Ok(drops.then(|| note.to_owned()).into_iter().collect())
    }

    async fn get(&self, environment: &EnvironmentId) -> Result<BTreeSet<Redirect>, PortError> {
        let _turn = self.turn.acquire().await;
        Ok(in_force(&self.rules(environment).await?))
    }

    async fn set(
        &self,
        environment: &EnvironmentId,
        wanted: &BTreeSet<Redirect>,
    ) -> Result<(), PortError> {
        let _turn = self.turn.acquire().await;
        let rules = self.rules(environment).await?;
        let present = in_force(&rules);
        let stands = |rule: &&Rule| rule.redirect.is_some_and(|one| present.contains(&one));
        // What is half there has no effect, and a deletion takes the first rule of its words.
        for rule in rules.iter().filter(|rule| !stands(rule)) {
            delete(rule).await?;
        }
        // What is missing before what is too much: a changed redirect has no moment without one.
        for redirect in wanted.difference(&present) {
            for chain in chains(redirect) {
                let rule = rule(redirect, &self.mark(environment));
                let mut words = vec!["-t", "nat", "-I", chain, "1"];
                words.extend(rule.iter().map(String::as_str));
                iptables(&words).await?;
            }
        }
        let is_wanted = |rule: &&Rule| rule.redirect.is_some_and(|one| wanted.contains(&one));
        for rule in rules.iter().filter(stands).filter(|rule| !is_wanted(rule)) {
            delete(rule).await?;
        }
        Ok(())
    }
}

async fn delete(rule: &Rule) -> Result<(), PortError> {
    let mut words = vec!["-t", "nat", "-D"];
    words.extend(rule.words.iter().map(String::as_str));
    iptables(&words).await.map(drop)
}

/// A rule of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    chain: String,
    /// The chain and what follows it.
    words: Vec<String>,
    /// What it does, where that is understood and it stands before Docker's own.
    redirect: Option<Redirect>,
}

/// Reads the rules that carry a mark, as `iptables -S` prints them.
fn rules(listed: &str, mark: &str) -> Vec<Rule> {
    let mut found = Vec::new();
    let mut behind: BTreeSet<String> = BTreeSet::new();
    for line in listed.lines() {
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| word.trim_matches('"').to_owned())
            .collect();
        let Some((first, words)) = words.split_first() else {
            continue;
        };
        let Some(chain) = words.first().filter(|_| first == "-A").cloned() else {
            continue;
        };
        if value(words, "-j") == Some("DOCKER") {
            behind.insert(chain);
        } else if value(words, "--comment") == Some(mark) {
            let redirect = read(words).filter(|_| !behind.contains(&chain));
            found.push(Rule {
                chain,
                words: words.to_vec(),
                redirect,
            });
        }
    }
    found
}

fn value<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| word == name)?;
    words.get(at + 1).map(String::as_str)
}

fn read(words: &[String]) -> Option<Redirect> {
    let port: u16 = value(words, "--dport")?.parse().ok()?;
    let via = match value(words, "--to-ports") {
        Some(port) => port.parse().ok()?,
        None => value(words, "--to-destination")?
            .parse::<SocketAddr>()
            .ok()?
            .port(),
    };
    let host = match value(words, "-d") {
        Some(host) => host.trim_end_matches("/32").parse().ok()?,
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let listen = SocketAddr::new(host, port);
    Some(Redirect { listen, via })
}

/// Returns the redirects of which every rule is there.
fn in_force(rules: &[Rule]) -> BTreeSet<Redirect> {
    let all = rules.iter().filter_map(|rule| rule.redirect);
    all.filter(|redirect| {
        chains(redirect).all(|chain| {
            let mut rules = rules.iter();
            rules.any(|rule| rule.chain == chain && rule.redirect == Some(*redirect))
        })
    })
    .collect()
}

/// Returns the chains that a redirect needs: nobody from elsewhere reaches the loopback interface.
fn chains(redirect: &Redirect) -> impl Iterator<Item = &'static str> + use<> {
    let own = redirect.listen.ip().is_loopback();
    CHAINS
        .into_iter()
        .filter(move |chain| !own || *chain == "OUTPUT")
}

/// Returns a rule in the words of `iptables`, without its chain.
fn rule(redirect: &Redirect, mark: &str) -> Vec<String> {
    let Redirect { listen, via } = redirect;
    let mut words = Vec::new();
    let anywhere = listen.ip().is_unspecified();
    if !anywhere {
        words.extend(["-d".to_owned(), listen.ip().to_string()]);
    }
    let of_this_machine = ["-m", "addrtype", "--dst-type", "LOCAL", "-p", "tcp"];
    words.extend(of_this_machine.map(str::to_owned));
    words.extend(["--dport".to_owned(), listen.port().to_string()]);
    words.extend(["-m", "comment", "--comment"].map(str::to_owned));
    words.push(mark.to_owned());
    // A redirect goes to the address of the interface, or to loopback: one address is kept.
    let target = if anywhere {
        [
            "REDIRECT".to_owned(),
            "--to-ports".to_owned(),
            via.to_string(),
        ]
    } else {
        let to = SocketAddr::new(listen.ip(), *via).to_string();
        ["DNAT".to_owned(), "--to-destination".to_owned(), to]
    };
    words.push("-j".to_owned());
    words.extend(target);
    words
}

/// Runs `iptables`, and returns what it prints.
pub(crate) async fn iptables(words: &[&str]) -> Result<String, PortError> {
    let failed = |reason: String| PortError::Failed {
        attempted: "asking iptables".to_owned(),
        reason,
    };
    let mut command = Command::new("iptables");
    // It waits for whoever has its lock.
    command.args(["-w", "5"]).args(words);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ran = tokio::time::timeout(PATIENCE, command.output()).await;
    let ran = ran.map_err(|_| failed("it does not end".to_owned()))?;
    let output = ran.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed("there is no such program".to_owned()),
        _ => failed(error.to_string()),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("it failed").trim().to_owned();
    Err(failed(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "towpath:0123456789ab:shop/production";

    fn everywhere() -> Redirect {
        Redirect {
            listen: "0.0.0.0:8080".parse().unwrap(),
            via: 22_080,
        }
    }

    fn listed(chains: &[&str], redirect: &Redirect) -> String {
        let lines = chains.iter().map(|chain| {
            let rule = rule(redirect, &format!("\"{MARK}\""));
            format!("-A {chain} {}\n", rule.join(" "))
        });
        lines.collect()
    }

    #[test]
    fn a_redirect_is_in_force_when_both_of_its_rules_stand() {
        let half = listed(&["PREROUTING"], &everywhere());
        assert!(in_force(&rules(&half, MARK)).is_empty());
        let whole = listed(&CHAINS, &everywhere());
        assert_eq!(
            in_force(&rules(&whole, MARK)),
            BTreeSet::from([everywhere()])
        );
    }

    #[test]
    fn a_rule_behind_dockers_own_is_not_in_force() {
        let text = format!(
            "-P OUTPUT ACCEPT\n-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER\n{}",
            listed(&CHAINS, &everywhere())
        );
        let found = rules(&text, MARK);
        assert_eq!(found.len(), 2);
        assert!(in_force(&found).is_empty());
    }

    #[test]
    fn rules_of_others_are_not_seen() {
        let text = listed(&CHAINS, &everywhere());
        assert!(rules(&text, "towpath:0123456789ab:shop/staging").is_empty());
    }

    #[test]
    fn a_port_of_one_address_keeps_it() {
        let own = Redirect {
            listen: "127.0.0.1:8080".parse().unwrap(),
            via: 22_080,
        };
        let words = rule(&own, MARK).join(" ");
        assert!(words.contains("-d 127.0.0.1 "), "{words}");
        assert!(words.ends_with("-j DNAT --to-destination 127.0.0.1:22080"));
        let text = listed(&["OUTPUT"], &own);
        assert_eq!(in_force(&rules(&text, MARK)), BTreeSet::from([own]));
    }
}
