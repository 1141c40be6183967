//! The short form of ports: `[[address:]published:]target[/protocol]`, each of the two a port or a
//! range.

use std::net::IpAddr;

use super::Strictness;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::{Node, Value};

/// One published port, or one port that any free port is published for.
#[derive(Debug, PartialEq, Eq)]
struct Published {
    address: String,
    host: String,
    target: u16,
    protocol: String,
}

/// Turns the short forms in a list of ports into long ones; a range is a port each. The ports that
/// they come to are taken off `left`.
pub(super) fn expand(
    node: &mut Node,
    strictness: Strictness,
    left: &mut usize,
) -> Result<(), Diagnostics> {
    let Some(items) = node.as_list() else {
        return Ok(());
    };
    let mut ports = Vec::with_capacity(items.len());
    for item in items {
        match &item.value {
            Value::Map(_) => ports.push(item.clone()),
            Value::Int(_) | Value::Text(_) => {
                let text = item.value.scalar_text().unwrap_or_default();
                match parse(&text) {
                    Ok(parsed) => {
                        *left = left
                            .checked_sub(parsed.len())
                            .ok_or_else(|| too_many(item))?;
                        ports.extend(parsed.iter().map(|port| long(item, port)));
                    }
                    Err(_) if strictness == Strictness::Lenient => return Ok(()),
                    Err(reason) => return Err(refuse(item, &text, &reason)),
                }
            }
            _ => {
                let message = format!(
                    "a port has to be a text, a number or a map, but this is {}",
                    item.value.kind()
                );
                return Err(Diagnostic::error("wrong-type", message)
                    .at(&item.span)
                    .into());
            }
        }
    }
    node.value = Value::List(ports);
    Ok(())
}

fn too_many(item: &Node) -> Diagnostics {
    Diagnostic::error("too-large", "these ranges have too many ports together")
        .at(&item.span)
        .into()
}

fn refuse(item: &Node, text: &str, reason: &str) -> Diagnostics {
    Diagnostic::error("invalid-port", format!("`{text}` is not a port: {reason}"))
        .at(&item.span)
        .help("write published:target, like \"8080:80\" or \"127.0.0.1:8080:80/tcp\"")
        .into()
}

fn long(item: &Node, port: &Published) -> Node {
    let texts = [
        ("mode", "ingress"),
        ("host_ip", port.address.as_str()),
        ("published", port.host.as_str()),
        ("protocol", port.protocol.as_str()),
    ];
    let target = item.entry_here(Value::Int(i64::from(port.target)));
    let fields = texts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| {
            (
                key.to_owned(),
                item.entry_here(Value::Text(text.to_owned())),
            )
        })
        .chain([("target".to_owned(), target)]);
    item.here(Value::Map(fields.collect()))
}

fn parse(text: &str) -> Result<Vec<Published>, String> {
    let (front, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (address, host) = front.rsplit_once(':').unwrap_or(("", front));
    let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = protocol.split('/').next().unwrap_or_default();
    let protocol = if protocol.is_empty() { "tcp" } else { protocol }.to_lowercase();
    let address = checked_address(address)?;
    if container.is_empty() {
        return Err("the port inside is missing".to_owned());
    }
    let (first, last) = range(container)?;
    if first == 0 {
        return Err("no port 0 can be inside".to_owned());
    }
    let published = if host.is_empty() {
        None
    } else {
        Some(range(host)?)
    };
    if let Some((host_first, host_last)) = published
        && last - first != host_last - host_first
        && first != last
    {
        return Err(format!(
            "`{container}` and `{host}` are ranges of different lengths"
        ));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is not tcp, udp or sctp"));
    }
    let mut ports: Vec<Published> = (first..=last)
        .map(|target| Published {
            address: address.clone(),
            host: published_for(published, first, last, target),
            target,
            protocol: protocol.clone(),
        })
        .collect();
    // The reference implementation has them in the order of their texts.
    ports.sort_by_key(|port| port.target.to_string());
    Ok(ports)
}

fn published_for(range: Option<(u16, u16)>, first: u16, last: u16, target: u16) -> String {
    match range {
        None => String::new(),
        Some((host_first, host_last)) if first == last && host_first != host_last => {
            format!("{host_first}-{host_last}")
        }
        Some((host_first, _)) => (u32::from(host_first) + u32::from(target - first)).to_string(),
    }
}

/// Takes the brackets off an address of IPv6, and checks it.
fn checked_address(address: &str) -> Result<String, String> {
    let bare = address
        .strip_prefix('[')
        .and_then(|address| address.strip_suffix(']'));
    let valid = match bare {
        Some(bare) => bare.parse::<IpAddr>().is_ok() || bare.is_empty(),
        None => address.is_empty() || address.parse::<IpAddr>().is_ok(),
    };
    if valid {
        Ok(bare.unwrap_or(address).to_owned())
    } else {
        Err(format!("`{address}` is not an address"))
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let parsed = if digits {
            text.parse::<u16>().ok()
        } else {
            None
        };
        parsed.ok_or_else(|| format!("`{text}` is not a number from 0 to 65535"))
    };
    let Some((first, last)) = text.split_once('-') else {
        return port(text).map(|port| (port, port));
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("the range `{text}` ends before it begins"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        parse(text)
            .unwrap()
            .iter()
            .map(|port| {
                format!(
                    "{}|{}|{}|{}",
                    port.address, port.host, port.target, port.protocol
                )
            })
            .collect()
    }

    #[test]
    fn every_short_form_is_read() {
        for (text, ports) in [
            ("80", vec!["||80|tcp"]),
            ("8080:80", vec!["|8080|80|tcp"]),
            ("53:53/UDP", vec!["|53|53|udp"]),
            ("127.0.0.1:8080:80", vec!["127.0.0.1|8080|80|tcp"]),
            ("127.0.0.1::80", vec!["127.0.0.1||80|tcp"]),
            ("[::1]:8080:80", vec!["::1|8080|80|tcp"]),
            ("::1:8080:80", vec!["::1|8080|80|tcp"]),
            ("8-9", vec!["||8|tcp", "||9|tcp"]),
            ("9-10:9-10", vec!["|10|10|tcp", "|9|9|tcp"]),
            ("8000-8010:80", vec!["|8000-8010|80|tcp"]),
            (":80", vec!["||80|tcp"]),
        ] {
            assert_eq!(shown(text), ports, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_port_is_refused() {
        for text in [
            "",
            "a",
            "80:",
            "70000",
            "1-3:1-2",
            "3-1",
            "80/x",
            "x:80:80",
            "1.2.3:80:80",
            "80:a",
            "-80",
            "+80",
            "80:80:80:80",
            "80:0",
            "0",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
