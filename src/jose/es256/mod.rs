//! ES256 verification with tables for keys that come back.
mod comb;
mod field;
mod inverse;
mod limbs;
mod point;
mod scalar;
mod table;

#[cfg(test)]
mod arithmetic;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod figures;

pub use table::{KeyTable, TableSize};
