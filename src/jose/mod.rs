//! The part of JOSE that DPoP needs: compact JWS (RFC 7515), JWK (RFC 7517, 7518, 8037), thumbprints (RFC 7638).

mod algorithm;
mod base64url;
mod es256;
mod jwk;
mod jws;
mod private;
mod public;
mod reader;
mod strict;
mod thumbprint;

pub use algorithm::Algorithm;
pub(crate) use base64url::{decode_fixed, encode_32};
pub use es256::{Curve, KeyTable, TableSize};
pub(crate) use jwk::JwkMembers;
pub use jws::{Compact, CompactError};
pub use private::{PrivateKey, PrivateKeyError};
pub use public::{JwkError, PublicKey, StatedKey};
pub(crate) use reader::{Names, Reader, read};
pub use strict::StrictValue;
pub use thumbprint::Thumbprint;
