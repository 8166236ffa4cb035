//! `demo`: a development authorization server, a legacy service that knows nothing of OAuth, and the real gate in front
//! of both, in one process. For development only.
//!
//! The two services listen on free loopback ports. The gate gets the same configuration file that a user would write,
//! so what the demo shows is what `run` does.

mod configuration;
mod folder;
mod guide;
mod issuer;
mod serve;
mod upstream;
