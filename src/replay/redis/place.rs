//! Where the shared store is: what a URL says, parsed once.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A URL of the shared store, and who the gate is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// How its master is found.
    pub topology: Topology,
    /// `rediss`: every connection is TLS, those to sentinels too.
    pub is_tls: bool,
    /// Who the gate is at the store.
    pub credentials: Credentials,
    /// Who it is at the sentinels.
    pub sentinel_credentials: Credentials,
    /// Number of the database.
    pub database: u32,
}

/// How the master is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// It is this one.
    Node(Address),
    /// One of these sentinels knows.
    Sentinel {
        /// Asked in this order.
        sentinels: Vec<Address>,
        /// The name that they know it by.
        service: String,
    },
    /// It is the node of a cluster that owns our keys' slot; one of these nodes knows.
    Cluster(Vec<Address>),
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host (a name, or an IP address without brackets) and port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A user's name and password, each if any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Absent: the default user.
    pub user: Option<String>,
    /// Prints redacted.
    pub password: Option<Secret>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Place {
    /// From one of these, else what is wrong with it; the text is never in the message, since it could hold a password.
    ///
    /// - `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, and `rediss://` for TLS
    /// - `unix:/PATH`, or `redis+unix://[USER:PASSWORD@]/PATH[?db=DB]`
    /// - `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../SERVICE[/DB][?sentinel_user=U&sentinel_password=P]`
    /// - `redis+cluster://[USER:PASSWORD@]HOST[:PORT],...`
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('#') {
            return Err("a fragment in it (`#` in a password is written %23)");
        }
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path.strip_prefix("//").unwrap_or(path), query);
        }
        let (scheme, rest) = text.split_once("://").ok_or("no scheme in it")?;
        let (kind, is_tls) = match scheme.strip_prefix("rediss") {
            Some(kind) => (kind, true),
            None => (scheme.strip_prefix("redis").ok_or("not a scheme of Redis")?, false),
        };
        match kind {
            "+unix" if !is_tls => Self::unix(rest, query),
            "" => Self::node(rest, query, is_tls),
            "+sentinel" => Self::sentinel(rest, query, is_tls),
            "+cluster" => Self::cluster(rest, query, is_tls),
            _ => Err("not a scheme of Redis"),
        }
    }

    fn of(topology: Topology, credentials: Credentials) -> Self {
        let sentinel_credentials = Credentials::default();
        Self { topology, is_tls: false, credentials, sentinel_credentials, database: 0 }
    }

    fn unix(rest: &str, query: &str) -> Result<Self, &'static str> {
        let (credentials, path) = user_info(rest)?;
        if !path.starts_with('/') {
            return Err("no absolute path in it");
        }
        let [database] = parameters(query, ["db"])?;
        let database = number(database.as_deref().unwrap_or_default())?;
        Ok(Self { database, ..Self::of(Topology::Node(Address::Unix(path.into())), credentials) })
    }

    fn node(rest: &str, query: &str, is_tls: bool) -> Result<Self, &'static str> {
        let (credentials, rest) = user_info(rest)?;
        let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
        let [] = parameters(query, [])?;
        let place = Self::of(Topology::Node(address(host, PORT)?), credentials);
        Ok(Self { is_tls, database: number(database)?, ..place })
    }

    fn sentinel(rest: &str, query: &str, is_tls: bool) -> Result<Self, &'static str> {
        let (credentials, rest) = user_info(rest)?;
        let (hosts, path) = rest.split_once('/').ok_or("no service's name in it")?;
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        if service.is_empty() {
            return Err("no service's name in it");
        }
        let [user, password] = parameters(query, ["sentinel_user", "sentinel_password"])?;
        let password = password.map(|password| Secret::new(password.into_bytes()));
        let topology = Topology::Sentinel { sentinels: addresses(hosts, SENTINEL_PORT)?, service: decoded(service)? };
        let sentinel_credentials = Credentials { user, password };
        Ok(Self { is_tls, sentinel_credentials, database: number(database)?, ..Self::of(topology, credentials) })
    }

    fn cluster(rest: &str, query: &str, is_tls: bool) -> Result<Self, &'static str> {
        let (credentials, rest) = user_info(rest)?;
        let [] = parameters(query, [])?;
        let hosts = rest.strip_suffix('/').unwrap_or(rest);
        if hosts.contains('/') {
            return Err("a path in it (a cluster has one database)");
        }
        Ok(Self { is_tls, ..Self::of(Topology::Cluster(addresses(hosts, PORT)?), credentials) })
    }
}

