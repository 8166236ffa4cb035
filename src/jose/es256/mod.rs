//! ES256 verification: under a key that comes back with a table of its multiples, for a fifth to a third of what the
//! library's verification costs (which cannot know the key), or for an eighth to a fifth, by four lanes at a time;
//! under any other for three quarters of it.
//!
//! **For public data only.** Everything here takes time and touches memory as its numbers will have it: branches,
//! tables read at places that the scalars choose, a division whose steps depend on what is divided. Whoever measures
//! that learns the key, the digest or the signature, and all three came over the wire in the clear; the gate holds no
//! secret of this curve but for what it signs, and it signs with the library. So nothing of this may ever see a private
//! key or a nonce of ECDSA: there is no function here that takes one; [`KeyTable`] and [`Curve`] take public keys only.
//!
//! What would be harmful is a wrong answer, so the answers are compared: numbers and points with a plain reference and
//! with `p256` (`arithmetic.rs`), the lanes with those (`lanes/tests.rs`), whole verifications with AWS-LC in thousands
//! of cases and Wycheproof's vectors in every run of the tests, and in ten million by `tests/curve` (`differential`).
//! Rare cases have no way of their own where the usual way can do them: sums are complete, whichever points meet. The
//! lanes' are not, but tell.
//!
//! | file | what |
//! | --- | --- |
//! | `limbs`, `field`, `scalar`, `inverse` | numbers modulo p and modulo the order |
//! | `point` | sums of points |
//! | `comb` | one point's table, and how a scalar is read by it |
//! | `ecdsa` | the verification, around a sum of two multiples |
//! | `table` | that sum by a key's table, for any processor |
//! | `lanes` | the same four numbers at a time, where the processor can |
//! | `curve`, `windows` | the sum under a key that has no table |
//! | `mulx` | the same instructions for all, or better ones where the processor has them |

mod comb;
mod curve;
mod ecdsa;
mod field;
mod inverse;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod limbs;
mod mulx;
mod point;
mod scalar;
mod table;
mod windows;

#[cfg(test)]
mod arithmetic;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod parts;

pub use curve::Curve;
pub(super) use table::is_on_curve;
pub use table::{KeyTable, TableSize};
