//! CORS for browser clients.
