//! The site's HTML. It asks nobody anything: what it shows is given to it.

use crate::raffle::{Draw, Raffle};

const STYLE: &str = include_str!("page.css");

/// The page that one sees first.
pub(super) fn landing(
    raffle: &Raffle,
    version: &str,
    entries: usize,
    commitment: &str,
    draws: &[Draw],
) -> String {
    let (smallest, largest) = raffle.sizes;
    let sizes: Vec<_> = (smallest..=largest)
        .map(|size| format!("<option>{size}</option>"))
        .collect();
    let sizes = sizes.concat();
    let heat = raffle.heat_of(entries);
    let (filled, places) = (entries % raffle.heat.max(1), raffle.heat);
    let winners = winners(draws);
    let body = format!(
        "<section class=hero>{SHOE}<div><p class=over>Raffle &middot; heat {heat}</p><h1>{name}</h1>\
         <p class=line>{line}</p>\
         <form method=post action=/enter><label>E-mail<input type=email name=email required \
         placeholder='you@example.com' autocomplete=email></label>\
         <label>Size<select name=size>{sizes}</select></label>\
         <button>Enter the raffle</button></form>\
         <div class=meter><progress max={places} value={filled}></progress>\
         <span>{filled} of {places} in this heat &middot; {entries} entries in all</span></div>\
         </div></section>\
         <section><h2>Latest winners</h2>{winners}</section>\
         <section><h2>Fair, and you can check it</h2><p>The seed of heat {heat} was fixed before you \
         came. This is its SHA-256:</p><p><code class=long>{commitment}</code></p><p class=quiet>The \
         seed itself is published with the winner at <a href=/winners>/winners</a>: the ticket with \
         the lowest HMAC-SHA-256 under it wins.</p></section>",
        name = escaped(&raffle.name),
        line = escaped(&raffle.line),
    );
    document(&raffle.name, &body, version)
}

fn winners(draws: &[Draw]) -> String {
    if draws.is_empty() {
        return "<p class=quiet>No heat is full yet. The first pair is still anybody's.</p>"
            .to_owned();
    }
    let row = |draw: &Draw| {
        format!(
            "<li><b>Heat {}</b><code>{}</code></li>",
            draw.heat,
            escaped(&draw.ticket)
        )
    };
    let rows = draws.iter().map(row).collect::<Vec<_>>().concat();
    format!("<ol class=winners>{rows}</ol>")
}

/// The page after entering.
pub(super) fn entered(raffle: &Raffle, ticket: &str, number: usize, heat: usize) -> String {
    let body = format!(
        "<section class=note><p class=over>You are in</p><h1>Entry {number}</h1>\
         <p>You run in heat {heat}. Keep your ticket:</p><p><code class=long>{ticket}</code></p>\
         <p><a href='/entries/{ticket}'>How is it doing?</a> &middot; <a href=/>Back</a></p></section>",
        ticket = escaped(ticket),
    );
    document(&raffle.name, &body, "")
}

/// The page for an entry that cannot be accepted.
pub(super) fn refused(raffle: &Raffle, why: &str) -> String {
    let body = format!(
        "<section class=note><p class=over>Not yet</p><h1>Almost</h1><p>Sorry, {}.</p>\
         <p><a href=/>Try again</a></p></section>",
        escaped(why),
    );
    document(&raffle.name, &body, "")
}

fn document(title: &str, body: &str, version: &str) -> String {
    let release = if version.is_empty() {
        String::new()
    } else {
        format!(" &middot; release {}", escaped(version))
    };
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content='width=device-width,initial-scale=1'>\
         <title>{} raffle</title><style>{STYLE}</style></head><body>\
         <header><a class=brand href=/>launches</a><nav><a href=/winners>Winners</a>\
         <a href=/entries>Entries</a></nav></header><main>{body}</main>\
         <footer>One entry for each person{release}</footer></body></html>",
        escaped(title),
    )
}

/// Makes a text safe between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

const SHOE: &str = "<svg viewBox='0 0 320 200' role=img aria-label='A running shoe'>\
    <ellipse cx=165 cy=176 rx=135 ry=9 fill='#0002'/>\
    <path d='M30 138c2-30 8-62 20-84 6-9 20-8 26 2 8 15 22 22 40 18l18 20c22 22 54 30 96 36 36 6 56 \
    12 58 30 0 6-4 8-10 8H46c-10 0-17-12-16-30z' fill='#f4efe6'/>\
    <path d='M50 54c6-9 20-8 26 2 8 15 22 22 40 18l10 12c-30 12-58 8-80-6z' fill='#2f6f73'/>\
    <path d='M72 150c30-40 66-40 98-14 30 14 70 8 114 14' fill='none' stroke='#e2683c' stroke-width=9 \
    stroke-linecap=round/>\
    <path d='M126 88l-14 12M142 100l-14 13M160 110l-13 14M180 118l-11 14' stroke='#2f6f73' \
    stroke-width=5 stroke-linecap=round/>\
    <path d='M28 152h260c4 14-4 20-16 20H52c-14 0-24-8-24-20z' fill='#fff' stroke='#d8cfbf' \
    stroke-width=2/></svg>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_become_markup() {
        let raffle = Raffle {
            id: "x".to_owned(),
            name: "<b>Tidal</b>".to_owned(),
            line: "\"&\"".to_owned(),
            sizes: (40, 41),
            heat: 25,
        };
        let html = landing(&raffle, "1'", 30, "abc", &[]);
        assert!(html.contains("&lt;b&gt;Tidal") && !html.contains("<b>Tidal"));
        assert!(html.contains("&quot;&amp;&quot;") && html.contains("release 1&#39;"));
        assert!(html.contains("5 of 25 in this heat"));
    }
}
