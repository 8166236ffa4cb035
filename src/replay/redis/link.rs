//! One connection to one master, and every command that it is sent.

use tokio::time::timeout;

use crate::nonce::Life;

use super::CLOCKS_APART_SECS;
use super::connect::{ASK, Connector};
use super::error::LinkError;
use super::pipe::Pipe;
use super::place::Address;
use super::resp::{Commands, Replies, Reply};
use super::verdict::{Answer, Epoch, Terms};

/// An epoch that nobody asked for in this long is gone, and a new one begins: refusing a little, accepting nothing.
const EPOCH_SECS: u64 = 15;
/// Proofs are kept for so long beyond their end: longer than an epoch, by the steps of a clock that pass for none and
/// the parts of seconds. A clock that goes ahead and has proofs forgotten too early has the epoch forgotten first.
pub(super) const KEPT_BEYOND_SECS: u64 = EPOCH_SECS + CLOCKS_APART_SECS + 1;

/// Reads the epoch, or begins one with the store's own time, at once. It begins anew where the one that is there is to
/// end, or ends too late, for that was written by a clock which has been set back since, or was begun for gates with
/// shorter terms, which did not keep proofs for long enough.
const EPOCH_SCRIPT: &str = "local key, life, ending = KEYS[1], ARGV[1], ARGV[6] \
    local keep, apart = tonumber(ARGV[2]), tonumber(ARGV[3]) \
    local lifetime, skew = tonumber(ARGV[4]), tonumber(ARGV[5]) \
    local epoch, left = redis.call('GET', key), redis.call('PTTL', key) \
    local anew = ending == 'any' or epoch and string.sub(epoch, 1, 16) == ending \
    local kept, skewed = string.match(epoch or '', '^%x+:%d+:(%d+):(%d+)$') \
    kept, skewed = tonumber(kept or -1), tonumber(skewed or -1) \
    if anew or kept < lifetime or skewed < skew or left < 0 or left > keep + apart then \
    kept, skewed = math.max(kept, lifetime), math.max(skewed, skew) \
    epoch = string.format('%s:%s:%d:%d', life, redis.call('TIME')[1], kept, skewed) \
    redis.call('SET', key, epoch, 'PX', keep) \
    elseif left < keep then redis.call('PEXPIRE', key, keep) end \
    return epoch";

/// A connection to a master that was found fit.
#[derive(Debug)]
pub(super) struct Link {
    pipe: Pipe,
    pub(super) address: Address,
    epoch_key: String,
    /// The master's replication ID: it changes with every restart and every failover.
    history: String,
    /// The store's clock when it was found fit, in seconds.
    pub(super) opened: u64,
}

/// Whether the epoch that is there will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// If nothing is wrong with it.
    IfUnfit,
    /// If it is not this one: what ends it is told to the store once, however many notice.
    Ending(Life),
    /// It will not.
    Anew,
}

impl Link {
    /// Finds the master, connects, and looks whether it can keep the promise. `epochs` is in front of the epoch's key,
    /// `trial` a key to try a claim with.
    pub(super) async fn open(connector: &Connector, epochs: &str, trial: &str, now: u64) -> Result<Self, LinkError> {
        let address = connector.master(trial).await?;
        let pipe = connector.to_store(&address).await?;
        let history = identify(&pipe).await?;
        let epoch_key = format!("{epochs}{history}");
        let mut link = Self { pipe, address, epoch_key, history, opened: 0 };
        // Whatever a claim may be refused for (permissions, memory, an old server) shows here, not with a client's.
        link.opened = link.claim(trial, now + 1).await?.time;
        Ok(link)
    }

    /// Waits until the connection has ended.
    pub(super) async fn closed(&self) {
        self.pipe.closed().await;
    }

    /// Claims a key that expires at that second: one round trip.
    pub(super) async fn claim(&self, key: &str, expires: u64) -> Result<Answer, LinkError> {
        let mut ask = Commands::with_capacity(QUESTION_BYTES);
        let mut digits = itoa::Buffer::new();
        ask.add([b"SET", key.as_bytes(), b"1", b"NX", b"EXAT", digits.format(expires).as_bytes()]);
        let replies = self.ask(ask).await?;
        let (set, epoch, time) = answers(&replies)?;
        Ok(Answer { is_new: was_set(&set)?, epoch, time })
    }

    /// Looks for a key without claiming it.
    pub(super) async fn look(&self, key: &str) -> Result<Answer, LinkError> {
        let mut ask = Commands::with_capacity(QUESTION_BYTES);
        ask.add([b"EXISTS", key.as_bytes()]);
        let replies = self.ask(ask).await?;
        let (found, epoch, time) = answers(&replies)?;
        Ok(Answer { is_new: is_absent(&found)?, epoch, time })
    }

