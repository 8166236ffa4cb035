//! `demo`.

#![allow(dead_code)]
mod issuer;
mod serve;
mod upstream;
