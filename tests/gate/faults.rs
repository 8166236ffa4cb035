//! Three gates, a Redis with a replica and a sentinel, honest clients, and an attacker who sends every proof that he
//! sees to every gate, at once and again later, while something breaks.
//!
//! A short form runs with the other tests. `tests/faults` runs every scenario and prints the README's table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::harness::{Client, Gate, Gates, Issuer, Prepared, Redis, Upstream, settings, try_exchange, until};

const GATES: usize = 3;
const CLIENTS: usize = 6;
/// Tries of an honest client for one request: one more where a new nonce is asked for, and after a 503 or a lost
/// connection another, a second later as `Retry-After` says.
const TRIES: usize = 5;

/// What breaks, once, while the traffic goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    RedisKilledForThreeSeconds,
    RedisRestartedEmpty,
    RedisFlushed,
    RedisStoppedForThreeSeconds,
    FailedOver,
    FailedOverToALateReplica,
    GateKilled,
    AllGatesKilled,
    GateClockAhead,
    GateClockBehind,
    RedisClockAhead,
    RedisClockBehind,
    RedisKilledMemoryStandsIn,
}

impl Fault {
    const ALL: [(Self, &str); 14] = [
        (Self::Nothing, "nothing breaks"),
        (Self::RedisKilledForThreeSeconds, "Redis is killed, and comes back empty 3 s later"),
        (Self::RedisRestartedEmpty, "Redis is restarted, empty"),
        (Self::RedisFlushed, "Redis is flushed"),
        (Self::RedisStoppedForThreeSeconds, "Redis stands still for 3 s (SIGSTOP)"),
        (Self::FailedOver, "Redis fails over to its replica"),
        (Self::FailedOverToALateReplica, "the same, to a replica that misses the last second"),
        (Self::GateKilled, "a gate is killed and restarted"),
        (Self::AllGatesKilled, "all gates are killed and restarted"),
        (Self::GateClockAhead, "a gate's clock steps 30 s ahead, and back"),
        (Self::GateClockBehind, "a gate's clock steps 30 s back, and ahead"),
        (Self::RedisClockAhead, "Redis' clock steps 30 s ahead, and back"),
        (Self::RedisClockBehind, "Redis' clock steps 30 s back, and ahead"),
        (Self::RedisKilledMemoryStandsIn, "Redis is killed for 3 s, `on_unavailable: memory`"),
    ];

    /// Clocks can only be stepped where processes are started with another one.
    fn steps_clocks(self) -> bool {
        matches!(self, Self::GateClockAhead | Self::GateClockBehind | Self::RedisClockAhead | Self::RedisClockBehind)
    }

    fn fails_over(self) -> bool {
        matches!(self, Self::FailedOver | Self::FailedOverToALateReplica)
    }
}

/// How long, how much.
#[derive(Clone, Copy)]
struct Measure {
    before: Duration,
    after: Duration,
    between: Duration,
    /// When the attacker tries again: so long after he first saw a proof.
    replays: &'static [u64],
}

const SHORT: Measure = Measure {
    before: Duration::from_secs(1),
    after: Duration::from_secs(2),
    between: Duration::from_millis(100),
    replays: &[0, 2],
};
/// The last tries come just before the end of a proof's life and after it.
const FULL: Measure = Measure {
    before: Duration::from_secs(5),
    after: Duration::from_secs(15),
    between: Duration::from_millis(50),
    replays: &[0, 1, 3, 10, 29, 44, 58, 62],
};

/// What was counted.
#[derive(Debug, Default)]
struct Tally {
    honest: AtomicUsize,
    retried: AtomicUsize,
    failed: AtomicUsize,
    replays: AtomicUsize,
    /// Proofs that went upstream, with the number of times.
    passed: Mutex<HashMap<String, usize>>,
    /// The same at a gate that had taken it before.
    again_at_one: AtomicUsize,
}

