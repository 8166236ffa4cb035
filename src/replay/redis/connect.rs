//! Connections to the store, and the search for its master.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::LinkError;
use super::pipe::Pipe;
use super::place::{Address, Credentials, Place, Topology};
use super::resp::{Commands, Reply};

/// A sentinel, or a node of a cluster, that knows the master answers within this.
pub(super) const ASK: Duration = Duration::from_millis(500);

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
    pub(super) async fn to_store(&self, address: &Address) -> Result<Pipe, LinkError> {
        self.connect(address, &self.place.credentials, self.place.database).await
    }

    async fn of_sentinel(&self, sentinel: &Address, service: &str) -> Result<Address, LinkError> {
        let pipe = self.connect(sentinel, &self.place.sentinel_credentials, 0).await?;
        let mut ask = Commands::default();
        ask.add([b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.as_bytes()]);
        let replies = pipe.ask(&ask).await?;
        let [known] = replies.read()?;
        match known.array() {
            Some([host, port]) => {
                let port = port.text().and_then(|port| port.parse().ok());
                host.text().zip(port).map(|(host, port)| Address::Tcp(host.to_owned(), port))
            }
            Some(_) => None,
            None if known == Reply::Nil => return Err(LinkError::NoMaster),
            None => None,
        }
        .ok_or(LinkError::Unreadable("GET-MASTER-ADDR-BY-NAME"))
    }

    async fn of_cluster(&self, seed: &Address, key: &str) -> Result<Address, LinkError> {
        const UNREADABLE: LinkError = LinkError::Unreadable("CLUSTER SLOTS");
        let pipe = self.connect(seed, &self.place.credentials, 0).await?;
        let mut ask = Commands::default();
        ask.add([b"CLUSTER", b"KEYSLOT", key.as_bytes()]).add([b"CLUSTER", b"SLOTS"]);
        let replies = pipe.ask(&ask).await?;
        let [slot, ranges] = replies.read()?;
        let slot = slot.integer().ok_or(LinkError::Unreadable("CLUSTER KEYSLOT"))?;
        let mut ranges = ranges.array().ok_or(UNREADABLE)?.iter().filter_map(Reply::array);
        let master = ranges.find_map(|range| match range {
            // First and last slot, then the master, then its replicas.
            [first, last, master, ..] => {
                let (first, last) = (first.integer()?, last.integer()?);
                (first..=last).contains(&slot).then_some(master)
            }
            _ => None,
        });
        let Some([host, port, ..]) = master.ok_or(LinkError::NoMaster)?.array() else { return Err(UNREADABLE) };
        let port = port.integer().and_then(|port| u16::try_from(port).ok()).ok_or(UNREADABLE)?;
        match (host.text().filter(|host| !host.is_empty()), seed) {
            (Some(host), _) => Ok(Address::Tcp(host.to_owned(), port)),
            // "NULL [...] the client should use the same endpoint it used to send the command".
            (None, Address::Tcp(host, _)) => Ok(Address::Tcp(host.clone(), port)),
            (None, Address::Unix(_)) => Err(LinkError::NoMaster),
        }
    }

    async fn connect(&self, to: &Address, who: &Credentials, database: u32) -> Result<Pipe, LinkError> {
        let pipe = self.dial(to).await?;
        let mut login = Commands::default();
        match (&who.user, &who.password) {
            (Some(user), Some(password)) => login.add([b"AUTH", user.as_bytes(), password.reveal()]),
            (None, Some(password)) => login.add([b"AUTH", password.reveal()]),
            (_, None) => &mut login,
        };
        if login.count > 0 {
            pipe.ask(&login).await?.read::<1>().map_err(LinkError::login)?;
        }
        if database != 0 {
            let mut select = Commands::default();
            select.add([b"SELECT", database.to_string().as_bytes()]);
            pipe.ask(&select).await?.read::<1>()?;
        }
        Ok(pipe)
    }

    async fn dial(&self, to: &Address) -> Result<Pipe, LinkError> {
        #[cfg(test)]
        if let Some(model) = &self.model {
            return Ok(Pipe::open(model.dial()?));
        }
        match to {
            Address::Unix(path) => Ok(Pipe::open(UnixStream::connect(path).await?)),
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                let Some(tls) = &self.tls else { return Ok(Pipe::open(stream)) };
                let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
                Ok(Pipe::open(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
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
