//! `request`: curl for DPoP.

use std::fmt;
use std::io::{self, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;

use crate::client::{AGENT, Answer, Call, Client, ClientError, Credentials, ExchangeError, Grant, Prover, Story, Url};
use crate::clock::Clock;
use crate::dpop::DPOP;
use crate::jose::{Algorithm, PrivateKey};
use crate::secret::Secret;
use crate::tls::{self, ClientTls};

use super::input::{self, TokenSource};
use super::output;

/// Largest body to send, in bytes: it is kept, since it may have to be sent twice.
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;
/// Exit code of curl where the server's status is an error.
const HTTP_ERROR: u8 = 22;

/// What `request` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The URL to call: http or https
    url: String,
    /// The method; POST where there is data, else GET
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// The body: as it stands, @FILE, or - (or @-) for standard input. Several are joined by &. Sent as
    /// application/x-www-form-urlencoded unless -H says otherwise
    #[arg(short = 'd', long = "data", value_name = "DATA", allow_hyphen_values = true)]
    data: Vec<String>,
    /// A header 'Name: value', as often as needed; 'Name:' takes one of our own away
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Print the answer's status and headers before its body
    #[arg(short, long)]
    include: bool,
    /// Tell the eight steps on standard error, with what was sent and what came back
    #[arg(short, long)]
    verbose: bool,
    /// The private JWK of the client, as `keygen` makes it; without it a key is made for this call
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// An access token that is bound to the key, or @FILE that holds it
    #[arg(long, value_name = "T", conflicts_with = "token_endpoint", allow_hyphen_values = true)]
    token: Option<TokenSource>,
    /// Where to get a token by client credentials
    #[arg(long, value_name = "URL", requires = "client_id")]
    token_endpoint: Option<String>,
    /// The client there
    #[arg(long, value_name = "ID", requires = "token_endpoint")]
    client_id: Option<String>,
    /// Its secret. Other users of the machine can see it here: prefer the file, or the environment
    #[arg(long, value_name = "S", env = "DPOP_GATE_CLIENT_SECRET", hide_env_values = true, allow_hyphen_values = true)]
    client_secret: Option<Hidden>,
    /// A file that holds the secret; counts before --client-secret
    #[arg(long, value_name = "FILE", requires = "token_endpoint")]
    client_secret_file: Option<PathBuf>,
    /// The scopes to ask for, separated by spaces
    #[arg(long, value_name = "S", requires = "token_endpoint")]
    scope: Option<String>,
    /// PEM certificates to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Seconds that all of it may take; 0 for no limit
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60.0, allow_negative_numbers = true)]
    max_time: f64,
}

/// A secret on the command line. Prints redacted, since arguments may be printed.
#[derive(Clone)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// What the arguments come to.
struct Prepared {
    client: Client,
    call: Call,
    include: bool,
    limit: Option<Duration>,
}

/// Calls, and passes the answer on.
pub(super) fn run(args: Args) -> ExitCode {
    let prepared = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(message) => return output::usage(&message),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(&error),
    };
    let ended = runtime.block_on(within_limit(prepared));
    // A name that is still being looked up holds the exit up no longer.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::note(&format_args!("dpop-gate: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn within_limit(prepared: Prepared) -> Result<u8, ClientError> {
    let Prepared { mut client, call, include, limit } = prepared;
    let exchange = async {
        let answer = client.call(&call).await?;
        pass_on(answer, include).await
    };
    match limit {
        Some(limit) => tokio::time::timeout(limit, exchange).await.unwrap_or(Err(ClientError::TimedOut)),
        None => exchange.await,
    }
}