/// Everything that can break.
struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    folder: Gates,
    gates: Mutex<Vec<Option<Gate>>>,
    addresses: Mutex<Vec<SocketAddr>>,
    redis: tokio::sync::Mutex<Redis>,
    replica: Option<Redis>,
    _sentinel: Option<Redis>,
    /// Where clocks are stepped: what is preloaded.
    clock: Option<PathBuf>,
    tally: Tally,
}

impl Scene {
    async fn new(fault: Fault) -> Self {
        let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
        let folder = Gates::new(&json!({}));
        let clock = fault.steps_clocks().then(|| clock(&folder));
        let mut redis = Redis::prepared(&[], &[]);
        if let Some(library) = &clock {
            redis.write("clock", "+0");
            redis.environment = clock_of(library, &redis.path("clock"));
        }
        redis.run().await;
        let (replica, sentinel) = if fault.fails_over() {
            (Some(Redis::replica_of(&redis).await), Some(Redis::sentinel_of(&redis).await))
        } else {
            (None, None)
        };
        let url = match &sentinel {
            Some(sentinel) => format!("redis+sentinel://127.0.0.1:{}/mymaster", sentinel.port()),
            None => redis.url(),
        };
        let mut settings = settings(&issuer, &upstream);
        settings["public_url"] = json!("http://api.test");
        settings["dpop"]["nonce"]["secret_file"] = json!("nonce.key");
        settings["dpop"]["replay"] = json!({"store": "redis", "redis": {"url": url, "timeout": "500ms"}});
        if fault == Fault::RedisKilledMemoryStandsIn {
            settings["dpop"]["replay"]["on_unavailable"] = json!("memory");
        }
        folder.configure(&settings);
        let scene = Self {
            folder,
            gates: Mutex::new((0..GATES).map(|_| None).collect()),
            addresses: Mutex::new(vec![SocketAddr::from(([127, 0, 0, 1], 1)); GATES]),
            redis: tokio::sync::Mutex::new(redis),
            replica,
            _sentinel: sentinel,
            clock,
            tally: Tally::default(),
            issuer,
            upstream,
        };
        for number in 0..GATES {
            scene.step_clock_of_gate(number, 0);
            scene.start_gate(number).await;
        }
        scene
    }

    async fn start_gate(&self, number: usize) {
        let offset = self.folder.path(&format!("clock{number}"));
        let environment = self.clock.as_ref().map(|library| clock_of(library, &offset)).unwrap_or_default();
        let gate = self.folder.start_under(&environment).await;
        self.addresses.lock().unwrap()[number] = gate.address();
        self.gates.lock().unwrap()[number] = Some(gate);
    }

    async fn kill_gate(&self, number: usize) {
        let gate = self.gates.lock().unwrap()[number].take();
        gate.unwrap().killed().await;
    }

    fn step_clock_of_gate(&self, number: usize, seconds: i64) {
        self.folder.write(&format!("clock{number}"), &format!("{seconds:+}"));
    }

    async fn strike(&self, fault: Fault) {
        let pause = Duration::from_secs(3);
        match fault {
            Fault::Nothing => {}
            Fault::RedisKilledForThreeSeconds | Fault::RedisKilledMemoryStandsIn => {
                let mut redis = self.redis.lock().await;
                redis.kill();
                sleep(pause).await;
                redis.run().await;
            }
            Fault::RedisRestartedEmpty => {
                let mut redis = self.redis.lock().await;
                redis.kill();
                redis.run().await;
            }
            Fault::RedisFlushed => assert_eq!(self.redis.lock().await.cli(&["FLUSHALL"]), "OK"),
            Fault::RedisStoppedForThreeSeconds => {
                let redis = self.redis.lock().await;
                redis.signal("STOP");
                sleep(pause).await;
                redis.signal("CONT");
            }
            Fault::FailedOver => self.fail_over().await,
            Fault::FailedOverToALateReplica => {
                self.replica.as_ref().unwrap().signal("STOP");
                sleep(Duration::from_secs(1)).await;
                self.fail_over().await;
            }
            Fault::GateKilled => {
                self.kill_gate(0).await;
                sleep(Duration::from_secs(1)).await;
                self.start_gate(0).await;
            }
            Fault::AllGatesKilled => {
                for number in 0..GATES {
                    self.kill_gate(number).await;
                }
                for number in 0..GATES {
                    self.start_gate(number).await;
                }
            }
            Fault::GateClockAhead => self.step(|seconds| self.step_clock_of_gate(0, seconds), 30).await,
            Fault::GateClockBehind => self.step(|seconds| self.step_clock_of_gate(0, seconds), -30).await,
            Fault::RedisClockAhead | Fault::RedisClockBehind => {
                // Some proofs are old enough then to be forgotten too early.
                sleep(Duration::from_secs(32)).await;
                let redis = self.redis.lock().await;
                let to = |seconds: i64| redis.write("clock", &format!("{seconds:+}"));
                self.step(to, if fault == Fault::RedisClockAhead { 30 } else { -30 }).await;
            }
        }
    }

