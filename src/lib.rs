//! dpop-gate: a reverse proxy that demands DPoP (RFC 9449) on behalf of services that know nothing of it.
//!
//! # The map
//!
//! A file may use its own folder and the layers below it, nothing else; `tests/tidy.rs` proves it. `demo` is there with
//! the cargo feature of that name, which is on unless a build leaves it out.
//!
//! | layer | modules | what lives there |
//! | --- | --- | --- |
//! | 0 vocabulary | [`jose`], [`target`], [`secret`], [`clock`], [`metrics`] | types and plain functions that know no policy |
//! | 1 rules | [`dpop`], [`token`], [`nonce`], [`policy`] | what the RFCs and the operator say, as functions of their arguments |
//! | 2 capabilities | [`replay`], [`issuer`], [`verifier`] | the memory, the network and the threads that the rules need |
//! | 3 decision | [`gate`], [`journal`] | request in, [`gate::Admission`] or [`gate::Refusal`] out; what is counted, logged and traced of it |
//! | 4 doors | [`proxy`], [`forward_auth`], [`admin`] | HTTP (and Envoy's gRPC) in front of the decision |
//! | 5 assembly | [`config`], [`watch`], [`tls`], [`telemetry`], [`server`], [`app`], [`cli`], [`demo`], [`client`], [`explain`] | a file becomes a running process |
//!
//! # A request's journey
//!
//! `server` accepts, speaks TLS and bounds the connection; `proxy::handle` asks [`target`] which URI the client
//! meant, [`policy`] which route that is, and [`gate`] whether it may pass; `proxy::headers` writes what the upstream
//! will read, `proxy::upstream` sends it. Whatever the answer, one place counts, logs and traces it.
//!
//! # Invariants
//!
//! - Invariant: layers 0 and 1 open no socket, read no file, no environment, no randomness; time is an argument.
//! - Invariant: only [`clock`] reads the system clock.
//! - Invariant: nothing is forwarded without a [`gate::Admission`], and only [`gate`] can make one.
//! - Invariant: a `jti` is spent after every other check has passed, never before.
//! - Invariant: no layer but `config` knows how a setting is spelled; each module takes a small options struct.
//! - Invariant: a token, proof or nonce has no `Debug` or `Display` that shows it.

pub mod clock;
pub mod jose;
pub mod metrics;
pub mod secret;
pub mod target;

pub mod dpop;
pub mod nonce;
pub mod policy;
pub mod token;

pub mod issuer;
pub mod replay;
pub mod verifier;

pub mod gate;
pub mod journal;

pub mod admin;
pub mod forward_auth;
pub mod proxy;

pub mod app;
pub mod cli;
pub mod client;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod explain;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod watch;
