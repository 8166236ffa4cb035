//! The demo page: the story drawn while this very browser does it. Plain files, embedded; nothing is fetched from
//! anywhere else, and the policy that they are served with would not let it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::clock::Clock;
use crate::nonce::Nonces;

use super::serve::{self, Answer};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and content.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("index.html")),
    ("/callback", HTML, include_str!("callback.html")),
    ("/page/page.css", CSS, include_str!("page.css")),
    ("/page/page.js", SCRIPT, include_str!("page.js")),
    ("/page/client.js", SCRIPT, include_str!("client.js")),
    ("/page/stories.js", SCRIPT, include_str!("stories.js")),
    ("/page/scene.js", SCRIPT, include_str!("scene.js")),
    ("/page/diagram.js", SCRIPT, include_str!("diagram.js")),
    ("/page/details.js", SCRIPT, include_str!("details.js")),
    ("/page/refusals.js", SCRIPT, include_str!("refusals.js")),
    ("/page/callback.js", SCRIPT, include_str!("callback.js")),
];
/// Scripts and styles are files of this server, and it alone is called.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Where a nonce is that has expired.
const STALE_NONCE: &str = "/page/stale-nonce";
/// How far past its lifetime.
const OVERDUE: Duration = Duration::from_secs(1);

/// Nonces of the gate's own making whose time is over: what a client would hold that came back too late. Nobody has to
/// wait for it, and the gate's refusal is a real one.
pub(super) struct StaleNonces {
    nonces: Nonces,
    lifetime: Duration,
    clock: Clock,
}

impl StaleNonces {
    /// Of the gate's own nonces, which live that long.
    pub(super) fn new(nonces: Nonces, lifetime: Duration, clock: Clock) -> Self {
        Self { nonces, lifetime, clock }
    }

    fn issue(&self) -> Response<Bytes> {
        let age = self.lifetime + OVERDUE;
        let nonce = self.nonces.issue(self.clock.now() - age, None);
        let lifetime = self.lifetime.as_secs();
        serve::json(
            StatusCode::OK,
            &json!({"nonce": nonce, "age_seconds": age.as_secs(), "lifetime_seconds": lifetime}),
        )
    }
}

/// The page's files.
pub(super) struct Page {
    stale: StaleNonces,
}

impl Page {
    pub(super) fn new(stale: StaleNonces) -> Self {
        Self { stale }
    }
}

impl Answer for Page {
    fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path();
        let file = FILES.iter().find(|(known, ..)| *known == path);
        let mut response = match (file, request.method()) {
            (None, _) if path != STALE_NONCE => return serve::plain(StatusCode::NOT_FOUND, "There is nothing here.\n"),
            (Some((_, media_type, content)), &Method::GET | &Method::HEAD) => {
                serve::with_type(StatusCode::OK, media_type, Bytes::from_static(content.as_bytes()))
            }
            (None, &Method::GET) => self.stale.issue(),
            (Some(_) | None, _) => serve::not_allowed("GET, HEAD"),
        };
        for (name, value) in [
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            // The next demo at this address may be another version.
            (CACHE_CONTROL, "no-store"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::nonce::{NonceError, NonceOptions, ProcessTag};
    use crate::secret::Secret;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const LIFETIME: Duration = Duration::from_secs(300);

    fn nonces() -> Nonces {
        Nonces::new(NonceOptions {
            lifetime: LIFETIME,
            secret: Secret::new(vec![7; 32]),
            previous: None,
            process: ProcessTag::default(),
            others_not_before: None,
        })
    }

    fn page() -> Page {
        let clock = Clock::Manual(std::sync::Arc::new(NOW.as_micros().into()));
        Page::new(StaleNonces::new(nonces(), LIFETIME, clock))
    }

    fn get(path: &str) -> Response<Bytes> {
        page().answer(Request::get(path).body(Bytes::new()).unwrap())
    }

    #[test]
    fn every_file_that_is_named_is_there_under_a_strict_policy() {
        for (path, _, content) in FILES {
            let answer = get(path);
            assert_eq!(answer.status(), 200, "{path}");
            let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"),
                "{path}"
            );
            for quoted in content.split(['"', '\'']).filter(|text| text.starts_with("/page/") || text.starts_with("./"))
            {
                let named = quoted.replacen("./", "/page/", 1);
                assert_eq!(get(&named).status(), 200, "{path} names {named}");
            }
            // What a policy without `unsafe-inline` would not run, and what it would not load.
            for wrong in [" style=\"", " onclick=", "<script>", "<style>", "https://", "//cdn"] {
                assert!(!content.contains(wrong), "{path} has {wrong}");
            }
        }
        assert_eq!(get("/page/").status(), 404);
        assert_eq!(page().answer(Request::post("/").body(Bytes::new()).unwrap()).status(), 405);
    }

    #[test]
    fn the_stale_nonce_is_the_gates_own_and_too_old() {
        let document: serde_json::Value = serde_json::from_slice(get(STALE_NONCE).body()).unwrap();
        let nonce = document["nonce"].as_str().unwrap();
        assert_eq!(nonces().check(nonce, NOW), Err(NonceError::TooOld));
        assert!(nonces().check(nonce, NOW - OVERDUE).is_ok(), "a second ago it was good");
    }
}
