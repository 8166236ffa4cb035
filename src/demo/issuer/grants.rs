//! What users and clients have granted: each grant with its one live refresh token.

use std::num::NonZeroUsize;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use lru::LruCache;
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::jose::{PrivateKeyError, Thumbprint};

/// How long a grant can be refreshed.
pub(super) const REFRESH_LIFETIME: Duration = Duration::from_secs(3600);
/// Grants remembered; the oldest goes first, and its tokens with it.
const MAX_GRANTS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Names a grant, for as long as the server runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GrantId(String);

impl GrantId {
    pub(super) fn random() -> Result<Self, PrivateKeyError> {
        super::random().map(Self)
    }

    pub(super) fn parse(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who may do what.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) client: &'static str,
    pub(super) subject: &'static str,
    /// All of it; a refresh may ask for less.
    pub(super) scope: String,
    /// Whose proof a refresh needs: RFC 9449 section 5, for public clients.
    pub(super) refresh_key: Option<Thumbprint>,
    /// Of the refresh token that counts; older ones were used.
    pub(super) serial: u64,
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
}

/// What a refresh token leads to.
pub(super) struct RefreshToken {
    pub(super) id: GrantId,
    pub(super) grant: Grant,
    /// Another one was given for it.
    pub(super) is_used: bool,
}

/// The grants that live. What is not here is revoked: forgetting can only refuse.
///
/// A refresh token is grant, serial number and an HMAC over both, so that a used one is known for what it is without
/// being stored, and nobody who only saw a grant's name in a `jti` can make one up.
pub(super) struct Grants {
    grants: LruCache<GrantId, Grant>,
    secret: [u8; 32],
}

impl Grants {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { grants: LruCache::new(MAX_GRANTS), secret }
    }

    pub(super) fn insert(&mut self, id: GrantId, grant: Grant) {
        self.grants.push(id, grant);
    }

    /// A grant that is neither revoked nor over.
    pub(super) fn live(&self, id: &GrantId, now: Timestamp) -> Option<&Grant> {
        self.grants.peek(id).filter(|grant| now < grant.expires)
    }

    /// Ends a grant and with it every token that it gave.
    pub(super) fn revoke(&mut self, id: &GrantId) {
        self.grants.pop(id);
    }

    /// The refresh token that counts now.
    pub(super) fn refresh_token(&self, id: &GrantId, grant: &Grant) -> String {
        let mac = URL_SAFE_NO_PAD.encode(self.authenticate(id, grant.serial).finalize().into_bytes());
        format!("{}.{}.{mac}", id.as_str(), grant.serial)
    }

    /// A refresh token that was made here, of a grant that lives. It may be a used one.
    pub(super) fn of_refresh_token(&self, token: &str, now: Timestamp) -> Option<RefreshToken> {
        let (id, serial) = self.read(token)?;
        let grant = self.live(&id, now)?.clone();
        Some(RefreshToken { is_used: serial != grant.serial, id, grant })
    }

    /// Uses up the current refresh token; the grant as it is with the next.
    pub(super) fn rotate(&mut self, id: &GrantId) -> Option<Grant> {
        let grant = self.grants.peek_mut(id)?;
        grant.serial += 1;
        Some(grant.clone())
    }

    /// Grant and serial number of a refresh token that was made here.
    fn read(&self, token: &str) -> Option<(GrantId, u64)> {
        let mut parts = token.split('.');
        let (id, serial, mac, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
        let (id, serial) = (GrantId::parse(id), serial.parse().ok()?);
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        self.authenticate(&id, serial).verify_slice(&mac).ok()?;
        Some((id, serial))
    }

    fn authenticate(&self, id: &GrantId, serial: u64) -> Hmac<Sha256> {
        // HMAC takes a key of any length (RFC 2104), so this cannot fail.
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        mac.update(&serial.to_be_bytes());
        mac.update(id.as_str().as_bytes());
        mac
    }
}
