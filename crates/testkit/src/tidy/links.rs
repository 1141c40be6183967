//! Relative links of Markdown files lead somewhere. Not what other sites answer.

use std::collections::BTreeMap;

use super::Finding;
use super::tree::{Tree, extension_of};

/// Every relative link names a file or directory of the tree, and its fragment a heading.
pub fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("md") {
        for (line, target) in targets(text) {
            if let Some(message) = fault(tree, path, &target) {
                findings.push(Finding::new(path, line, message));
            }
        }
    }
    findings
}

fn fault(tree: &Tree, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let place = if file.is_empty() {
        from.to_owned()
    } else {
        let Some(place) = resolve(from, file) else {
            return Some(format!("link `{target}` leads out of the repository"));
        };
        place
    };
    if !tree.has(&place) {
        return Some(format!("link `{target}` leads nowhere"));
    }
    let is_page = extension_of(&place) == Some("md");
    let text = tree
        .text(&place)
        .filter(|_| is_page && !fragment.is_empty())?;
    let known = headings(text).any(|heading| heading == fragment);
    (!known).then(|| format!("link `{target}`: {place} has no such heading"))
}

/// Resolves `target` beside the file `from`; a leading slash is the root of the repository.
fn resolve(from: &str, target: &str) -> Option<String> {
    let directory = match from.rsplit_once('/') {
        Some((directory, _)) if !target.starts_with('/') => directory,
        _ => "",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Returns the targets of links outside code, each with its line.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code_spans(line);
        let inline = line.split("](").skip(1).filter_map(|rest| {
            let target = rest.split(')').next()?;
            target.split_whitespace().next()
        });
        let defined = line
            .starts_with('[')
            .then(|| line.split_once("]: "))
            .flatten()
            .and_then(|(_, rest)| rest.split_whitespace().next());
        let trimmed = |target: &str| target.trim_matches(['<', '>']).to_owned();
        found.extend(
            inline
                .chain(defined)
                .map(|target| (number, trimmed(target))),
        );
    }
    found
}

/// Returns the lines outside fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

fn without_code_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// Returns the fragment of each heading, made as the usual forges make it: lower case, spaces to
/// hyphens, punctuation dropped, repeats numbered.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(move |(_, line)| {
            let slug = slug(line.trim_start_matches('#').trim());
            let count = seen.entry(slug.clone()).or_default();
            *count += 1;
            match *count {
                1 => slug,
                more => format!("{slug}-{}", more - 1),
            }
        })
}

fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ if c.is_alphanumeric() => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> Vec<usize> {
        let tree = Tree::of(&[
            ("docs/a.md", text),
            ("docs/b.md", "# The `x` rule\n## Twice\n## Twice\n"),
            ("src/lib.rs", ""),
        ]);
        links(&tree).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        assert_eq!(broken("x\n[a](c.md)\n"), [2]);
        assert_eq!(broken("[a](../../x)\n[b]: gone.md\n"), [1, 2]);
        assert_eq!(broken("[a](b.md#the-y-rule)"), [1]);
    }

    #[test]
    fn a_link_that_leads_somewhere_is_not() {
        let fine = "# Top\n[a](b.md) [b](../src) [c](../src/lib.rs#L1) [d](/docs/b.md) [e](#top)\n\
                    [f](b.md#the-x-rule) [g](b.md#twice-1) [h](https://example.com/x)\n";
        assert_eq!(broken(fine), [0_usize; 0]);
    }

    #[test]
    fn code_is_not_searched_for_links() {
        assert_eq!(
            broken("`[a](gone.md)`\n```\n[a](gone.md)\n```\n"),
            [0_usize; 0]
        );
    }
}
