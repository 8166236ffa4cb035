//! `health`: ask a running gate how it is, for images that have no shell and no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::config;

use super::{check, output};

/// An answer takes no longer than this; Docker and Kubernetes have limits of their own.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer that is repeated, in bytes.
const BODY_BYTES: usize = 4096;

/// What `health` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to ask instead of the configured admin address, such as `http://127.0.0.1:9901/livez`
    #[arg(value_name = "URL", required_unless_present = "config")]
    url: Option<Uri>,
    /// The configuration file; /readyz of its admin address is asked
    #[arg(long, value_name = "FILE", env = "DPOP_GATE_CONFIG")]
    config: Option<PathBuf>,
}

/// Why there is no good answer.
#[derive(Debug, Error)]
enum HealthError {
    #[error("{0}: not a URL to ask; expected http://, a host, and a path")]
    Url(Uri),
    #[error("the configuration names no admin address; expected `admin: {{address: 127.0.0.1:9901}}`, or a URL")]
    NoAdmin,
    #[error("{0}: no connection: {1}")]
    Connect(Uri, #[source] std::io::Error),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("{0}: {1}")]
    Unhealthy(StatusCode, String),
}

/// Exit 0 if the answer is 200.
pub(super) fn run(args: Args) -> ExitCode {
    let uri = match (args.url, &args.config) {
        (Some(uri), _) => uri,
        (None, Some(file)) => match configured(file) {
            Ok(uri) => uri,
            Err(exit) => return exit,
        },
        (None, None) => return output::usage(&HealthError::NoAdmin),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(&error),
    };
    let asked = runtime.block_on(async { tokio::time::timeout(TIMEOUT, ask(&uri)).await });
    match asked.unwrap_or(Err(HealthError::TimedOut)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ HealthError::Url(_)) => output::usage(&error),
        Err(error) => output::failed(&error),
    }
}

/// `/readyz` of the admin address in the file.
fn configured(file: &Path) -> Result<Uri, ExitCode> {
    let config = config::load(file).map_err(|problems| check::refuse(&problems))?;
    let admin = config.admin.ok_or_else(|| output::usage(&HealthError::NoAdmin))?;
    // An address of digits, brackets and colons is always a URI.
    format!("http://{}/readyz", reachable(admin)).parse().map_err(|error| output::usage(&error))
}

/// Where an address that listens everywhere is reached from inside.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

async fn ask(uri: &Uri) -> Result<(), HealthError> {
    let wrong = || HealthError::Url(uri.clone());
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let connecting = TcpStream::connect((host, authority.port_u16().unwrap_or(80)));
    let stream = connecting.await.map_err(|error| HealthError::Connect(uri.clone(), error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(http::header::HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(|_| wrong())?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    let body = Limited::new(response.into_body(), BODY_BYTES).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Err(HealthError::Unhealthy(status, String::from_utf8_lossy(&body).trim_end().to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_listens_everywhere_is_asked_on_loopback() {
        for (admin, asked) in [
            ("0.0.0.0:9901", "127.0.0.1:9901"),
            ("[::]:9901", "[::1]:9901"),
            ("127.0.0.1:9901", "127.0.0.1:9901"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            assert_eq!(reachable(admin.parse().unwrap()), asked.parse().unwrap(), "{admin}");
        }
    }
}
