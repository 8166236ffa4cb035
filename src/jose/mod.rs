//! The part of JOSE that DPoP needs: compact JWS (RFC 7515), JWK (RFC 7517, 7518, 8037), thumbprints (RFC 7638).

mod algorithm;
mod base64url;
mod es256;
mod jwk;
mod jws;
mod private;
mod public;
mod strict;
mod thumbprint;

pub use algorithm::Algorithm;
pub use es256::{KeyTable, TableSize};
pub(crate) use jwk::{JwkMembers, JwkSeed};
pub use jws::{Compact, CompactError};
pub use private::{PrivateKey, PrivateKeyError};
pub use public::{JwkError, PublicKey};
pub use strict::StrictValue;
pub(crate) use strict::{IgnoredSeed, NameSeed, TextSeed, parse_strictly};
pub use thumbprint::Thumbprint;
