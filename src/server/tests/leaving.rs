//! Connections that leave HTTP/1, and those that only look like it.

use super::*;

#[tokio::test]
async fn a_tunnel_has_no_limit_of_its_own_and_ends_both_ways_apart() {
    struct Echo;
    impl Handler for Echo {
        type Body = Full<Bytes>;
        async fn handle(&self, mut request: Request<Incoming>, _: &Peer) -> Response<Full<Bytes>> {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let mut all = Vec::new();
                // Its own direction ends first: what still comes must not be thrown away.
                io.write_all(b"bye").await.unwrap();
                io.shutdown().await.unwrap();
                io.read_to_end(&mut all).await.unwrap();
                assert_eq!(all.len(), 1024 * 1024);
                NOTED.notify_one();
            });
            Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "echo")
                .body(Full::default())
                .unwrap()
        }
    }
    static NOTED: Notify = Notify::const_new();
    let brief = Duration::from_millis(100);
    let bounds = Bounds::new(Limits { header_timeout: brief, idle_timeout: brief, ..limits() }, gauge(), Loops::here());
    let socket = Socket::bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), Sharing::Alone).unwrap();
    let ListenAddress::Tcp(address) = *socket.address() else { panic!() };
    let _listener = Listener::start(socket, Service { handler: Arc::new(Echo), tls: None }, Arc::clone(&bounds));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: gate\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
    assert!(rest(&mut client).await.ends_with("bye"));
    tokio::time::sleep(brief * 4).await;
    assert_eq!(bounds.open.as_ref().unwrap().get(), 1, "a tunnel is an open connection");
    client.write_all(&vec![b'a'; 1024 * 1024]).await.unwrap();
    client.shutdown().await.unwrap();
    timeout(SOON, NOTED.notified()).await.unwrap();
    until("it is still counted", || bounds.open.as_ref().unwrap().get() == 0).await;
}

/// Whoever writes a body could else have what follows the request read by another parser's rules.
#[tokio::test]
async fn a_piece_of_a_body_that_looks_like_a_101_leaves_nothing() {
    /// Each piece leaves by itself, before there is another.
    struct Pieces(Vec<&'static str>, bool);
    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            self.1 = !self.1;
            if self.1 {
                cx.waker().wake_by_ref();
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(self.0.pop().map(|piece| Ok(http_body::Frame::data(piece.into()))))
        }
    }
    struct Disguised;
    impl Handler for Disguised {
        type Body = Pieces;
        async fn handle(&self, _: Request<Incoming>, _: &Peer) -> Response<Pieces> {
            let pieces = Pieces(vec!["HTTP/1.1 101 Switching Protocols\r\n\r\n", "first "], false);
            Response::builder().header("content-length", "42").body(pieces).unwrap()
        }
    }
    let bounds = Bounds::new(limits(), gauge(), Loops::here());
    let socket = Socket::bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), Sharing::Alone).unwrap();
    let ListenAddress::Tcp(address) = *socket.address() else { panic!() };
    let _listener = Listener::start(socket, Service { handler: Arc::new(Disguised), tls: None }, bounds);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: gate\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
    assert!(response(&mut client).await.ends_with("Protocols\r\n\r\n"));
    client.write_all(b"GET / HTTP/1.1\nHost: gate\n\n").await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 400"), "a bare LF is refused as ever");
}
