//! The promise, checked on the real store against a server that does everything a server should not: it loses its data,
//! falls back to an old copy, goes away, and its clock and the gates' are wrong in turn.
//!
//! Small sequences are tried exhaustively, long ones at random. Two gates, one server, all in one thread, and time
//! stands still unless a step moves it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod cases;

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard};

use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::super::{MemoryOptions, ReplayStore};
use super::*;
use crate::jose::Thumbprint;
use crate::nonce::{Accepted, NonceOptions, Nonces, ProcessTag};
use crate::secret::Secret;
use tokio::time::sleep;

const START: u64 = 1_800_000_000;
const LIFETIME: u64 = 60;
const SKEW: u64 = 15;
/// While time passes gates look at the server more often than this, in seconds.
const LOOKED_AT: u64 = 10;

/// What a server knows, as far as the store asks.
#[derive(Debug, Clone)]
pub(super) struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<Data>,
    /// Its number changes when all connections are cut.
    cuts: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Data {
    keys: HashMap<String, (String, Option<u64>)>,
    /// What the replica has.
    copy: HashMap<String, (String, Option<u64>)>,
    history: u64,
    time: u64,
    is_down: bool,
    /// It takes nothing new.
    is_full: bool,
    /// Scripts are never answered.
    is_stuck: bool,
    /// How many lives have begun.
    lives: usize,
}

impl Server {
    fn new() -> Self {
        let state = Data { time: START, ..Data::default() };
        Self(Arc::new(Inner { state: Mutex::new(state), cuts: watch::Sender::new(0) }))
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.0.state.lock().unwrap()
    }

    fn cut(&self) {
        self.0.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(super) fn dial(&self) -> io::Result<DuplexStream> {
        if self.data().is_down {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, mut theirs) = duplex(1 << 16);
        let server = self.clone();
        let mut cuts = self.0.cuts.subscribe();
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            loop {
                while let Some((command, length)) = parse(&buffer) {
                    buffer.drain(..length);
                    let is_stuck = server.data().is_stuck && command[0] == "EVAL";
                    if is_stuck {
                        let _ = cuts.changed().await;
                        return Ok(());
                    }
                    let answer = server.data().answer(&command);
                    theirs.write_all(answer.as_bytes()).await?;
                }
                tokio::select! {
                    _ = cuts.changed() => return io::Result::Ok(()),
                    read = theirs.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
                }
            }
        });
        Ok(ours)
    }
}

impl Data {
    fn answer(&mut self, command: &[String]) -> String {
        self.expire();
        let time = self.time;
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words[..] {
            ["INFO", "replication"] => bulk(&format!("role:master\r\nmaster_replid:{}\r\n", self.history)),
            ["INFO", "memory"] => bulk("maxmemory:0\r\nmaxmemory_policy:noeviction\r\n"),
            ["TIME"] => format!("*2\r\n{}{}", bulk(&time.to_string()), bulk("0")),
            ["GET", key] => self.keys.get(key).map_or("$-1\r\n".to_owned(), |(value, _)| bulk(value)),
            ["EXISTS", key] => format!(":{}\r\n", u8::from(self.keys.contains_key(key))),
            ["SET", key, value, "NX", "EXAT", end] => {
                if self.is_full {
                    return OUT_OF_MEMORY.to_owned();
                }
                if self.keys.contains_key(key) {
                    return "$-1\r\n".to_owned();
                }
                self.keys.insert(key.to_owned(), (value.to_owned(), Some(end.parse().unwrap())));
                "+OK\r\n".to_owned()
            }
            // What the script says, in the model's words.
            ["EVAL", _, "1", key, life, keep, apart, lifetime, skew, ending] => {
                let [keep, apart, lifetime, skew] =
                    [keep, apart, lifetime, skew].map(|word| word.parse::<u64>().unwrap());
                let (keep, apart) = (keep / 1000, apart / 1000);
                let mut terms = (lifetime, skew);
                if let Some((epoch, end)) = self.keys.get_mut(key) {
                    let there = Epoch::parse(epoch).unwrap().terms;
                    let ends = end.unwrap();
                    terms = (lifetime.max(there.lifetime), skew.max(there.clock_skew));
                    let is_fit = terms == (there.lifetime, there.clock_skew) && ends <= time + keep + apart;
                    if ending != "any" && epoch.split(':').next() != Some(ending) && is_fit {
                        *end = Some(ends.max(time + keep));
                        return bulk(epoch);
                    }
                }
                if self.is_full {
                    return OUT_OF_MEMORY.to_owned();
                }
                self.lives += 1;
                let epoch = format!("{life}:{time}:{}:{}", terms.0, terms.1);
                self.keys.insert(key.to_owned(), (epoch.clone(), Some(time + keep)));
                bulk(&epoch)
            }
            ref other => panic!("a command that the model does not know: {other:?}"),
        }
    }

