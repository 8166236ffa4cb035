//! One connection that all claims share: what they ask goes out in one write, what comes back is dealt out in order.
//!
//! A claim costs one piece of memory for its commands, one for its replies and one to wait on; the store's own client
//! library takes a tree of them for each reply, which was a third of what a claim cost here (benches/README.md).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::error::LinkError;
use super::resp::{Commands, Replies, length};

/// Room for what comes: some forty claims' replies.
const READ_ROOM: usize = 4 * 1024;
/// An output buffer that grew beyond this is not kept.
const KEPT_ROOM: usize = 64 * 1024;

/// A connection, and the task that drives it: both end together.
#[derive(Debug)]
pub(super) struct Pipe {
    queue: Arc<Queue>,
    driven: watch::Receiver<()>,
    _driver: JoinSet<()>,
}

/// What is to be sent, and who waits for replies.
#[derive(Debug)]
struct Queue(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Commands that have not been given to the socket yet.
    output: Vec<u8>,
    waiting: VecDeque<Waiting>,
    /// Wakes the driver.
    driver: Option<Waker>,
    /// Why there will be no more replies.
    ended: Option<LinkError>,
}

#[derive(Debug)]
struct Waiting {
    replies: usize,
    to: oneshot::Sender<Replies>,
}

impl Pipe {
    /// Over a stream that is connected; the driver is a task of the present runtime.
    pub(super) fn open<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let state = State { output: Vec::new(), waiting: VecDeque::new(), driver: None, ended: None };
        let queue = Arc::new(Queue(Mutex::new(state)));
        let (driving, driven) = watch::channel(());
        let mut driver =
            Driver { stream, queue: Arc::clone(&queue), input: BytesMut::new(), output: Vec::new(), written: 0 };
        let mut task = JoinSet::new();
        task.spawn(async move {
            let why = poll_fn(|cx| driver.poll(cx)).await;
            driver.queue.end(why);
            drop(driving);
        });
        Self { queue, driven, _driver: task }
    }

    /// Sends commands together, and waits for the reply to each. Whoever stops waiting leaves it open whether they are
    /// carried out.
    pub(super) async fn ask(&self, commands: &Commands) -> Result<Replies, LinkError> {
        let (to, replies) = oneshot::channel();
        let driver = {
            let mut state = self.queue.lock();
            if let Some(why) = &state.ended {
                return Err(why.clone());
            }
            state.output.extend_from_slice(&commands.bytes);
            state.waiting.push_back(Waiting { replies: commands.count, to });
            // One wake-up for all that ask before the driver has its turn.
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
        match replies.await {
            Ok(replies) => Ok(replies),
            Err(_) => Err(self.queue.lock().ended.clone().unwrap_or(LinkError::Closed)),
        }
    }

    /// Waits until the connection has ended.
    pub(super) async fn closed(&self) {
        // The driver holds the other half and never sends.
        let _ = self.driven.clone().changed().await;
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.queue.end(LinkError::Closed);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: LinkError) {
        let mut state = self.lock();
        state.ended.get_or_insert(why);
        state.waiting.clear();
    }
}

