use super::*;
use super::{comb::Comb, field::Field, point::{Affine, Jacobian}, scalar::Scalar};
use std::hint::black_box;
use std::time::Instant;
use aws_lc_rs::signature::*;
use aws_lc_rs::rand::SystemRandom;

fn bench<T>(name: &str, n: u32, mut f: impl FnMut() -> T) -> f64 {
    let mut best = f64::MAX;
    let t = Instant::now();
    for _ in 0..(n / 10).max(1) { black_box(f()); }
    let n = ((n as f64 / 10.0).max(1.0) * 100e3 / t.elapsed().as_nanos() as f64).max(1.0) as u32;
    for _ in 0..400 {
        let t = Instant::now();
        for _ in 0..n { black_box(f()); }
        best = best.min(t.elapsed().as_nanos() as f64 / n as f64);
    }
    println!("{name:24} {best:10.1} ns");
    best
}

fn run<const T: usize, const B: usize>(point: &[u8; 65], m: &[u8], d: &[u8; 32], sig: &[u8; 64]) {
    let t = KeyTable::<T, B>::new(point).unwrap();
    assert!(t.verify(d, sig));
    let mut bad = *sig; bad[40] ^= 1;
    assert!(!t.verify(d, &bad));
    bench(&format!("build {T}x{B}"), 20, || KeyTable::<T, B>::new(point).unwrap());
    bench(&format!("verify {T}x{B}"), 500, || t.verify(black_box(d), black_box(sig)));
    let _ = m;
}

#[test]
#[ignore]
fn figures() {
    let mut a = Affine::GENERATOR.x;
    let b = Affine::GENERATOR.y;
    bench("mul (chain)", 100000, || { a = a.mul(&b); a });
    bench("square (chain)", 100000, || { a = a.square(); a });
    bench("add (chain)", 100000, || { a = a.add(&b); a });
    bench("sub (chain)", 100000, || { a = a.sub(&b); a });
    let (mut c, mut e, mut f) = (a.square(), a.mul(&b), b.square());
    bench("4 muls (independent)", 100000, || { a = a.mul(&b); c = c.mul(&b); e = e.mul(&b); f = f.mul(&b); });
    black_box((a,c,e,f));
    bench("field inversion", 1000, || { a = a.invert(); a });
    let s = Scalar::reduced(&[0x57; 32]);
    bench("scalar inversion", 1000, || black_box(s).inverted());
    let mut p = Jacobian::INFINITY.add(&Affine::GENERATOR).double();
    bench("double", 10000, || { p = p.double(); p });
    bench("madd", 10000, || { p = p.add(&Affine::GENERATOR); p });
    bench("digits 6x2", 10000, || Comb::<6,2>::digits(black_box(&s)));
    bench("digits 11x2", 10000, || Comb::<11,2>::digits(black_box(&s)));

    let rng = SystemRandom::new();
    let doc = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, doc.as_ref()).unwrap();
    let m = [7u8; 700];
    let sig: [u8; 64] = key.sign(&rng, &m).unwrap().as_ref().try_into().unwrap();
    let point: [u8; 65] = key.public_key().as_ref().try_into().unwrap();
    let d: [u8; 32] = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &m).as_ref().try_into().unwrap();
    bench("sha256 700 aws", 1000, || aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, black_box(&m)));
    bench("sha256 700 sha2", 1000, || <sha2::Sha256 as sha2::Digest>::digest(black_box(&m)));
    let raw = bench("aws-lc verify", 300, || UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, black_box(&point)).verify(&m, &sig).unwrap());
    let _ = raw;
    bench("generator build", 3, || Comb::<11, 2>::new(&Affine::GENERATOR));
    run::<6, 2>(&point, &m, &d, &sig);
    run::<7, 2>(&point, &m, &d, &sig);
    run::<8, 2>(&point, &m, &d, &sig);
}