    fn expire(&mut self) {
        let time = self.time;
        self.keys.retain(|_, (_, end)| end.is_none_or(|end| end > time));
    }
}

const OUT_OF_MEMORY: &str = "-OOM command not allowed when used memory > 'maxmemory'\r\n";

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// One command at the start of the bytes, and its length, once it is whole.
fn parse(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let mut at = 0;
    let mut line = |bytes: &[u8]| {
        let end = at + bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let text = std::str::from_utf8(&bytes[at..end]).unwrap().to_owned();
        at = end + 2;
        Some((text, at))
    };
    let (count, _) = line(bytes)?;
    let mut words = Vec::new();
    let mut end = 0;
    for _ in 0..count[1..].parse::<usize>().unwrap() {
        line(bytes)?;
        // No word has a line's end in it but the script, which nobody reads.
        let (word, after) = line(bytes)?;
        words.push(word);
        end = after;
    }
    Some((words, end))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A client signs a proof for a gate, so many seconds ahead, and sends it.
    Sign(usize, u64),
    /// A proof that was sent before, the first or the last, is sent to a gate.
    Again(usize, bool),
    Flush,
    /// The replica gets everything.
    Copy,
    /// The replica takes over.
    FailOver,
    RestartEmpty,
    Leave,
    Return,
    RestartGate(usize),
    /// The same, with another lifetime of proofs.
    Lifetime(usize, u64),
    /// Whose clock is wrong, and by how much: one at a time.
    Clock(Option<usize>, i64),
    /// The server takes nothing new, or does again.
    Full(bool),
    /// The server answers no script, or does again on new connections.
    Stuck(bool),
    Wait(u64),
    /// The same at once: nobody looked meanwhile, as where all machines were suspended.
    Suspend(u64),
}

/// A clock of one gate, or (`None`) of the server.
const STEPS: [Step; 19] = [
    Step::Sign(0, 0),
    Step::Sign(1, SKEW),
    Step::Again(0, true),
    Step::Again(1, true),
    Step::Again(1, false),
    Step::Flush,
    Step::Copy,
    Step::FailOver,
    Step::RestartEmpty,
    Step::Leave,
    Step::Return,
    Step::RestartGate(0),
    Step::Lifetime(1, 300),
    Step::Clock(Some(0), 30),
    Step::Clock(Some(0), -30),
    Step::Clock(None, 30),
    Step::Clock(None, 0),
    Step::Wait(40),
    Step::Suspend(40),
];

/// A proof as its client made it.
#[derive(Debug, Clone)]
struct Proof {
    jti: u32,
    iat: u64,
    nonce: Option<String>,
    /// By which gates it was granted.
    granted: Vec<usize>,
}

struct World {
    server: Server,
    gates: Vec<Gate>,
    now: u64,
    wrong: (Option<usize>, i64),
    nonces: Option<Nonces>,
    on_unavailable: OnUnavailable,
    proofs: Vec<Proof>,
}

struct Gate {
    store: ReplayStore,
    clock: Arc<AtomicU64>,
    lifetime: u64,
}

impl World {
    fn new(with_nonces: bool, on_unavailable: OnUnavailable) -> Self {
        let options = NonceOptions {
            lifetime: Duration::from_secs(300),
            secret: Secret::new(vec![1; 32]),
            previous: None,
            process: ProcessTag([7; 8]),
            others_not_before: None,
        };
        let nonces = with_nonces.then(|| Nonces::new(options));
        let server = Server::new();
        let mut world = Self {
            server,
            gates: Vec::new(),
            now: START,
            wrong: (None, 0),
            nonces,
            on_unavailable,
            proofs: Vec::new(),
        };
        world.gates = (0..2).map(|_| world.gate(LIFETIME)).collect();
        world
    }

    fn gate(&self, lifetime: u64) -> Gate {
        let clock = Arc::new(AtomicU64::new(self.now * 1_000_000));
        let proof_lifetime = Duration::from_secs(lifetime);
        let memory = MemoryOptions { capacity: 8, proof_lifetime, floor: None };
        let front = Arc::new(MemoryStore::new(memory, IntGauge::new("entries", "entries").unwrap()));
        let place = Place::parse("redis://model").unwrap();
        let connector = Connector { place: place.clone(), tls: None, model: Some(self.server.clone()) };
        let options = RedisOptions {
            place,
            tls: None,
            key_prefix: "p:".to_owned(),
            timeout: Duration::from_millis(50),
            on_unavailable: self.on_unavailable,
            proof_lifetime,
            clock_skew: Duration::from_secs(SKEW),
        };
        let metrics = RedisMetrics {
            errors: IntCounter::new("errors", "errors").unwrap(),
            up: IntGauge::new("up", "up").unwrap(),
        };
        let store = RedisStore::over(connector, options, Clock::Manual(Arc::clone(&clock)), front, metrics);
        Gate { store: ReplayStore::Redis(store), clock, lifetime }
    }