struct Driver<S> {
    stream: S,
    queue: Arc<Queue>,
    input: BytesMut,
    /// Being written.
    output: Vec<u8>,
    written: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        match self.poll_read(cx) {
            Poll::Ready(why) => Poll::Ready(why),
            Poll::Pending => match self.poll_write(cx) {
                Poll::Ready(error) => Poll::Ready(error.into()),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    /// Ready on an error only.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if self.written == self.output.len() {
                self.output.clear();
                self.written = 0;
                if self.output.capacity() > KEPT_ROOM {
                    self.output = Vec::new();
                }
                let mut state = self.queue.lock();
                // Whoever asks after this look wakes the driver.
                state.driver = Some(cx.waker().clone());
                std::mem::swap(&mut self.output, &mut state.output);
            }
            let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) else {
                return match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(error),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                };
            };
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(more)) => self.written += more,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Ready at the end only.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        loop {
            self.input.reserve(READ_ROOM);
            match pin!(self.stream.read_buf(&mut self.input)).poll(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(LinkError::Closed),
                Poll::Ready(Ok(_)) => {
                    if let Err(why) = self.deal_out() {
                        return Poll::Ready(why);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(error.into()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Gives what is whole to those who wait for it, in the order in which they asked.
    fn deal_out(&mut self) -> Result<(), LinkError> {
        while !self.input.is_empty() {
            let mut state = self.queue.lock();
            let Some(first) = state.waiting.front() else {
                // Nobody asked.
                return Err(LinkError::Unreadable("reply"));
            };
            let mut end = 0;
            for _ in 0..first.replies {
                match length(self.input.get(end..).unwrap_or_default())? {
                    Some(length) => end += length,
                    None => return Ok(()),
                }
            }
            let first = state.waiting.pop_front();
            drop(state);
            let replies = Replies(self.input.get(..end).unwrap_or_default().to_vec());
            self.input.advance(end);
            if let Some(first) = first {
                // Who has given up waiting needs no answer.
                let _ = first.to.send(replies);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::super::resp::Reply;
    use super::*;

    fn ping() -> Commands {
        let mut commands = Commands::default();
        commands.add([b"PING"]);
        commands
    }

    async fn expect(server: &mut DuplexStream, bytes: &[u8]) {
        let mut came = vec![0; bytes.len()];
        server.read_exact(&mut came).await.unwrap();
        assert_eq!(came, bytes);
    }

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    #[tokio::test]
    async fn answers_go_to_those_who_asked_in_whatever_pieces_they_come() {
        for piece in [1, 2, 3, 7, 100] {
            let (ours, mut server) = duplex(64);
            let pipe = Pipe::open(ours);
            let (one, two) = (ping(), ping());
            let mut both = ping();
            both.add([b"PING"]);
            let serve = async {
                expect(&mut server, &PING.repeat(4)).await;
                for part in b"+one\r\n:1\r\n*1\r\n$-1\r\n+two\r\n".chunks(piece) {
                    server.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (one, both, two, ()) = tokio::join!(pipe.ask(&one), pipe.ask(&both), pipe.ask(&two), serve);
            assert_eq!(one.unwrap().read::<1>().unwrap(), [Reply::Text(b"one")]);
            assert_eq!(both.unwrap().read::<2>().unwrap(), [Reply::Integer(1), Reply::Array(vec![Reply::Nil])]);
            assert_eq!(two.unwrap().read::<1>().unwrap(), [Reply::Text(b"two")]);
        }
    }

    #[tokio::test]
    async fn who_gives_up_gets_nobody_elses_answer() {
        let (ours, mut server) = duplex(1024);
        let pipe = Pipe::open(ours);
        let commands = ping();
        {
            let mut given_up = pin!(pipe.ask(&commands));
            assert!(poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx))).await.is_pending());
        }
        let serve = async {
            expect(&mut server, &PING.repeat(2)).await;
            server.write_all(b"+first\r\n+second\r\n").await.unwrap();
        };
        let (answer, ()) = tokio::join!(pipe.ask(&commands), serve);
        assert_eq!(answer.unwrap().read::<1>().unwrap(), [Reply::Text(b"second")]);
    }

    #[tokio::test]
    async fn an_end_reaches_all_who_wait_and_all_who_ask_later() {
        for (last, why) in [
            (&b""[..], "the connection was closed"),
            (b"+half", "the connection was closed"),
            (b"?\r\n", "the server's reply cannot be read"),
            (b"+one\r\n+two\r\n+three\r\n", "the server's reply cannot be read"),
        ] {
            let (ours, mut server) = duplex(1024);
            let pipe = Pipe::open(ours);
            let (one, two) = (ping(), ping());
            let serve = async move {
                expect(&mut server, &PING.repeat(2)).await;
                server.write_all(last).await.unwrap();
            };
            let (one, _, ()) = tokio::join!(pipe.ask(&one), pipe.ask(&two), serve);
            pipe.closed().await;
            assert_eq!(one.is_ok(), last.starts_with(b"+one"), "what came before the end counts");
            assert_eq!(pipe.ask(&ping()).await.unwrap_err().to_string(), why);
        }
    }
}
