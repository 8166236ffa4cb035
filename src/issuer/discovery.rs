//! Where an issuer's keys are: its metadata (RFC 8414), else OpenID Connect Discovery.

use http::Uri;
use serde_json::Value;

use crate::jose::StrictValue;

use super::fetch::{Client, FetchError, transport};

/// The issuer's `jwks_uri`. The second place is asked only if the issuer answered at the first.
pub(super) async fn jwks_uri(client: &Client, issuer: &str, insecure_http: bool) -> Result<Uri, FetchError> {
    let [oauth, openid] = metadata_uris(issuer).ok_or(FetchError::NotAllowed)?;
    match from_metadata(client, &oauth, issuer, insecure_http).await {
        Err(error) if error.answered() => {
            tracing::debug!(issuer, %error, "no RFC 8414 metadata; trying OpenID Connect Discovery");
            from_metadata(client, &openid, issuer, insecure_http).await
        }
        result => result,
    }
}

/// RFC 8414 section 3.1 puts the well-known part between host and path, OpenID Connect Discovery section 4 after it;
/// both drop a slash at the issuer's end first.
fn metadata_uris(issuer: &str) -> Option<[Uri; 2]> {
    let uri: Uri = issuer.parse().ok()?;
    if uri.query().is_some() {
        return None;
    }
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
    let oauth = format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}");
    let openid = format!("{scheme}://{authority}{path}/.well-known/openid-configuration");
    Some([oauth.parse().ok()?, openid.parse().ok()?])
}

async fn from_metadata(client: &Client, uri: &Uri, issuer: &str, insecure_http: bool) -> Result<Uri, FetchError> {
    let document = client.get(uri).await?;
    read(&document.body, issuer, insecure_http).map_err(|problem| FetchError::Document(problem).at(uri))
}

fn read(json: &[u8], issuer: &str, insecure_http: bool) -> Result<Uri, &'static str> {
    let metadata = StrictValue::parse(json).ok_or("the metadata is not JSON, or has a member twice")?;
    let member = |name: &str| metadata.value().get(name).and_then(Value::as_str);
    // RFC 8414 section 3.3: "MUST be identical"; otherwise "the data contained in the response MUST NOT be used".
    let named = member("issuer").unwrap_or_default();
    if named != issuer {
        return Err(if named.trim_end_matches('/') == issuer.trim_end_matches('/') {
            "the metadata names this issuer with another end; expected the configured one to have the `/` at its end, or \
             not, as the metadata and the tokens have it"
        } else {
            "the metadata is another issuer's; expected `issuer` to be the configured one to the letter"
        });
    }
    let uri: Uri =
        member("jwks_uri").and_then(|uri| uri.parse().ok()).ok_or("the metadata names no usable `jwks_uri`")?;
    transport(&uri, insecure_http).map(|_| uri).ok_or("the metadata's `jwks_uri` is neither https nor allowed as http")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_well_known_places_are_those_of_the_two_documents() {
        for (issuer, oauth, openid) in [
            (
                "https://id.example.com",
                "https://id.example.com/.well-known/oauth-authorization-server",
                "https://id.example.com/.well-known/openid-configuration",
            ),
            (
                "https://id.example.com/",
                "https://id.example.com/.well-known/oauth-authorization-server",
                "https://id.example.com/.well-known/openid-configuration",
            ),
            (
                "https://id.example.com:8443/oauth2/default",
                "https://id.example.com:8443/.well-known/oauth-authorization-server/oauth2/default",
                "https://id.example.com:8443/oauth2/default/.well-known/openid-configuration",
            ),
            (
                "https://id.example.com/realms/a/",
                "https://id.example.com/.well-known/oauth-authorization-server/realms/a",
                "https://id.example.com/realms/a/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(metadata_uris(issuer).unwrap().map(|uri| uri.to_string()), [oauth, openid]);
        }
        for issuer in ["", "id.example.com", "/path", "https://id.example.com/?tenant=a", "urn:issuer"] {
            assert_eq!(metadata_uris(issuer), None, "{issuer}");
        }
    }

    #[test]
    fn metadata_of_another_issuer_or_with_unsafe_keys_is_refused() {
        const ISSUER: &str = "https://id.example.com";
        for (json, usable) in [
            (r#"{"issuer":"https://id.example.com","jwks_uri":"https://keys.example.com/k"}"#, true),
            (r#"{"issuer":"https://id.example.com","jwks_uri":"http://127.0.0.1:1/k"}"#, true),
            (r#"{"issuer":"https://id.example.com/","jwks_uri":"https://keys.example.com/k"}"#, false),
            (r#"{"issuer":"https://ID.example.com","jwks_uri":"https://keys.example.com/k"}"#, false),
            (r#"{"jwks_uri":"https://keys.example.com/k"}"#, false),
            (r#"{"issuer":"https://id.example.com","jwks_uri":"http://keys.example.com/k"}"#, false),
            (r#"{"issuer":"https://id.example.com","jwks_uri":"file:///etc/passwd"}"#, false),
            (r#"{"issuer":"https://id.example.com","jwks_uri":7}"#, false),
            (r#"{"issuer":"https://id.example.com"}"#, false),
            (r#"{"issuer":"evil","issuer":"https://id.example.com","jwks_uri":"https://k.example.com/k"}"#, false),
            ("[]", false),
            ("", false),
        ] {
            assert_eq!(read(json.as_bytes(), ISSUER, false).is_ok(), usable, "{json}");
        }
    }

    #[test]
    fn a_slash_at_the_end_is_named_as_what_differs() {
        for (configured, named, by_the_slash) in [
            ("https://id.example.com", "https://id.example.com/", true),
            ("https://id.example.com/", "https://id.example.com", true),
            ("https://id.example.com/a", "https://id.example.com/b", false),
            ("https://id.example.com", "https://ID.example.com/", false),
        ] {
            let json = format!(r#"{{"issuer":"{named}","jwks_uri":"https://keys.example.com/k"}}"#);
            let said = read(json.as_bytes(), configured, false).unwrap_err();
            assert_eq!(said.contains("`/` at its end"), by_the_slash, "{configured} {named}: {said}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_issuer_or_is_not(issuer in "(https://)?[ -~]{0,40}") {
            if let Some(uris) = metadata_uris(&issuer) {
                for uri in uris {
                    prop_assert!(uri.path().contains("/.well-known/"));
                    prop_assert_eq!(uri.query(), None);
                }
            }
        }

        #[test]
        fn metadata_never_panics(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&json, "https://id.example.com", false).is_err());
        }
    }
}
