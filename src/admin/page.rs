//! The status page: plain HTML that needs nothing else.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::replay::OnUnavailable;

use super::{Readiness, Status};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1b1b;\
background:#fff}table{border-collapse:collapse;width:100%;margin:0 0 2rem}caption{text-align:left;font-weight:600;\
font-size:1.2rem;padding:.5rem 0}th,td{text-align:left;padding:.4rem .75rem .4rem 0;border-bottom:1px solid #ccc;\
overflow-wrap:anywhere}.bad{color:#a40000;font-weight:600}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}.bad{color:#ff8a80}th,td{border-color:#444}}";

/// The whole page.
pub(super) fn render(status: &Status) -> String {
    let mut page = String::with_capacity(8 * 1024);
    // Writing to a string cannot fail.
    let _ = write(&mut page, status);
    page
}

fn write(page: &mut String, status: &Status) -> fmt::Result {
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>dpop-gate</title><style>{STYLE}</style></head>\n\
         <body><main><h1>dpop-gate {}</h1>\n<p>{}, up for {}.</p>\n",
        env!("CARGO_PKG_VERSION"),
        match status.readiness {
            Readiness::Ready => "Ready",
            Readiness::NoKeys => "<span class=\"bad\">Not ready: an issuer has no keys</span>",
            Readiness::NoStore => "<span class=\"bad\">Not ready: the replay store has not been reached yet</span>",
            Readiness::Draining => "<span class=\"bad\">Draining</span>",
        },
        Span(status.now.since(status.started)),
    )?;
    routes(page, status)?;
    upstreams(page, status)?;
    issuers(page, status)?;
    replay(page, status)?;
    page.write_str("</main></body></html>\n")
}

fn routes(page: &mut String, status: &Status) -> fmt::Result {
    head(page, "Routes, first match wins", &["Route", "Matches", "Upstream", "Auth", "Mode"])?;
    for route in &status.routes {
        writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Text(&route.label),
            Text(&route.matches),
            Text(&route.upstream),
            route.auth,
            route.mode,
        )?;
    }
    page.write_str("</tbody></table>\n")
}

fn upstreams(page: &mut String, status: &Status) -> fmt::Result {
    head(page, "Upstreams", &["Upstream", "Endpoint", "Health", "In flight"])?;
    for (name, endpoints) in &status.upstreams {
        for endpoint in endpoints {
            let health = if endpoint.healthy { "healthy" } else { "<span class=\"bad\">not healthy</span>" };
            writeln!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{health}</td><td>{}</td></tr>",
                Text(name),
                Text(&endpoint.url),
                endpoint.in_flight,
            )?;
        }
    }
    page.write_str("</tbody></table>\n")
}

fn issuers(page: &mut String, status: &Status) -> fmt::Result {
    head(page, "Issuers", &["Issuer", "Keys", "Fetched"])?;
    for issuer in &status.issuers {
        write!(page, "<tr><td>{}</td>", Text(&issuer.issuer))?;
        match issuer.keys {
            None => page.write_str("<td>by introspection</td><td></td>")?,
            Some(0) => page.write_str("<td><span class=\"bad\">none</span></td>")?,
            Some(keys) => write!(page, "<td>{keys}</td>")?,
        }
        match (issuer.keys, issuer.refreshed) {
            (None, _) => {}
            (Some(_), Some(at)) => write!(page, "<td>{} ago</td>", Span(status.now.since(at)))?,
            (Some(_), None) => page.write_str("<td>never</td>")?,
        }
        page.write_str("</tr>\n")?;
    }
    page.write_str("</tbody></table>\n")
}

fn replay(page: &mut String, status: &Status) -> fmt::Result {
    head(page, "Replay store", &["Store", "State", "Proofs in memory"])?;
    let entries = status.replay.entries;
    let Some(shared) = &status.replay.shared else {
        return writeln!(page, "<tr><td>memory</td><td></td><td>{entries}</td></tr></tbody></table>");
    };
    page.write_str("<tr><td>redis</td><td>")?;
    match (&shared.master, shared.on_unavailable) {
        (Ok(address), _) => write!(page, "{}", Text(&address.to_string()))?,
        (Err(why), on_unavailable) => {
            let meanwhile = match on_unavailable {
                OnUnavailable::Reject => "requests are refused",
                OnUnavailable::Memory => "this process decides by itself",
            };
            let why = why.to_string();
            write!(page, "<span class=\"bad\">not reachable: {}; {meanwhile}</span>", Text(&why))?;
        }
    }
    writeln!(page, "</td><td>{entries}</td></tr></tbody></table>")
}

fn head(page: &mut String, caption: &str, columns: &[&str]) -> fmt::Result {
    write!(page, "<table><caption>{caption}</caption><thead><tr>")?;
    for column in columns {
        write!(page, "<th scope=\"col\">{column}</th>")?;
    }
    page.write_str("</tr></thead><tbody>\n")
}

/// Text in HTML.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

/// A time span, roughly.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            secs @ 0..120 => write!(f, "{secs} s"),
            secs @ 120..7_200 => write!(f, "{} min", secs / 60),
            secs @ 7_200..172_800 => write!(f, "{} h", secs / 3_600),
            secs => write!(f, "{} days", secs / 86_400),
        }
    }
}
