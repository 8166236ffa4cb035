//! An address that is known before anybody listens on it.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Holds an address until it is dropped. The gate, which allows its address to be used again, can listen on it
/// meanwhile; nobody is ever connected to this socket.
#[derive(Debug)]
pub(super) struct Reserved {
    _socket: Socket,
    address: SocketAddr,
}

impl Reserved {
    /// Takes `address`, with a free port in place of 0. Fails where somebody listens already.
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { _socket: socket, address })
    }

    /// With its port.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::server::{ListenAddress, Sharing, Socket};

    #[tokio::test]
    async fn the_gate_listens_on_it_and_nobody_takes_it_after() {
        let reserved = Reserved::new("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = ListenAddress::Tcp(reserved.address());
        let gate = Socket::bind(&address, Sharing::Alone).unwrap();
        drop(reserved);
        assert_eq!(gate.address(), &address);
        let ListenAddress::Tcp(taken) = address else { unreachable!() };
        assert!(Reserved::new(taken).is_err());
    }
}