    /// One question, with the store's clock and the epoch read right after it: the epoch last, so that none begins
    /// after it that an `iat` judged by this clock could belong to.
    async fn ask(&self, mut question: Commands) -> Result<Replies, LinkError> {
        question.add([b"TIME"]).add([b"GET", self.epoch_key.as_bytes()]);
        self.pipe.ask(&question).await
    }

    /// The epoch; begun now, with the number offered, where the one that is there will not do.
    pub(super) async fn epoch(&self, offered: Life, terms: Terms, begin: Begin) -> Result<Epoch, LinkError> {
        let ending = match begin {
            Begin::IfUnfit => String::new(),
            Begin::Ending(life) => Epoch::offer(life),
            Begin::Anew => "any".to_owned(),
        };
        let numbers = [EPOCH_SECS * 1000, CLOCKS_APART_SECS * 1000, terms.lifetime, terms.clock_skew];
        let (offered, numbers) = (Epoch::offer(offered), numbers.map(|number| number.to_string()));
        let [keep, apart, lifetime, skew] = numbers.each_ref().map(|number| number.as_bytes());
        let (script, key, life) = (EPOCH_SCRIPT.as_bytes(), self.epoch_key.as_bytes(), offered.as_bytes());
        let mut call = Commands::default();
        call.add([b"EVAL", script, b"1", key, life, keep, apart, lifetime, skew, ending.as_bytes()]);
        let replies = self.pipe.ask(&call).await?;
        let [epoch] = replies.read()?;
        epoch.text().and_then(Epoch::parse).ok_or(LinkError::Unreadable("epoch"))
    }

    /// Whether it is still the master that it was.
    pub(super) async fn verify(&self, connector: &Connector, trial: &str) -> Result<(), LinkError> {
        if identify(&self.pipe).await? != self.history {
            return Err(LinkError::Moved);
        }
        // Sentinels that cannot be asked are no reason to leave a master that answers.
        match timeout(ASK, connector.master(trial)).await {
            Ok(Ok(address)) if address != self.address => Err(LinkError::Moved),
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
        }
    }
}

/// Of a claim with all that goes with it, where the prefix is not too long.
const QUESTION_BYTES: usize = 320;

/// What `SET ... NX` says. Nothing but the one word grants: an answer to something else must not.
fn was_set(reply: &Reply<'_>) -> Result<bool, LinkError> {
    match reply {
        Reply::Text(b"OK") => Ok(true),
        Reply::Nil => Ok(false),
        Reply::Text(_) | Reply::Integer(_) | Reply::Array(_) | Reply::Error(_) => Err(LinkError::Unreadable("SET")),
    }
}

/// What `EXISTS` says of one key, as strictly.
fn is_absent(reply: &Reply<'_>) -> Result<bool, LinkError> {
    match reply.integer() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        Some(_) | None => Err(LinkError::Unreadable("EXISTS")),
    }
}

/// What was asked, the epoch and the time.
fn answers(replies: &Replies) -> Result<(Reply<'_>, Option<Epoch>, u64), LinkError> {
    let [answer, time, epoch] = replies.read()?;
    let epoch = match epoch {
        Reply::Nil => None,
        written => Some(written.text().and_then(Epoch::parse).ok_or(LinkError::Unreadable("epoch"))?),
    };
    let time = time.array().and_then(|parts| parts.first()?.text()?.parse().ok());
    Ok((answer, epoch, time.ok_or(LinkError::Unreadable("TIME"))?))
}

/// The replication ID of a master that can keep the promise.
async fn identify(pipe: &Pipe) -> Result<String, LinkError> {
    let mut ask = Commands::default();
    ask.add([b"INFO", b"replication"]).add([b"INFO", b"memory"]);
    let replies = pipe.ask(&ask).await?;
    let [replication, memory] = replies.read()?;
    let text = |reply: Reply<'_>| match reply {
        Reply::Text(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        _ => Err(LinkError::Unreadable("INFO")),
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_right_word_grants() {
        let no_answers = [Reply::Text(b"QUEUED"), Reply::Text(b""), Reply::Integer(2), Reply::Array(Vec::new())];
        assert!(no_answers.iter().all(|reply| was_set(reply).is_err() && is_absent(reply).is_err()));
        assert!(was_set(&Reply::Text(b"OK")).is_ok_and(|set| set) && was_set(&Reply::Nil).is_ok_and(|set| !set));
        assert!(was_set(&Reply::Integer(1)).is_err() && is_absent(&Reply::Nil).is_err());
        let absent = |number| is_absent(&Reply::Integer(number));
        assert!(absent(0).is_ok_and(|absent| absent) && absent(1).is_ok_and(|absent| !absent));
    }
}