/// What stands before the last `@`, and the rest.
fn user_info(text: &str) -> Result<(Credentials, &str), &'static str> {
    let Some((info, rest)) = text.rsplit_once('@') else { return Ok((Credentials::default(), text)) };
    if info.contains(['/', '@']) {
        return Err("a `/` or `@` in the user's name or password (written %2F, %40)");
    }
    let (user, password) = match info.split_once(':') {
        Some((user, password)) => (user, Some(Secret::new(decoded(password)?.into_bytes()))),
        None => (info, None),
    };
    let user = if user.is_empty() { None } else { Some(decoded(user)?) };
    Ok((Credentials { user, password }, rest))
}

fn addresses(text: &str, port: u16) -> Result<Vec<Address>, &'static str> {
    text.split(',').map(|host| address(host, port)).collect()
}

fn address(text: &str, default: u16) -> Result<Address, &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("a `[` without `]`")?,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("no host in it");
    }
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("a port that is none")?,
        None if port.is_empty() => default,
        None => return Err("a port that is none"),
    };
    Ok(Address::Tcp(host.to_owned(), port))
}

fn number(text: &str) -> Result<u32, &'static str> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| "a database that is no number") }
}

/// The values of these parameters; others, and doubled ones, are refused.
fn parameters<const N: usize>(query: &str, names: [&str; N]) -> Result<[Option<String>; N], &'static str> {
    let mut values = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let index = names.iter().position(|known| *known == name).ok_or("a parameter that means nothing here")?;
        let slot = values.get_mut(index).filter(|slot| slot.is_none()).ok_or("a parameter twice")?;
        *slot = Some(decoded(value)?);
    }
    Ok(values)
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "a percent-encoding that is no UTF-8")?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    #[test]
    fn every_form_is_read() {
        let place = Place::parse("rediss://gate:p%40ss%2F@redis.internal:6380/2").unwrap();
        assert_eq!(place.topology, Topology::Node(tcp("redis.internal", 6380)));
        assert_eq!((place.is_tls, place.database, place.credentials.user.as_deref()), (true, 2, Some("gate")));
        assert_eq!(place.credentials.password.unwrap().reveal(), b"p@ss/");

        let place = Place::parse("redis://:secret@[::1]").unwrap();
        assert_eq!(place.topology, Topology::Node(tcp("::1", 6379)));
        assert_eq!((place.credentials.user, place.is_tls), (None, false));

        for text in ["unix:/run/redis.sock", "unix:///run/redis.sock", "redis+unix:///run/redis.sock?db=0"] {
            assert_eq!(Place::parse(text).unwrap().topology, Topology::Node(Address::Unix("/run/redis.sock".into())));
        }

        let place = Place::parse("redis+sentinel://u:p@a,b:1234/mymaster/3?sentinel_password=x%20y").unwrap();
        let sentinels = vec![tcp("a", 26379), tcp("b", 1234)];
        assert_eq!(place.topology, Topology::Sentinel { sentinels, service: "mymaster".to_owned() });
        assert_eq!(place.sentinel_credentials.password.unwrap().reveal(), b"x y");
        assert_eq!(place.database, 3);

        let place = Place::parse("rediss+cluster://a:7000,b:7001,c/").unwrap();
        assert_eq!(place.topology, Topology::Cluster(vec![tcp("a", 7000), tcp("b", 7001), tcp("c", 6379)]));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_text() {
        for (text, expected) in [
            ("127.0.0.1:6379", "no scheme in it"),
            ("http://127.0.0.1", "not a scheme of Redis"),
            ("rediss+unix:///run/x", "not a scheme of Redis"),
            ("redis://", "no host in it"),
            ("redis://:6379", "no host in it"),
            ("redis://host:0", "a port that is none"),
            ("redis://host:x", "a port that is none"),
            ("redis://host/first", "a database that is no number"),
            ("redis://host/0?db=1", "a parameter that means nothing here"),
            ("redis://:a/b@host", "a `/` or `@` in the user's name or password (written %2F, %40)"),
            ("redis://:%ff@host", "a percent-encoding that is no UTF-8"),
            ("redis://host#x", "a fragment in it (`#` in a password is written %23)"),
            ("redis+unix://run/redis.sock", "no absolute path in it"),
            ("redis+sentinel://a,b", "no service's name in it"),
            ("redis+sentinel://a,,b/s", "no host in it"),
            ("redis+cluster://a/0", "a path in it (a cluster has one database)"),
        ] {
            assert_eq!(Place::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let place = Place::parse("redis://user:hunter2@host").unwrap();
        assert!(!format!("{place:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(redis|rediss|unix)?(\\+sentinel|\\+cluster|\\+unix)?(://)?.{0,40}") {
            let _ = Place::parse(&text);
        }
    }
}
