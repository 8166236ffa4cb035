//! Commands.
#![allow(clippy::needless_pass_by_value, reason = "every command takes its arguments over")]

mod check;
#[cfg(feature = "demo")]
mod demo;
mod explain;
mod health;
mod input;
mod keygen;
mod output;
mod proof;
mod request;
mod run;
mod schema;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A reverse proxy that demands DPoP (RFC 9449) on behalf of services that know nothing of it.
#[derive(Debug, Parser)]
#[command(
    name = "dpop-gate",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  dpop-gate demo                              see it work, with nothing else installed
  dpop-gate check --config gateway.yaml       read the file and everything it names
  dpop-gate run --config gateway.yaml         serve

Exit codes: 0 done, 1 failed while running, 2 usage or configuration."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a configuration file says
    ///
    /// SIGTERM and SIGINT drain and exit 0, a second one ends at once. SIGHUP reads the file again; one with problems
    /// is refused, and the old one keeps serving.
    #[command(after_help = "\
Examples:
  dpop-gate run --config /etc/dpop-gate/gateway.yaml
  dpop-gate run --watch --config /etc/dpop-gate/gateway.yaml    a mounted ConfigMap, certificates, keys: all followed
  DPOP_GATE_CONFIG=gateway.yaml RUST_LOG=debug dpop-gate run
  kill -HUP $(pidof dpop-gate)                take a changed file, no request lost")]
    Run(run::Args),
    /// Read a configuration file and everything it names, and say what is wrong
    ///
    /// Every problem at once, one a line on standard error: FILE:LINE:COL: key: what is wrong; what is expected.
    #[command(after_help = "\
Examples:
  dpop-gate check --config gateway.yaml
  dpop-gate check --config gateway.yaml && kill -HUP $(pidof dpop-gate)")]
    Check(check::Args),
    /// Ask a running gate whether it is ready
    ///
    /// Exit 0 if it is, else 1 with the reason on standard error: for a HEALTHCHECK in an image without a shell.
    #[command(after_help = "\
Examples:
  dpop-gate health --config gateway.yaml      /readyz of its admin address
  dpop-gate health http://127.0.0.1:9901/livez")]
    Health(health::Args),
    /// Print the JSON Schema of the configuration file
    #[command(after_help = "\
Examples:
  dpop-gate schema > dpop-gate.schema.json    for an editor that completes and checks YAML")]
    Schema(schema::Args),
    /// Make a private key for DPoP, as a JWK
    #[command(after_help = "\
Examples:
  dpop-gate keygen --out client.jwk           its thumbprint (cnf.jkt) is printed
  dpop-gate keygen --alg EdDSA > client.jwk")]
    Keygen(keygen::Args),
    /// Make DPoP proofs, one a line
    #[command(after_help = "\
Examples:
  dpop-gate proof --key client.jwk --method GET --url https://api.example.com/orders/1
  dpop-gate proof --key client.jwk --method GET --url http://127.0.0.1:8080/orders/1 --token @token.txt --nonce N")]
    Proof(proof::Args),
    /// Call an API as a DPoP client: curl with a key, a bound token, proofs and nonces
    ///
    /// The answer's body goes to standard output, everything else to standard error. A server's use_dpop_nonce is
    /// answered once a request. HTTP/1.1; no redirect is followed, no proxy is asked.
    #[command(after_help = "\
Examples:
  dpop-gate request -v --token-endpoint http://127.0.0.1:8080/token --client-id ID --client-secret-file secret \\
    http://127.0.0.1:8080/api/orders
  dpop-gate request --key client.jwk --token @token.txt -d '{\"item\": 7}' -H 'Content-Type: application/json' \\
    https://api.example.com/orders

Exit codes, curl's where it has one: 0 a status of 2xx; 22 another status, of the API or of the token endpoint;
2 usage, or a file that cannot be used; 6 could not resolve; 7 could not connect; 18 the body ended early; 23 the body
cannot be written; 28 no answer in time; 35 no TLS session; 52 no answer; 56 not HTTP; 60 the certificate is not taken;
63 the answer is too large; 1 anything else, such as a token that is not bound.")]
    Request(request::Args),
    /// Say why a captured request is refused
    ///
    /// Reads a raw HTTP request, output of curl -v, a curl command line (such as browsers copy), or a HAR entry, and
    /// walks the checks of RFC 9449 sections 4.3 and 7.1 in the gate's order: each passed, failed (with what was
    /// expected, what was found, and the remedy), or not reached. Spends no jti, shows no credential. With --config,
    /// issuers are asked for keys, or about an opaque token, as the gate would.
    #[command(after_help = "\
Examples:
  dpop-gate explain request.txt
  dpop-gate explain --config gateway.yaml --at 2026-01-02T03:04:05Z request.har
  curl -v -H \"Authorization: DPoP $TOKEN\" -H \"DPoP: $PROOF\" https://api.example.com/orders 2>&1 | dpop-gate explain

Exit codes: 0 all checks passed, 1 one failed, 2 unreadable.")]
    Explain(explain::Args),
    #[cfg(feature = "demo")]
    /// Run a whole small world on loopback: an authorization server, a legacy service, and the gate before it
    #[command(after_help = "\
Examples:
  dpop-gate demo
  dpop-gate demo --listen 127.0.0.1:9090
  dpop-gate demo --config-out gateway.yaml    its gate's configuration, to start from")]
    Demo(demo::Args),
}

/// The configuration file, of `run` and `check`.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "DPOP_GATE_CONFIG")]
    config: PathBuf,
}

/// Parses the command line and runs it: 0 done, 1 failed while running, 2 usage or configuration.
pub fn main() -> ExitCode {
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            // Help and version too; a reader that went away has had enough of either.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::from(2), ExitCode::from);
        }
    };
    match command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Health(args) => health::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Keygen(args) => keygen::run(args),
        Command::Proof(args) => proof::run(args),
        Command::Request(args) => request::run(args),
        Command::Explain(args) => explain::run(args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_shows_an_example() {
        let mut line = CommandLine::command();
        line.build();
        line.clone().debug_assert();
        let names: Vec<&str> = line.get_subcommands().map(clap::Command::get_name).collect();
        for expected in ["run", "check", "health", "schema", "keygen", "proof", "request", "explain"] {
            assert!(names.contains(&expected), "{expected}");
        }
        assert_eq!(names.contains(&"demo"), cfg!(feature = "demo"));
        for command in line.get_subcommands().filter(|command| command.get_name() != "help") {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let shown = format!("\n  dpop-gate {}", command.get_name());
            assert!(examples.starts_with("Examples:") && examples.contains(&shown), "{}", command.get_name());
        }
    }

    #[test]
    fn usage_errors_exit_2_and_help_exits_0() {
        for (line, code) in [
            (&["dpop-gate"][..], 2),
            (&["dpop-gate", "serve"], 2),
            (&["dpop-gate", "run", "--confg", "x"], 2),
            (&["dpop-gate", "--help"], 0),
            (&["dpop-gate", "run", "--help"], 0),
            (&["dpop-gate", "--version"], 0),
        ] {
            assert_eq!(
                CommandLine::try_parse_from(line).map_err(|error| error.exit_code()).err(),
                Some(code),
                "{line:?}"
            );
        }
    }
}