    /// Sets every clock to what it shows now.
    fn set_clocks(&self) {
        let (whose, by) = self.wrong;
        let shown = |own: Option<usize>| if own == whose { self.now.saturating_add_signed(by) } else { self.now };
        {
            let mut data = self.server.data();
            data.time = shown(None);
            // A server does so unasked.
            data.expire();
        }
        for (index, gate) in self.gates.iter().enumerate() {
            gate.clock.store(shown(Some(index)) * 1_000_000, Ordering::SeqCst);
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Sign(gate, ahead) => self.sign(gate, ahead).await,
            Step::Again(gate, last) => {
                let index = if last { self.proofs.len().checked_sub(1) } else { Some(0) };
                if let Some(index) = index.filter(|index| *index < self.proofs.len()) {
                    self.send(gate, index).await;
                }
            }
            Step::Flush => self.server.data().keys.clear(),
            Step::Copy => {
                let mut data = self.server.data();
                data.copy = data.keys.clone();
            }
            Step::FailOver | Step::RestartEmpty => {
                let mut data = self.server.data();
                data.keys = if step == Step::FailOver { data.copy.clone() } else { HashMap::new() };
                data.history += 1;
                drop(data);
                self.server.cut();
            }
            Step::Leave => {
                self.server.data().is_down = true;
                self.server.cut();
            }
            Step::Return => self.server.data().is_down = false,
            Step::RestartGate(gate) => self.gates[gate] = self.gate(self.gates[gate].lifetime),
            Step::Lifetime(gate, lifetime) => self.gates[gate] = self.gate(lifetime),
            Step::Clock(whose, by) => self.wrong = (whose, by),
            Step::Full(is_full) => self.server.data().is_full = is_full,
            Step::Stuck(is_stuck) => {
                self.server.data().is_stuck = is_stuck;
                self.server.cut();
            }
            Step::Wait(mut seconds) => {
                while seconds > LOOKED_AT {
                    seconds -= LOOKED_AT;
                    self.now += LOOKED_AT;
                    self.settle().await;
                }
                self.now += seconds;
            }
            Step::Suspend(seconds) => self.now += seconds,
        }
        self.settle().await;
    }

    /// Connections are found broken, and made again: the keepers' pauses are the only thing that waits.
    async fn settle(&self) {
        self.set_clocks();
        sleep(Duration::from_secs(3)).await;
    }

    /// Signs with the nonce of that gate's last answer, and sends.
    async fn sign(&mut self, gate: usize, ahead: u64) {
        let at = &self.gates[gate];
        let now = Timestamp::from_micros(at.clock.load(Ordering::SeqCst));
        let nonce = self.nonces.as_ref().map(|nonces| nonces.issue(now, at.store.life()));
        let jti = u32::try_from(self.proofs.len()).unwrap();
        self.proofs.push(Proof { jti, iat: self.now + ahead, nonce, granted: Vec::new() });
        self.send(gate, self.proofs.len() - 1).await;
    }

    /// What a gate does with a proof: its clock, its nonce, and the store.
    async fn send(&mut self, gate: usize, index: usize) {
        let at = &self.gates[gate];
        let now = Timestamp::from_micros(at.clock.load(Ordering::SeqCst));
        let proof = &self.proofs[index];
        if proof.iat > now.as_secs() + SKEW || proof.iat + at.lifetime < now.as_secs() {
            return;
        }
        let nonce: Option<Accepted> = match (&self.nonces, &proof.nonce) {
            (Some(nonces), Some(nonce)) => match nonces.check(nonce, now) {
                Ok(accepted) => Some(accepted),
                Err(_) => return,
            },
            _ => None,
        };
        let id = ProofId::new(&Thumbprint::from_bytes([1; 32]), &proof.jti.to_string(), proof.iat, nonce);
        if at.store.claim(&id, now).await.is_ok() {
            self.proofs[index].granted.push(gate);
        }
    }

    /// How often a proof was granted more than once: by all gates together, and by one of them.
    fn twice(&self) -> (usize, usize) {
        let together = self.proofs.iter().filter(|proof| proof.granted.len() > 1).count();
        let by_one = |proof: &&Proof| (0..2).any(|gate| proof.granted.iter().filter(|by| **by == gate).count() > 1);
        (together, self.proofs.iter().filter(by_one).count())
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn run(with_nonces: bool, on_unavailable: OnUnavailable, steps: &[Step]) -> World {
    runtime().block_on(async {
        let mut world = World::new(with_nonces, on_unavailable);
        sleep(Duration::from_secs(1)).await;
        for step in steps {
            world.step(*step).await;
        }
        world
    })
}
