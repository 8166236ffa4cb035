//! What an access token is bound to: its `cnf` claim.

use serde_json::Value;

use crate::jose::Thumbprint;

use super::TokenError;

/// What `cnf` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// There is no `cnf` member at all: a bearer token.
    None,
    /// `cnf.jkt` (RFC 9449 section 6.1), and `cnf.x5t#S256` (RFC 8705 section 3.1) if that stands beside it.
    Key {
        /// The thumbprint that the proof's key must have.
        jkt: Thumbprint,
        /// The SHA-256 of the client certificate that the connection must have.
        x5t_s256: Option<[u8; 32]>,
    },
}

impl Binding {
    /// Reads `cnf`. Present in any form but a usable one is [`TokenError::NotBound`]: never taken for "not bound,
    /// fine".
    ///
    /// Members that are not known here do no harm beside a `jkt` (RFC 7800 section 3.1 lets a recipient ignore them);
    /// a `jkt` or `x5t#S256` that is there but cannot be read does.
    pub fn of(cnf: Option<&Value>) -> Result<Self, TokenError> {
        let Some(cnf) = cnf else {
            return Ok(Self::None);
        };
        let members = cnf.as_object().ok_or(TokenError::NotBound)?;
        let jkt = members.get("jkt").and_then(thumbprint).ok_or(TokenError::NotBound)?;
        let x5t_s256 = match members.get("x5t#S256") {
            None => None,
            Some(value) => Some(*thumbprint(value).ok_or(TokenError::NotBound)?.as_bytes()),
        };
        Ok(Self::Key { jkt, x5t_s256 })
    }
}

/// Both members are written alike: base64url of 32 bytes, canonical and without padding.
fn thumbprint(value: &Value) -> Option<Thumbprint> {
    Thumbprint::parse(value.as_str()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    const X5T: &str = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
    const X5T_CANONICAL: &str = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0";

    #[test]
    fn a_cnf_without_a_usable_jkt_is_never_taken_for_unbound() {
        for cnf in [
            json!(null),
            json!("jkt"),
            json!(JKT),
            json!([]),
            json!([{"jkt": JKT}]),
            json!(false),
            json!({}),
            json!({"jkt": null}),
            json!({"jkt": 7}),
            json!({"jkt": [JKT]}),
            json!({"jkt": ""}),
            json!({"jkt": &JKT[..42]}),
            json!({"jkt": format!("{JKT}=")}),
            json!({"jkt": format!(" {JKT}")}),
            json!({"jkt": format!("{JKT}A")}),
            json!({"jkt": JKT.replace('-', "+")}),
            // The same 32 bytes for a lenient decoder: the last character's spare bits are not zero.
            json!({"jkt": format!("{}J", &JKT[..42])}),
            json!({"JKT": JKT}),
            json!({"x5t#S256": X5T_CANONICAL}),
            json!({"kid": "k", "jwk": {}}),
            json!({"jkt": JKT, "x5t#S256": null}),
            json!({"jkt": JKT, "x5t#S256": X5T}),
            json!({"jkt": JKT, "x5t#S256": ""}),
        ] {
            assert_eq!(Binding::of(Some(&cnf)), Err(TokenError::NotBound), "{cnf}");
        }
    }

    #[test]
    fn usable_bindings_are_read() {
        assert_eq!(Binding::of(None), Ok(Binding::None));
        let jkt = Thumbprint::parse(JKT).unwrap();
        assert_eq!(Binding::of(Some(&json!({"jkt": JKT}))), Ok(Binding::Key { jkt, x5t_s256: None }));
        assert_eq!(Binding::of(Some(&json!({"jkt": JKT, "kid": 1}))), Ok(Binding::Key { jkt, x5t_s256: None }));
        let x5t_s256 = Some(*Thumbprint::parse(X5T_CANONICAL).unwrap().as_bytes());
        let both = json!({"jkt": JKT, "x5t#S256": X5T_CANONICAL});
        assert_eq!(Binding::of(Some(&both)), Ok(Binding::Key { jkt, x5t_s256 }));
    }
}
