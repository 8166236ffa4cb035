//! The checks by name and number.

/// The checks of RFC 9449 section 4.3, in the order in which [`verify`](super::verify()) makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// 1: "There is not more than one DPoP HTTP request header field."
    OneProof,
    /// 2: "a single and well-formed JWT".
    WellFormed,
    /// 3: "All required claims".
    Claims,
    /// 4: `typ`.
    Typ,
    /// 5: `alg`.
    Algorithm,
    /// 7: `jwk` "does not contain a private key".
    NoPrivateKey,
    /// 6, its condition: `jwk` states a public key that `alg` can be used with.
    UsableKey,
    /// 8: `htm`.
    Method,
    /// 9: `htu`.
    Uri,
    /// 11: `iat`.
    Age,
    /// 10: `nonce`.
    Nonce,
    /// 12, first half: `ath`.
    TokenHash,
    /// 6, its condition: an EC key of `jwk` is a point of its curve. The first that takes arithmetic.
    OnCurve,
    /// 12, second half: the key that the access token is bound to.
    Binding,
    /// 6: "The JWT signature verifies".
    Signature,
}

impl Check {
    /// All of them, in order.
    pub const ALL: [Check; 15] = [
        Self::OneProof,
        Self::WellFormed,
        Self::Claims,
        Self::Typ,
        Self::Algorithm,
        Self::NoPrivateKey,
        Self::UsableKey,
        Self::Method,
        Self::Uri,
        Self::Age,
        Self::Nonce,
        Self::TokenHash,
        Self::OnCurve,
        Self::Binding,
        Self::Signature,
    ];

    /// Its number in section 4.3.
    pub const fn number(self) -> u8 {
        match self {
            Self::OneProof => 1,
            Self::WellFormed => 2,
            Self::Claims => 3,
            Self::Typ => 4,
            Self::Algorithm => 5,
            Self::UsableKey | Self::OnCurve | Self::Signature => 6,
            Self::NoPrivateKey => 7,
            Self::Method => 8,
            Self::Uri => 9,
            Self::Nonce => 10,
            Self::Age => 11,
            Self::TokenHash | Self::Binding => 12,
        }
    }
}
