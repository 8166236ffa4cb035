//! What the demo prints: where everything is, and calls to paste.

use std::path::Path;

use super::configuration::Places;
use super::issuer::{Client, Clients, SCOPES, TOKEN_LIFETIME};

/// The whole text; `executable` makes keys and proofs.
pub(super) fn text(places: &Places, clients: &Clients, executable: &Path) -> String {
    let Places { admin, issuer, legacy, .. } = places;
    let gate = places.origin();
    let (confidential, public) = (&clients.confidential, &clients.public);
    let secret = confidential.secret.as_deref().unwrap_or_default();
    let redirect_uri = clients.redirect_uris.first().map_or("", String::as_str);
    let scopes = SCOPES.join(" ");
    let minutes = TOKEN_LIFETIME.as_secs() / 60;
    let shortest = shortest(&gate, &clients.confidential, executable);
    let (succeeds, refused) = pastes(&gate, &clients.confidential, executable);
    format!(
        r#"dpop-gate demo. For development only: keys and tokens live in memory and end with it (Ctrl-C).

  See it                {gate}/

  The gate              {gate}
    /api/...            the API: needs a token bound to your key, and a fresh proof with a nonce
    POST /token         the token endpoint: needs a fresh proof with a nonce
  Authorization server  the same origin, in front of http://{issuer}  (development only: asks nobody for a password)
  Legacy upstream       http://{legacy}  (knows nothing of OAuth; shows what it was sent)
  What the gate sees    http://{admin}/  (status page; beside it /metrics  /livez  /readyz)

  Found from            {gate}/.well-known/oauth-protected-resource
                        {gate}/.well-known/oauth-authorization-server
  Clients               {confidential}, secret {secret}
                        {public}, no secret: codes with PKCE, sent to {redirect_uri}
                        scopes {scopes}; tokens for {minutes} minutes

All eight steps in one paste:

{shortest}
The same by curl, a call that succeeds. Paste into bash or zsh; the upstream shows who it was told you are:

{succeeds}
The same request once more. Refused with 401: its proof is spent, as a thief's copy would be:

{refused}"#,
        confidential = confidential.id,
        public = public.id,
    )
}

/// One command for the whole story.
fn shortest(gate: &str, client: &Client, executable: &Path) -> String {
    let executable = quoted(&executable.to_string_lossy());
    let (id, secret) = (client.id, client.secret.as_deref().unwrap_or_default());
    let client = format!("--client-id {id} --client-secret {secret}");
    format!("    {executable} request -v --token-endpoint {gate}/token {client} {gate}/api/orders\n")
}

/// The call that succeeds, and the one that is refused; the second uses what the first left in the shell.
fn pastes(gate: &str, client: &Client, executable: &Path) -> (String, String) {
    let executable = quoted(&executable.to_string_lossy());
    let (id, secret) = (client.id, client.secret.as_deref().unwrap_or_default());
    let succeeds = format!(
        r#"    key=$(mktemp -d)/key.jwk; {executable} keygen --out "$key"
    proof() {{ {executable} proof --key "$key" --method "$1" --url "{gate}$2" "${{@:3}}"; }}
    nonce=$(curl -si -X POST -H "DPoP: $(proof POST /token)" {gate}/token | tr -d '\r' | awk 'tolower($1) == "dpop-nonce:" {{ print $2 }}')
    token=$(curl -s -u '{id}:{secret}' -d grant_type=client_credentials -H "DPoP: $(proof POST /token --nonce "$nonce")" {gate}/token | sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p')
    call=(-H "Authorization: DPoP $token" -H "DPoP: $(proof GET /api/orders --nonce "$nonce" --token "$token")" {gate}/api/orders)
    curl -i "${{call[@]}}"
"#
    );
    (succeeds, "    curl -i \"${call[@]}\"\n".to_owned())
}

/// As one word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_of_the_shell() {
        for (path, expected) in [
            ("/usr/bin/dpop-gate", "/usr/bin/dpop-gate"),
            ("/home/a b/dpop-gate", "'/home/a b/dpop-gate'"),
            ("/home/o'neil/$x", r"'/home/o'\''neil/$x'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(path), expected);
        }
    }
}
