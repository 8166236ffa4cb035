//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::{TcpListener, UnixListener};

use super::{ListenAddress, Sharing};

/// Connections that the kernel keeps for us while all permits are taken.
const BACKLOG: i32 = 1024;
/// A peer that is gone without a word is noticed after this long, and a few probes.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(60);

/// A socket that is bound and listens; nothing is accepted yet.
#[derive(Debug)]
pub struct Socket {
    bound: Bound,
    address: ListenAddress,
}

/// An accepted connection, which no runtime watches yet: the loop that serves it is chosen after this.
pub(super) enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Accepted {
    /// The other end; loopback for a Unix socket, which has no address.
    pub(super) fn ip(&self) -> IpAddr {
        match self {
            Self::Tcp(_, ip) => *ip,
            Self::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

impl Socket {
    /// Binds and listens. A Unix socket's file that nobody listens on any more is replaced.
    pub fn bind(address: &ListenAddress, sharing: Sharing) -> io::Result<Self> {
        let bound = match address {
            ListenAddress::Tcp(address) => Bound::Tcp(bind_tcp(*address, sharing)?),
            ListenAddress::Unix(path) => Bound::Unix(bind_unix(path)?),
        };
        let address = match &bound {
            Bound::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
            Bound::Unix(_) => address.clone(),
        };
        Ok(Self { bound, address })
    }

    fn of_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = ListenAddress::Tcp(listener.local_addr()?);
        Ok(Self { bound: Bound::Tcp(TcpListener::from_std(listener)?), address })
    }

    fn of_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::Unsupported)?.to_owned();
        // Its file is whose socket it is: no inode of ours.
        let socket = UnixSocket { listener: UnixListener::from_std(listener)?, path: path.clone(), inode: None };
        Ok(Self { bound: Bound::Unix(socket), address: ListenAddress::Unix(path) })
    }

    /// The address that was bound: with the port that was free.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.bound {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(accepted(stream.into_std()?, peer))
            }
            Bound::Unix(socket) => Ok(Accepted::Unix(socket.listener.accept().await?.0.into_std()?)),
        }
    }

    /// Stops listening, and gives back what the kernel had accepted by then: dropped with the socket, those clients
    /// would be reset. What comes between the last look and the end is lost; that is microseconds.
    pub(super) fn close(self) -> Vec<Accepted> {
        let mut rest = Vec::new();
        match &self.bound {
            // The kernel itself is asked: the runtime may not have heard of the last ones yet.
            Bound::Tcp(listener) => {
                let socket = SockRef::from(listener);
                while let Ok((stream, peer)) = socket.accept() {
                    if let (Ok(()), Some(peer)) = (stream.set_nonblocking(true), peer.as_socket()) {
                        rest.push(accepted(stream.into(), peer));
                    }
                }
            }
            Bound::Unix(socket) => {
                let socket = SockRef::from(&socket.listener);
                while let Ok((stream, _)) = socket.accept() {
                    let ready = stream.set_nonblocking(true);
                    rest.extend(ready.ok().map(|()| Accepted::Unix(stream.into())));
                }
            }
        }
        rest
    }
}

/// Sockets that a service manager bound before the process began: sd_listen_fds(3), systemd's socket activation.
#[derive(Debug, Default)]
pub struct Inherited(Mutex<Vec<Socket>>);

impl Inherited {
    /// What the environment hands over to this process; nothing is the usual case.
    pub fn from_environment() -> io::Result<Self> {
        let mut handed = ListenFd::from_env();
        let sockets = (0..handed.len()).map(|index| match handed.take_tcp_listener(index) {
            Ok(listener) => listener.map(Socket::of_tcp).transpose(),
            // It says what it is by what it is not.
            Err(_) => handed.take_unix_listener(index)?.map(Socket::of_unix).transpose(),
        });
        let sockets = sockets.filter_map(Result::transpose).collect::<io::Result<_>>()?;
        Ok(Self(Mutex::new(sockets)))
    }

    /// Listens there: on the socket that was handed over for it, else on a new one.
    pub fn bind(&self, address: &ListenAddress, sharing: Sharing) -> io::Result<Socket> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sockets.iter().position(|socket| socket.address == *address) {
            Some(found) => Ok(sockets.swap_remove(found)),
            None => Socket::bind(address, sharing),
        }
    }

    /// Those that nobody has asked for.
    pub fn left(&self) -> Vec<ListenAddress> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().map(|socket| socket.address.clone()).collect()
    }
}

fn accepted(stream: TcpStream, peer: SocketAddr) -> Accepted {
    // Neither is worth a refusal: a client that has gone already is noticed when it is read from.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE));
    // A v4 client at a dual-stack listener is the v4 address that `trusted_proxies` names.
    Accepted::Tcp(stream, peer.ip().to_canonical())
}

fn bind_tcp(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixSocket> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        let in_use = !found.file_type().is_socket() || UnixStream::connect(path).is_ok();
        if in_use {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let inode = std::fs::symlink_metadata(path)?.ino();
    Ok(UnixSocket { listener, path: path.to_owned(), inode: Some(inode) })
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

#[derive(Debug)]
struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Of the file that we made.
    inode: Option<u64>,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Only our own file: another process may have put its socket there since.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| Some(found.ino()) == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
