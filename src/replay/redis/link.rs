//! One connection to one master, and every command that it is sent.

use redis::{Cmd, Pipeline, Value, from_redis_value};
use tokio::time::timeout;

use crate::nonce::Life;

use super::connect::{ASK, Connection, Connector};
use super::error::LinkError;
use super::place::Address;
use super::verdict::{Answer, Epoch};

/// An epoch that nobody asked for in this long is gone, and a new one begins: refusing a little, accepting nothing.
const EPOCH_SECS: u64 = 86_400;

/// Reads the epoch or begins one, with the store's own time, at once.
const EPOCH_SCRIPT: &str = "local epoch = redis.call('GET', KEYS[1]) \
    if not epoch or ARGV[3] == 'anew' then \
    epoch = ARGV[1] .. ':' .. redis.call('TIME')[1] redis.call('SET', KEYS[1], epoch) end \
    redis.call('EXPIRE', KEYS[1], ARGV[2]) return epoch";

/// A connection to a master that was found fit.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    pub(super) address: Address,
    epoch_key: String,
    /// The master's replication ID: it changes with every restart and every failover.
    history: String,
}

/// Whether the epoch that is there will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    IfMissing,
    Anew,
}

impl Link {
    /// Finds the master, connects, and looks whether it can keep the promise. `epochs` is in front of the epoch's key,
    /// `trial` a key to try a claim with.
    pub(super) async fn open(connector: &Connector, epochs: &str, trial: &str, now: u64) -> Result<Self, LinkError> {
        let address = connector.master(trial).await?;
        let connection = connector.to_store(&address).await?;
        let history = identify(&connection).await?;
        let epoch_key = format!("{epochs}{history}");
        let link = Self { connection, address, epoch_key, history };
        // Whatever a claim may be refused for (permissions, memory, an old server) shows here, not with a client's.
        link.claim(trial, now + 1).await?;
        Ok(link)
    }

    /// Waits until the connection has ended.
    pub(super) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Claims a key that expires at that second: one round trip.
    pub(super) async fn claim(&self, key: &str, expires: u64) -> Result<Answer, LinkError> {
        let mut set = command("SET", 5);
        set.arg(key).arg(1).arg("NX").arg("EXAT").arg(expires);
        let (set, epoch, time) = self.ask(set).await?;
        Ok(Answer { is_new: set != Value::Nil, epoch, time })
    }

    /// Looks for a key without claiming it.
    pub(super) async fn look(&self, key: &str) -> Result<Answer, LinkError> {
        let mut get = command("EXISTS", 1);
        get.arg(key);
        let (found, epoch, time) = self.ask(get).await?;
        Ok(Answer { is_new: found == Value::Int(0), epoch, time })
    }

    /// One question, with the epoch and the store's clock read right after it.
    async fn ask(&self, question: Cmd) -> Result<(Value, Option<Epoch>, u64), LinkError> {
        let mut epoch = command("GET", 1);
        epoch.arg(&self.epoch_key);
        let mut commands = Pipeline::with_capacity(3);
        commands.add_command(question).add_command(epoch).add_command(command("TIME", 0));
        let answers = commands.query_async(&mut self.connection.commands.clone()).await?;
        let (answer, epoch, time): (Value, Value, Value) = answers;
        let epoch = match &epoch {
            Value::Nil => None,
            written => Some(text(written).and_then(Epoch::parse).ok_or(LinkError::Unreadable("epoch"))?),
        };
        let time = match &time {
            Value::Array(parts) => parts.first().and_then(text).and_then(|seconds| seconds.parse().ok()),
            _ => None,
        };
        Ok((answer, epoch, time.ok_or(LinkError::Unreadable("TIME"))?))
    }

    /// The epoch; begun now, with the number offered, where it is missing.
    pub(super) async fn epoch(&self, offered: Life, begin: Begin) -> Result<Epoch, LinkError> {
        let anew = match begin {
            Begin::IfMissing => "",
            Begin::Anew => "anew",
        };
        let mut call = redis::cmd("EVAL");
        call.arg(EPOCH_SCRIPT).arg(1).arg(&self.epoch_key).arg(Epoch::offer(offered)).arg(EPOCH_SECS).arg(anew);
        let epoch: String = call.query_async(&mut self.connection.commands.clone()).await?;
        Epoch::parse(&epoch).ok_or(LinkError::Unreadable("epoch"))
    }

    /// Whether it is still the master that it was.
    pub(super) async fn verify(&self, connector: &Connector, trial: &str) -> Result<(), LinkError> {
        if identify(&self.connection).await? != self.history {
            return Err(LinkError::Moved);
        }
        // Sentinels that cannot be asked are no reason to leave a master that answers.
        match timeout(ASK, connector.master(trial)).await {
            Ok(Ok(address)) if address != self.address => Err(LinkError::Moved),
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
        }
    }
}

/// A command that is of its size at once: one goes with every claim.
fn command(name: &str, arguments: usize) -> Cmd {
    /// Of a key, and what stands beside it.
    const BYTES: usize = 112;
    let mut command = Cmd::with_capacity(arguments + 1, BYTES);
    command.arg(name);
    command
}

/// A text as servers send it.
fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// The replication ID of a master that can keep the promise.
async fn identify(connection: &Connection) -> Result<String, LinkError> {
    let mut ask = Pipeline::with_capacity(2);
    ask.cmd("INFO").arg("replication").cmd("INFO").arg("memory");
    let (replication, memory): (Value, Value) = ask.query_async(&mut connection.commands.clone()).await?;
    let text = |value: Value| from_redis_value::<String>(value).map_err(|_| LinkError::Unreadable("INFO"));
    let (replication, memory) = (text(replication)?, text(memory)?);
    if field(&replication, "role") != Some("master") {
        return Err(LinkError::Replica);
    }
    let history = field(&replication, "master_replid").ok_or(LinkError::Unreadable("INFO replication"))?;
    // A server that does not say how much memory it has is taken at its word: some services hide it.
    let bounded = field(&memory, "maxmemory").is_some_and(|bytes| bytes != "0");
    match field(&memory, "maxmemory_policy") {
        Some(policy) if bounded && policy != "noeviction" => Err(LinkError::Evicts(policy.to_owned())),
        Some(_) | None => Ok(history.to_owned()),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
