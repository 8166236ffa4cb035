//! Files of requests, each ready to be written to a socket and as long as the others, so that wrk has nothing to do but
//! to copy: their length in eight digits, then one after the other.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::thread;

use clap::ValueEnum;
use dpop_gate::client::Url;
use dpop_gate::jose::PrivateKey;

use super::client::{Client, World};

/// What is to be written.
#[derive(clap::Args)]
pub(crate) struct Order {
    /// What `traffic issuer` made
    #[arg(long)]
    issuer_key: PathBuf,
    /// What is called with GET
    #[arg(long)]
    url: String,
    /// What the proofs name instead
    #[arg(long)]
    htu: Option<String>,
    #[arg(long)]
    nonce: Option<String>,
    /// How many; 0: every request is a new one's
    #[arg(long)]
    clients: u64,
    /// What is wrong with each request of the last file
    #[arg(long)]
    fault: Option<Fault>,
    /// FILE=REQUESTS: the first file serves all clients in turn, the others in any order
    #[arg(required = true, value_parser = target)]
    files: Vec<(PathBuf, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// The proof's header is no JSON
    Malformed,
    /// The signature is another's
    Signature,
}

fn target(text: &str) -> Result<(PathBuf, u64), String> {
    let (file, requests) = text.rsplit_once('=').ok_or("expected FILE=REQUESTS")?;
    Ok((file.into(), requests.parse().map_err(|_| "expected a number of requests")?))
}

pub(crate) fn write(order: &Order) {
    let issuer = PrivateKey::from_jwk_json(&fs::read(&order.issuer_key).unwrap()).unwrap();
    let parse = |url: &str| Url::parse(url).unwrap_or_else(|| panic!("{url} is no URL"));
    let url = parse(&order.url);
    let named = order.htu.as_deref().map_or_else(|| url.clone(), parse);
    let head = head(&order.url, &url);
    let world = World::new(issuer, named, order.nonce.clone());
    let known: Vec<Client> = in_parallel(order.clients, |number, made| made.push(world.client(number)));
    let mut in_turn = true;
    let mut strangers = 0;
    for (number, (file, requests)) in order.files.iter().enumerate() {
        let fault = order.fault.filter(|_| number + 1 == order.files.len());
        let request = |number: u64, made: &mut Vec<u8>| {
            let stranger;
            let client = if known.is_empty() {
                stranger = world.client(strangers + number);
                &stranger
            } else {
                let chosen = if in_turn { number } else { scattered(number) };
                known.get(usize::try_from(chosen % order.clients).unwrap()).unwrap()
            };
            made.extend(record(&head, client, fault));
        };
        let records = in_parallel(*requests, request);
        let length = u64::try_from(records.len()).unwrap() / requests.max(&1);
        let mut out = File::create(file).unwrap();
        write!(out, "{length:08}").unwrap();
        out.write_all(&records).unwrap();
        in_turn = false;
        strangers += requests;
    }
}

fn head(text: &str, url: &Url) -> String {
    let authority = text.split('/').nth(2).unwrap_or_default();
    format!("GET {} HTTP/1.1\r\nHost: {authority}\r\n", url.path())
}

fn record(head: &str, client: &Client, fault: Option<Fault>) -> Vec<u8> {
    let mut proof = client.proof();
    match fault {
        // `{"` becomes another byte and a quote.
        Some(Fault::Malformed) => proof.replace_range(..1, "f"),
        Some(Fault::Signature) => {
            let r = proof.rfind('.').unwrap() + 20;
            let other = if proof[r..].starts_with('A') { "B" } else { "A" };
            proof.replace_range(r..=r, other);
        }
        None => {}
    }
    format!("{head}Authorization: DPoP {}\r\nDPoP: {proof}\r\n\r\n", client.token).into_bytes()
}

/// Another order in each round would be another bench: SplitMix64.
fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What `make` adds for every number below `count`, in order, made on all cores.
fn in_parallel<T: Send>(count: u64, make: impl Fn(u64, &mut Vec<T>) + Sync) -> Vec<T> {
    let cores = u64::try_from(thread::available_parallelism().unwrap().get()).unwrap();
    let share = count.div_ceil(cores).max(1);
    thread::scope(|scope| {
        let make = &make;
        let parts = (0..cores).map(|core| {
            let numbers = (core * share).min(count)..((core + 1) * share).min(count);
            scope.spawn(move || {
                let mut made = Vec::new();
                numbers.for_each(|number| make(number, &mut made));
                made
            })
        });
        let parts: Vec<_> = parts.collect();
        let mut made = Vec::new();
        parts.into_iter().for_each(|part| made.append(&mut part.join().unwrap()));
        made
    })
}
