//! Bodies that stream.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// A response body towards the client.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