    /// Steps a clock, and back while there is still traffic.
    async fn step(&self, to: impl Fn(i64), seconds: i64) {
        to(seconds);
        sleep(Duration::from_secs(8)).await;
        to(0);
    }

    async fn fail_over(&self) {
        let replica = self.replica.as_ref().unwrap();
        self.redis.lock().await.kill();
        replica.signal("CONT");
        let promoted = || async { replica.cli(&["INFO", "replication"]).contains("role:master").then_some(()) };
        until("the sentinel to make the replica master", promoted).await;
    }

    /// One request of an honest client, with every try that it may need.
    async fn honest(self: Arc<Self>, client: Client, number: usize, measure: Measure) {
        let tally = &self.tally;
        tally.honest.fetch_add(1, Ordering::Relaxed);
        let gate = number % GATES;
        for attempt in 0..TRIES {
            if attempt == 1 {
                tally.retried.fetch_add(1, Ordering::Relaxed);
            }
            let request = client.get(&format!("/orders/{number}-{attempt}")).prepare();
            let address = self.addresses.lock().unwrap()[gate];
            let answer = try_exchange(address, request.request()).await;
            let status = answer.as_ref().map_or(0, |answer| answer.status);
            tokio::spawn(Arc::clone(&self).attack(
                request,
                (status == 200).then_some(gate).into_iter().collect(),
                measure,
            ));
            if let Some(nonce) = answer.as_ref().and_then(|answer| answer.header("dpop-nonce")) {
                client.remember(nonce);
            }
            match status {
                200 => return,
                401 if answer.unwrap().error() == "use_dpop_nonce" => {}
                0 | 503 => sleep(Duration::from_secs(1)).await,
                _ => break,
            }
        }
        tally.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// What the attacker does with a proof that he saw; `taken` says by which gates it was accepted.
    async fn attack(self: Arc<Self>, request: Prepared, mut taken: Vec<usize>, measure: Measure) {
        let mut waited = 0;
        for after in measure.replays {
            sleep(Duration::from_secs(after - waited)).await;
            waited = *after;
            for gate in 0..GATES {
                let address = self.addresses.lock().unwrap()[gate];
                let answer = try_exchange(address, request.request()).await;
                self.tally.replays.fetch_add(1, Ordering::Relaxed);
                if answer.is_some_and(|answer| answer.status == 200) {
                    if taken.contains(&gate) {
                        self.tally.again_at_one.fetch_add(1, Ordering::Relaxed);
                    }
                    taken.push(gate);
                }
            }
        }
    }

    /// How often a proof went upstream again. One that no gate took before is not spent: its first copy passes.
    fn accepted_again(&self) -> usize {
        let mut passed = self.tally.passed.lock().unwrap();
        passed.clear();
        for seen in self.upstream.seen() {
            *passed.entry(seen.uri).or_default() += 1;
        }
        passed.values().map(|times| times - 1).sum()
    }
}

/// Runs one scenario to the end of the last replay.
async fn run(fault: Fault, measure: Measure) -> Arc<Scene> {
    let scene = Arc::new(Scene::new(fault).await);
    let gate = scene.gates.lock().unwrap()[0].take().unwrap();
    let clients: Vec<Client> =
        (0..CLIENTS).map(|_| Client::of(&gate, &scene.issuer).naming("http://api.test")).collect();
    scene.gates.lock().unwrap()[0] = Some(gate);

    let mut tasks = JoinSet::new();
    let mut ticks = interval(measure.between);
    let striking = Arc::clone(&scene);
    let mut strike = tokio::spawn(async move {
        sleep(measure.before).await;
        striking.strike(fault).await;
        sleep(measure.after).await;
    });
    let mut number = 0;
    loop {
        tokio::select! {
            done = &mut strike => break done.unwrap(),
            _ = ticks.tick() => {
                // Each client meets each gate in turn.
                let client = clients[number / GATES % CLIENTS].clone();
                tasks.spawn(Arc::clone(&scene).honest(client, number, measure));
                number += 1;
            }
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    // The attacker's tasks hold the scene until the last of them has ended.
    until_alone(&scene).await;
    scene
}

async fn until_alone(scene: &Arc<Scene>) {
    while Arc::strong_count(scene) > 1 {
        sleep(Duration::from_millis(100)).await;
    }
}

/// For a process whose clock is that of the machine and what stands in the file.
fn clock_of(library: &Path, file: &Path) -> Vec<(&'static str, String)> {
    vec![("LD_PRELOAD", library.display().to_string()), ("CLOCK_OFFSET_FILE", file.display().to_string())]
}

/// Builds the clock that a file sets, with the C compiler that the gate's cryptography needs too.
fn clock(folder: &Gates) -> PathBuf {
    let library = folder.path("clock.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gate/harness/clock.c"))
        .status()
        .unwrap();
    assert!(built.success(), "no clock");
    library
}

/// The first number in the issue is 0 where no component was down, the second everywhere.
fn check(fault: Fault, scene: &Scene) -> usize {
    let again = scene.accepted_again();
    let tally = &scene.tally;
    assert_eq!(tally.again_at_one.load(Ordering::Relaxed), 0, "a gate took a proof twice");
    if fault != Fault::RedisKilledMemoryStandsIn {
        assert_eq!(again, 0, "a proof was taken twice: {:?}", tally.passed.lock().unwrap());
    }
    if matches!(fault, Fault::Nothing | Fault::RedisFlushed) {
        assert_eq!(tally.failed.load(Ordering::Relaxed), 0, "an honest request failed though everything was up");
    }
    again
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replay_passes_while_redis_is_flushed_stopped_or_restarted() {
    for fault in [Fault::RedisFlushed, Fault::RedisRestartedEmpty] {
        check(fault, &*run(fault, SHORT).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replay_passes_while_redis_fails_over_to_a_late_replica() {
    check(Fault::FailedOverToALateReplica, &*run(Fault::FailedOverToALateReplica, SHORT).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replay_passes_while_gates_are_killed() {
    check(Fault::AllGatesKilled, &*run(Fault::AllGatesKilled, SHORT).await);
}

/// `tests/faults` asks for this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn every_fault() {
    eprintln!("| scenario | honest requests | tried more than once | failed | replays tried | accepted |");
    eprintln!("| --- | --- | --- | --- | --- | --- |");
    // Some at a time: most of each is waiting for proofs to grow old.
    for scenarios in Fault::ALL.chunks(5) {
        let runs: Vec<_> = scenarios.iter().map(|(fault, _)| tokio::spawn(run(*fault, FULL))).collect();
        for ((fault, name), run) in scenarios.iter().zip(runs) {
            let scene = run.await.unwrap();
            let again = check(*fault, &scene);
            let Tally { honest, retried, failed, replays, .. } = &scene.tally;
            let [honest, retried, failed, replays] =
                [honest, retried, failed, replays].map(|count| count.load(Ordering::Relaxed));
            eprintln!("| {name} | {honest} | {retried} | {failed} | {replays} | {again} |");
        }
    }
}
