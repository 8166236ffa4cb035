//! P-256.
mod comb;
mod field;
mod inverse;
mod limbs;
mod point;
mod scalar;
mod verify;
pub use verify::*;

#[cfg(test)]
mod tests;
