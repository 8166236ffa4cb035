//! `issuers`.

use http::Uri;

use crate::config::raw;
use crate::issuer::{IssuerOptions, Source, check_jwks};
use crate::secret::Secret;
use crate::token::TokenTypes;

use super::Checker;
use super::address::{is_loopback, parse_url};

impl Checker<'_> {
    /// Who vouches for tokens.
    pub(super) fn issuers(&mut self, file: &raw::File) -> Vec<IssuerOptions> {
        let mut issuers: Vec<IssuerOptions> = Vec::with_capacity(file.issuers.len());
        for (index, issuer) in file.issuers.iter().enumerate() {
            let key = format!("issuers[{index}]");
            if issuers.iter().any(|other| other.issuer == issuer.issuer) {
                self.error(&format!("{key}.issuer"), "listed twice; expected each issuer once, with all its audiences");
            }
            if let Some(options) = self.issuer(&key, issuer) {
                issuers.push(options);
            }
        }
        issuers
    }

    fn issuer(&mut self, key: &str, issuer: &raw::Issuer) -> Option<IssuerOptions> {
        self.filled(&format!("{key}.issuer"), &issuer.issuer, "the `iss` of its tokens");
        for (index, audience) in issuer.audiences.iter().enumerate() {
            self.filled(&format!("{key}.audiences[{index}]"), audience, "an audience of its tokens");
        }
        let algorithms = self.algorithms(&format!("{key}.algorithms"), &issuer.algorithms);
        let token_types = self.token_types(&format!("{key}.token_types"), &issuer.token_types);
        let source = self.source(key, issuer)?;
        Some(IssuerOptions {
            issuer: issuer.issuer.clone(),
            audiences: issuer.audiences.clone(),
            algorithms,
            token_types,
            source,
            insecure_http: issuer.insecure_http,
        })
    }

    fn token_types(&mut self, key: &str, types: &raw::TokenTypes) -> TokenTypes {
        let types = match types {
            raw::TokenTypes::Word(raw::AnyType::Any) => return TokenTypes::Any,
            raw::TokenTypes::Only(types) => types,
        };
        if types.is_empty() {
            self.error(key, "empty, so that no token would do; expected `any`, or a list such as [at+jwt]");
        }
        for (index, name) in types.iter().enumerate() {
            let key = format!("{key}[{index}]");
            self.filled(&key, name, "a `typ`, such as at+jwt");
            let lower = name.to_ascii_lowercase();
            if lower == "dpop+jwt" || lower == "application/dpop+jwt" {
                self.error(&key, "a proof is never a token; expected another `typ`, such as at+jwt");
            }
        }
        TokenTypes::Only(types.clone())
    }

    /// Exactly one way to verify its tokens.
    fn source(&mut self, key: &str, issuer: &raw::Issuer) -> Option<Source> {
        const EXPECTED: &str = "expected exactly one of `jwks_file`, `jwks_uri`, `discovery: true` and `introspection`";
        let jwks_file = issuer.jwks_file.as_ref();
        let (jwks_uri, introspection) = (issuer.jwks_uri.as_ref(), issuer.introspection.as_ref());
        let written = [
            ("jwks_file", jwks_file.is_some()),
            ("jwks_uri", jwks_uri.is_some()),
            ("discovery", issuer.discovery),
            ("introspection", introspection.is_some()),
        ];
        let mut written = written.into_iter().filter_map(|(name, is_written)| is_written.then_some(name));
        let Some(first) = written.next() else {
            let parts = ["jwks_file", "jwks_uri", "discovery", "introspection"].map(|part| format!("{key}.{part}"));
            if !parts.iter().any(|part| self.report.is_broken(part)) {
                self.error(key, format!("no way to verify its tokens; {EXPECTED}"));
            }
            return None;
        };
        for second in written {
            self.error(&format!("{key}.{second}"), format!("`{first}` is there already; {EXPECTED}"));
        }
        if let Some(file) = jwks_file {
            return self.jwks_file(&format!("{key}.jwks_file"), file);
        }
        if let Some(url) = jwks_uri {
            return self.issuer_url(&format!("{key}.jwks_uri"), url, issuer.insecure_http).map(Source::JwksUri);
        }
        if let Some(introspection) = introspection {
            return self.introspection(&format!("{key}.introspection"), introspection, issuer.insecure_http);
        }
        let key = format!("{key}.issuer");
        if issuer.issuer.trim().is_empty() {
            return None;
        }
        let url = self.issuer_url(&key, &issuer.issuer, issuer.insecure_http)?;
        // RFC 8414 section 2: "a URL that uses the https scheme and has no query or fragment components".
        if url.query().is_some() {
            self.error(&key, "a query in it; expected an issuer without one for `discovery`");
        }
        Some(Source::Discovery)
    }

    fn jwks_file(&mut self, key: &str, file: &str) -> Option<Source> {
        if self.report.is_broken(key) {
            return None;
        }
        let path = self.path(file);
        let json = self.read(key, &path)?;
        if let Err(reason) = check_jwks(&json) {
            self.error(key, format!("{}: {reason}; expected a JWKS with a public signing key", path.display()));
        }
        Some(Source::JwksFile(path))
    }

    /// Keys that came over plain http are whoever's sits in between.
    fn issuer_url(&mut self, key: &str, url: &str, insecure_http: bool) -> Option<Uri> {
        match parse_url(url) {
            Err(reason) => {
                self.error(key, format!("{reason}; expected a URL such as https://id.example.com"));
                None
            }
            Ok(url) => {
                if url.scheme_str() == Some("http") && !insecure_http && !is_loopback(&url) {
                    let message = "plain http beyond loopback, where whoever sits between chooses the keys; expected \
                                   https, or the issuer's `insecure_http: true`";
                    self.error(key, message);
                }
                Some(url)
            }
        }
    }

    fn introspection(&mut self, key: &str, raw: &raw::Introspection, insecure_http: bool) -> Option<Source> {
        let url = self.issuer_url(&format!("{key}.url"), &raw.url, insecure_http);
        self.filled(&format!("{key}.client_id"), &raw.client_id, "the gate's own client at the issuer");
        let cache = self.span(&format!("{key}.cache"), &raw.cache, "0s", "1h");
        let timeout = self.span(&format!("{key}.timeout"), &raw.timeout, "10ms", "1m");
        let client_secret = self.client_secret(key, raw);
        Some(Source::Introspection {
            url: url?,
            client_id: raw.client_id.clone(),
            client_secret: client_secret?,
            cache,
            timeout,
        })
    }

    fn client_secret(&mut self, key: &str, raw: &raw::Introspection) -> Option<Secret> {
        let (file_key, key_of_text) = (format!("{key}.client_secret_file"), format!("{key}.client_secret"));
        match (&raw.client_secret_file, &raw.client_secret) {
            (Some(file), None) => {
                if self.report.is_broken(&file_key) {
                    return None;
                }
                self.read_secret(&file_key, file)
            }
            (None, Some(secret)) => {
                if !self.report.is_variable(&key_of_text) {
                    let message = "a secret that stands in the file; expected `client_secret_file: PATH`, or \
                                   `client_secret: ${VAR}` and nothing else";
                    self.error(&key_of_text, message);
                    return None;
                }
                if secret.is_empty() {
                    self.error(&key_of_text, "the variable is empty; expected a secret");
                    return None;
                }
                Some(Secret::new(secret.clone().into_bytes()))
            }
            (Some(_), Some(_)) => {
                self.error(&key_of_text, "`client_secret_file` is there already; expected one of the two");
                None
            }
            (None, None) => {
                if !self.report.is_broken(&file_key) && !self.report.is_broken(&key_of_text) {
                    self.error(key, "no client secret; expected `client_secret_file: PATH` or `client_secret: ${VAR}`");
                }
                None
            }
        }
    }
}
