//! Authorization codes: short-lived, bound to all that asked for them, good once (RFC 6749 section 4.1.2).

use std::num::NonZeroUsize;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lru::LruCache;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::jose::{PrivateKeyError, Thumbprint};

use super::OAuthRefusal;
use super::authorize::AuthorizationRequest;
use super::grants::GrantId;

/// RFC 6749 section 4.1.2: "A maximum authorization code lifetime of 10 minutes is RECOMMENDED." A client redeems at
/// once.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// Codes remembered, the spent ones too; the oldest goes first.
const MAX_CODES: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// The codes that were issued, by their digests.
pub(super) struct Codes(LruCache<[u8; 32], Code>);

/// What a code stands for.
struct Code {
    request: AuthorizationRequest,
    expires: Timestamp,
    /// What came of it.
    redeemed: Option<GrantId>,
}

/// What a client brings to `/token` beside the code.
pub(super) struct Redemption<'a> {
    pub(super) client: &'static str,
    pub(super) redirect_uri: &'a str,
    pub(super) verifier: &'a str,
    pub(super) key: Thumbprint,
}

/// Why a code is not taken.
pub(super) enum CodeError {
    /// For this reason; the code stays what it was.
    Refused(OAuthRefusal),
    /// It was spent on this grant, which somebody else may hold now.
    Spent(GrantId),
}

impl Codes {
    pub(super) fn new() -> Self {
        Self(LruCache::new(MAX_CODES))
    }

    /// A code for an approved request.
    pub(super) fn issue(&mut self, request: AuthorizationRequest, now: Timestamp) -> Result<String, PrivateKeyError> {
        let text = super::random()?;
        self.0.push(digest(&text), Code { request, expires: now + CODE_LIFETIME, redeemed: None });
        Ok(text)
    }

    /// Spends a code on `grant`, last of all: a bad attempt leaves it to its owner.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        by: &Redemption<'_>,
        grant: &GrantId,
        now: Timestamp,
    ) -> Result<&AuthorizationRequest, CodeError> {
        let code = self.0.peek_mut(&digest(code)).ok_or(CodeError::Refused(OAuthRefusal::InvalidCode))?;
        if let Some(grant) = &code.redeemed {
            return Err(CodeError::Spent(grant.clone()));
        }
        fits(&code.request, code.expires, by, now).map_err(CodeError::Refused)?;
        code.redeemed = Some(grant.clone());
        Ok(&code.request)
    }
}

fn fits(
    request: &AuthorizationRequest,
    expires: Timestamp,
    by: &Redemption<'_>,
    now: Timestamp,
) -> Result<(), OAuthRefusal> {
    if now >= expires || request.client != by.client || request.redirect_uri != by.redirect_uri {
        return Err(OAuthRefusal::InvalidCode);
    }
    // RFC 7636 section 4.6: BASE64URL-ENCODE(SHA256(ASCII(code_verifier))) == code_challenge
    let challenge = URL_SAFE_NO_PAD.encode(digest(by.verifier));
    if !bool::from(challenge.as_bytes().ct_eq(request.challenge.as_bytes())) {
        return Err(OAuthRefusal::WrongVerifier);
    }
    // RFC 9449 section 10: "If they do not match, it MUST reject the request."
    if request.key.is_some_and(|announced| announced != by.key) {
        return Err(OAuthRefusal::OtherKeyThanAnnounced);
    }
    Ok(())
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