/// The answer to standard output, as it comes.
async fn pass_on(answer: Answer, include: bool) -> Result<u8, ClientError> {
    let (parts, mut body) = answer.into_parts();
    let mut out = io::stdout();
    if include {
        let mut head = format!("{:?} {}\r\n", parts.version, parts.status).into_bytes();
        for (name, value) in &parts.headers {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        out.write_all(&head).map_err(ClientError::Output)?;
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => ExchangeError::of_body(*error),
            Err(_) => ExchangeError::Partial,
        })?;
        if let Some(data) = frame.data_ref() {
            out.write_all(data).and_then(|()| out.flush()).map_err(ClientError::Output)?;
        }
    }
    if parts.status.is_redirection() && parts.headers.contains_key(LOCATION) {
        output::note("dpop-gate: a redirect is not followed: token and proof are for the URL that was named");
    }
    if parts.status.is_success() {
        return Ok(0);
    }
    output::note(&format_args!("dpop-gate: the server answered {}", parts.status));
    Ok(HTTP_ERROR)
}

fn prepare(args: &Args) -> Result<Prepared, String> {
    let url = input::url("URL", &args.url)?;
    let credentials = credentials(args)?;
    let body = body(&args.data)?;
    let method = match &args.method {
        Some(method) => input::method("--request", method)?,
        None if args.data.is_empty() => Method::GET,
        None => Method::POST,
    };
    let headers = headers(args, &credentials)?;
    let key = match &args.key {
        Some(path) => input::key(path)?,
        None => PrivateKey::generate(Algorithm::Es256).map_err(|error| error.to_string())?,
    };
    let limit = match Duration::try_from_secs_f64(args.max_time) {
        Ok(Duration::ZERO) => None,
        Ok(limit) => Some(limit),
        Err(_) => return Err("--max-time: not a time; expected seconds, such as 2.5".to_owned()),
    };
    let story = if args.verbose { Story::told_to(Box::new(io::stderr())) } else { Story::untold() };
    let tls = tls(args, &url, &credentials)?;
    Ok(Prepared {
        client: Client::new(Prover::new(key, Clock::System), tls, story),
        call: Call { method, url, headers, body, credentials },
        include: args.include,
        limit,
    })
}

fn credentials(args: &Args) -> Result<Credentials, String> {
    if let Some(endpoint) = &args.token_endpoint {
        let client_secret = match (&args.client_secret_file, &args.client_secret) {
            (Some(path), _) => {
                let secret = input::secret(path);
                let bytes = secret.map_err(|error| format!("--client-secret-file {}: {error}", path.display()))?;
                Some(Secret::new(bytes.to_vec()))
            }
            (None, Some(Hidden(secret))) => Some(Secret::new(secret.clone().into_bytes())),
            (None, None) => None,
        };
        return Ok(Credentials::Grant(Grant {
            endpoint: input::url("--token-endpoint", endpoint)?,
            client_id: args.client_id.clone().unwrap_or_default(),
            client_secret,
            scope: args.scope.clone(),
        }));
    }
    Ok(match &args.token {
        Some(source) => Credentials::Token(input::token(source)?),
        None => Credentials::None,
    })
}

/// As curl reads `-d`: text, or a file without its line ends; several joined by `&`.
fn body(data: &[String]) -> Result<Bytes, String> {
    let mut body = Vec::new();
    for (place, data) in data.iter().enumerate() {
        if place > 0 {
            body.push(b'&');
        }
        let from = |source: io::Result<zeroize::Zeroizing<Vec<u8>>>| {
            source.map_err(|error| format!("--data {data}: {error}")).map(|mut bytes| {
                bytes.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
                bytes
            })
        };
        match data.strip_prefix('@').unwrap_or(data) {
            "-" => body.extend_from_slice(&from(input::bounded(io::stdin().by_ref(), MAX_BODY_BYTES))?),
            path if data.starts_with('@') => body.extend_from_slice(&from(input::file(path.as_ref(), MAX_BODY_BYTES))?),
            text => body.extend_from_slice(text.as_bytes()),
        }
    }
    Ok(body.into())
}

