//! What `benches/run` sends: clients with keys and tokens of their own, and requests signed before the clock starts.
//!
//! ```text
//! traffic issuer --key issuer.jwk --jwks jwks.json
//! traffic sign --issuer-key issuer.jwk --url http://127.0.0.1:8080/api/orders --clients 100 lead=3200 round=100000
//! traffic certificate --certificate tls.crt --key tls.key
//! traffic verify
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "a bench"
)]

mod client;
mod on_core;
mod records;
mod verify;

use std::fs;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use dpop_gate::jose::{Algorithm, PrivateKey};
use serde_json::json;

#[derive(Parser)]
struct CommandLine {
    /// What cargo gives to every bench.
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes an issuer: its private key, and the JWKS that the gate reads
    Issuer {
        #[arg(long)]
        key: PathBuf,
        #[arg(long)]
        jwks: PathBuf,
    },
    /// Signs requests, and writes them to files
    Sign(records::Order),
    /// Makes a certificate for 127.0.0.1
    Certificate {
        #[arg(long)]
        certificate: PathBuf,
        #[arg(long)]
        key: PathBuf,
    },
    /// Prints what one ES256 verification by AWS-LC costs, in microseconds of this core: the lowest of some batches
    Verify,
}

fn main() {
    match CommandLine::parse().command {
        Some(Command::Issuer { key, jwks }) => issuer(key, jwks),
        Some(Command::Sign(order)) => records::write(&order),
        Some(Command::Certificate { certificate, key }) => self_signed(certificate, key),
        Some(Command::Verify) => println!("{:.2}", verify::microseconds()),
        None => println!("benches/run runs this; see its documentation"),
    }
}

fn issuer(key: PathBuf, jwks: PathBuf) {
    let pair = PrivateKey::generate(Algorithm::Es256).unwrap();
    let mut public = pair.public().to_jwk();
    public.as_object_mut().unwrap().insert("kid".into(), client::KEY_ID.into());
    fs::write(key, pair.to_jwk_json().as_bytes()).unwrap();
    fs::write(jwks, json!({"keys": [public]}).to_string()).unwrap();
}

fn self_signed(certificate: PathBuf, key: PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    fs::write(certificate, made.cert.pem()).unwrap();
    fs::write(key, made.signing_key.serialize_pem()).unwrap();
}
