//! Connections to the store, and the search for its master.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue as _, RedisConnectionInfo, Value};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::LinkError;
use super::place::{Address, Credentials, Place, Topology};

/// A sentinel, or a node of a cluster, that knows the master answers within this.
pub(super) const ASK: Duration = Duration::from_millis(500);

/// One connection, and the task that drives it: both end together.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    driven: watch::Receiver<()>,
    _driver: JoinSet<()>,
}

impl Connection {
    /// Waits until the connection has ended.
    pub(super) async fn closed(&self) {
        // The driver holds the other half and never sends.
        let _ = self.driven.clone().changed().await;
    }
}

/// How connections are made.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) place: Place,
    /// For `rediss`; the caller has set it where the place says so.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    /// A server in the same process.
    #[cfg(test)]
    pub(super) model: Option<super::model::Server>,
}

impl Connector {
    /// The master's address, as it is known now.
    pub(super) async fn master(&self, key: &str) -> Result<Address, LinkError> {
        match &self.place.topology {
            Topology::Node(address) => Ok(address.clone()),
            Topology::Sentinel { sentinels, service } => {
                first(sentinels, |sentinel| self.of_sentinel(sentinel, service)).await
            }
            Topology::Cluster(seeds) => first(seeds, |seed| self.of_cluster(seed, key)).await,
        }
    }

    /// A connection to the store itself.
    pub(super) async fn to_store(&self, address: &Address) -> Result<Connection, LinkError> {
        self.connect(address, &self.place.credentials, self.place.database).await
    }

    async fn of_sentinel(&self, sentinel: &Address, service: &str) -> Result<Address, LinkError> {
        let mut connection = self.connect(sentinel, &self.place.sentinel_credentials, 0).await?;
        let mut ask = redis::cmd("SENTINEL");
        let known = ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service).query_async(&mut connection.commands).await?;
        let known: Option<(String, u16)> = known;
        known.map(|(host, port)| Address::Tcp(host, port)).ok_or(LinkError::NoMaster)
    }

    async fn of_cluster(&self, seed: &Address, key: &str) -> Result<Address, LinkError> {
        let mut connection = self.connect(seed, &self.place.credentials, 0).await?;
        let mut ask = redis::pipe();
        ask.cmd("CLUSTER").arg("KEYSLOT").arg(key).cmd("CLUSTER").arg("SLOTS");
        let (slot, ranges): (i64, Vec<Vec<Value>>) = ask.query_async(&mut connection.commands).await?;
        let range = ranges.into_iter().find(|range| {
            matches!(range.as_slice(),
            [Value::Int(first), Value::Int(last), ..] if (*first..=*last).contains(&slot))
        });
        // First and last slot, then the master, then its replicas.
        let master = range.and_then(|range| range.into_iter().nth(2)).ok_or(LinkError::NoMaster)?;
        let Value::Array(node) = master else { return Err(LinkError::Unreadable("CLUSTER SLOTS")) };
        let (Some(host), Some(Value::Int(port))) = (node.first(), node.get(1)) else {
            return Err(LinkError::Unreadable("CLUSTER SLOTS"));
        };
        let host = Option::<String>::from_redis_value(host.clone()).ok().flatten().filter(|host| !host.is_empty());
        let port = u16::try_from(*port).map_err(|_| LinkError::Unreadable("CLUSTER SLOTS"))?;
        match (host, seed) {
            (Some(host), _) => Ok(Address::Tcp(host, port)),
            // "NULL [...] the client should use the same endpoint it used to send the command".
            (None, Address::Tcp(host, _)) => Ok(Address::Tcp(host.clone(), port)),
            (None, Address::Unix(_)) => Err(LinkError::NoMaster),
        }
    }

    async fn connect(&self, to: &Address, who: &Credentials, database: u32) -> Result<Connection, LinkError> {
        let mut login = RedisConnectionInfo::default().set_db(i64::from(database)).set_skip_set_lib_name();
        if let Some(user) = &who.user {
            login = login.set_username(user);
        }
        if let Some(password) = &who.password {
            login = login.set_password(String::from_utf8_lossy(password.reveal()));
        }
        #[cfg(test)]
        if let Some(model) = &self.model {
            return open(&login, model.dial()?).await;
        }
        match to {
            Address::Unix(path) => open(&login, UnixStream::connect(path).await?).await,
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                let Some(tls) = &self.tls else { return open(&login, stream).await };
                let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
                open(&login, TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?).await
            }
        }
    }
}

/// The first answer of those who may know; who does not answer holds the others up for a moment only.
async fn first<'a, F>(of: &'a [Address], ask: impl Fn(&'a Address) -> F) -> Result<Address, LinkError>
where
    F: Future<Output = Result<Address, LinkError>>,
{
    let mut why = LinkError::NoMaster;
    for address in of {
        match timeout(ASK, ask(address)).await.unwrap_or(Err(LinkError::Timeout)) {
            Ok(master) => return Ok(master),
            Err(error) => why = error,
        }
    }
    Err(why)
}

async fn open<S>(login: &RedisConnectionInfo, stream: S) -> Result<Connection, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Each question has a deadline of its own.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (commands, driver) = MultiplexedConnection::new_with_config(login, stream, config).await?;
    let mut task = JoinSet::new();
    let (driving, driven) = watch::channel(());
    task.spawn(async move {
        driver.await;
        drop(driving);
    });
    Ok(Connection { commands, driven, _driver: task })
}
