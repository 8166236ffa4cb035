//! A bare connection, for bytes that no HTTP library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::soon;

pub struct Raw {
    stream: TcpStream,
    /// Read, but not yet taken.
    ahead: Vec<u8>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon("room to write", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Writes, and does not mind a connection that the other end has closed.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon("room to write", self.stream.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Nothing more will be written.
    pub async fn end(&mut self) {
        // A connection that the other end has closed is at its end too.
        let _ = self.stream.shutdown().await;
    }

    /// Everything up to and including `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.ahead).into_owned();
            if let Some(at) = text.find(end) {
                let taken = self.ahead.drain(..at + end.len()).collect::<Vec<_>>();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let more = self.read_some().await;
            assert!(more, "the connection ended before {end:?}; it said {text:?}");
        }
    }

    /// Everything up to the end of the connection, however it ends.
    pub async fn read_to_end(&mut self) -> String {
        while self.read_some().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.ahead)).into_owned()
    }

    pub async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(self.read_some().await, "the connection ended too early");
        }
        self.ahead.drain(..length).collect()
    }

    /// `false` at the end. A reset is an end too.
    async fn read_some(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        match soon("something to read", self.stream.read(&mut bytes)).await {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.ahead.extend_from_slice(&bytes[..length]);
                true
            }
        }
    }
}