fn headers(args: &Args, credentials: &Credentials) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, AGENT);
    if !args.data.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    let mut given = HeaderMap::new();
    for line in &args.headers {
        // What stands in it may be confidential: the name alone is told.
        let wrong = || "--header: not a header; expected 'Name: value'".to_owned();
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
        if name == DPOP || (name == AUTHORIZATION && !matches!(credentials, Credentials::None)) {
            return Err(format!("--header: {name} is made by this command; see --key and --token"));
        }
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return Err(format!("--header: {name} follows from the data"));
        }
        headers.remove(&name);
        let value = value.trim();
        if !value.is_empty() {
            given.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?);
        }
    }
    headers.extend(given);
    Ok(headers)
}

/// Read only where it is needed: a machine without root certificates still calls http.
fn tls(args: &Args, url: &Url, credentials: &Credentials) -> Result<Arc<rustls::ClientConfig>, String> {
    let asks = match credentials {
        Credentials::Grant(grant) => grant.endpoint.is_https(),
        Credentials::None | Credentials::Token(_) => false,
    };
    if args.cacert.is_some() || url.is_https() || asks {
        let options = ClientTls { ca: args.cacert.clone(), identity: None };
        return tls::client_config(&options).map_err(|error| format!("--cacert: {error}"));
    }
    tls::issuer_config().map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::try_parse_from([&["request"], line].concat()).unwrap().args
    }

    #[test]
    fn method_and_type_follow_curl() {
        for (line, method, kind, body) in [
            (&["http://a/"][..], "GET", None, ""),
            (&["http://a/", "-d", "a=1"], "POST", Some("application/x-www-form-urlencoded"), "a=1"),
            (&["http://a/", "-d", "a=1", "-d", "b=2"], "POST", Some("application/x-www-form-urlencoded"), "a=1&b=2"),
            (&["http://a/", "-d", ""], "POST", Some("application/x-www-form-urlencoded"), ""),
            (
                &["http://a/", "-X", "PUT", "-d", "{}", "-H", "content-type: application/json"],
                "PUT",
                Some("application/json"),
                "{}",
            ),
            (&["http://a/", "-d", "x", "-H", "Content-Type:"], "POST", None, "x"),
            (&["http://a/", "-X", "purge"], "purge", None, ""),
        ] {
            let call = prepare(&args(line)).unwrap().call;
            let found = call.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap());
            assert_eq!((call.method.as_str(), found, &call.body[..]), (method, kind, body.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn a_header_may_come_twice_but_not_in_place_of_ours() {
        let call = prepare(&args(&["http://a/", "-H", "X-A: 1", "-H", "x-a:2", "-H", "Authorization: Basic eA=="]))
            .unwrap()
            .call;
        assert!(call.headers.contains_key(ACCEPT) && call.headers.contains_key(USER_AGENT));
        let bare = prepare(&args(&["http://a/", "-H", "Accept:", "-H", "user-agent: x"])).unwrap().call.headers;
        assert_eq!((bare.get(ACCEPT), bare.get(USER_AGENT).unwrap().as_bytes()), (None, &b"x"[..]));
        assert_eq!(call.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(call.headers.get(AUTHORIZATION).unwrap(), "Basic eA==");
        for (line, named) in [
            (&["http://a/", "-H", "DPoP: canary"][..], "dpop"),
            (&["http://a/", "--token", "t", "-H", "authorization: canary"], "authorization"),
            (&["http://a/", "-H", "Content-Length: 4canary"], "content-length"),
            (&["http://a/", "-H", "canary"], "expected"),
            (&["http://a/", "-H", "a b: canary"], "expected"),
        ] {
            let refused = prepare(&args(line)).err().unwrap();
            assert!(refused.starts_with("--header: ") && refused.contains(named), "{refused}");
            assert!(!refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn arguments_print_no_secret() {
        // A random one begins with a hyphen one time in 64.
        let line = ["http://a/", "--token-endpoint", "http://b/", "--client-id", "c", "--client-secret", "-VcanaryA"];
        assert!(!format!("{:?}", args(&line)).contains("canary"));
        assert!(!format!("{:?}", args(&["http://a/", "--token", "-Vcanary"])).contains("canary"));
    }
}
