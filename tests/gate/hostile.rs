//! HTTP/2 as no client speaks it, at every door: each attack ends in bounded memory, and others are served meanwhile.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{SOON, World, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// More than any attack below may cost, in bytes.
const MEMORY: u64 = 48 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET http://x/orders/1` (RFC 7541: indexed, then literals that are not).
fn request() -> Vec<u8> {
    [&[0x82, 0x86][..], b"\x04\x09/orders/1", b"\x01\x01x"].concat()
}

/// A header that goes into the dynamic table, and then stands in the block again and again at one byte each.
fn bomb() -> Vec<u8> {
    let mut block = request();
    block.extend(b"\x40\x01a");
    // 127 + 3865: a value of 3992 bytes, all that the table of 4096 holds.
    block.extend([0x7f, 0x99, 0x1e]);
    block.extend(vec![b'b'; 3992]);
    block.extend(vec![0xbe; 10_000]);
    block
}

/// Each round of a flood, whether the connection has to end of it, and how often it is sent.
type Attack = (&'static str, fn(u32) -> Vec<u8>, bool, u32);

const ATTACKS: &[Attack] = &[
    (
        "streams that are reset at once",
        |round| {
            let stream = round * 2 + 1;
            let opened = frame(HEADERS, END_STREAM | END_HEADERS, stream, &request());
            [opened, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        },
        true,
        20_000,
    ),
    (
        "a header block without an end",
        |round| match round {
            0 => frame(HEADERS, END_STREAM, 1, &request()),
            _ => frame(CONTINUATION, 0, 1, &[&b"\x00\x01a\x7f\x81\x7e"[..], &vec![b'c'; 16_257]].concat()),
        },
        true,
        10_000,
    ),
    (
        "a header block of empty pieces",
        |round| match round {
            0 => frame(HEADERS, END_STREAM, 1, &request()),
            _ => frame(CONTINUATION, 0, 1, &[]),
        },
        true,
        200_000,
    ),
    (
        "a small block that stands for 40 MB",
        |round| {
            let stream = round * 2 + 1;
            frame(HEADERS, END_STREAM | END_HEADERS, stream, &bomb())
        },
        false,
        200,
    ),
    ("pings", |_| frame(PING, 0, 0, b"\0\0\0\0\0\0\0\0"), false, 200_000),
    ("settings", |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]), false, 200_000),
    ("a window beyond counting", |_| frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()), true, 2),
    ("data on a stream that nobody opened", |_| frame(DATA, 0, 1, b"data"), true, 1),
    ("headers on stream 0", |_| frame(HEADERS, END_STREAM | END_HEADERS, 0, &request()), true, 1),
    ("a stream of the server's number", |_| frame(HEADERS, END_STREAM | END_HEADERS, 2, &request()), true, 1),
    ("a block that is no HPACK", |_| frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 64]), true, 1),
    ("a frame beyond the agreed size", |_| frame(HEADERS, END_HEADERS, 1, &vec![0; 1 << 20]), true, 1),
    (
        "empty data for ever",
        |round| match round {
            0 => frame(HEADERS, END_HEADERS, 1, &[&[0x83, 0x86][..], b"\x04\x09/orders/1", b"\x01\x01x"].concat()),
            _ => frame(DATA, 0, 1, &[]),
        },
        false,
        200_000,
    ),
];

/// Sends the rounds until they are through or the connection ends; says whether it ended, and by which GOAWAY.
async fn attack(address: SocketAddr, round: fn(u32) -> Vec<u8>, rounds: u32, must_end: bool) -> Option<u32> {
    let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let reader = tokio::spawn(async move {
        let mut answer = Vec::new();
        let mut bytes = [0; 16 * 1024];
        while let Ok(length @ 1..) = reading.read(&mut bytes).await {
            answer.extend_from_slice(&bytes[..length]);
        }
        answer
    });
    writing.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    let mut sent = 0;
    while sent < rounds {
        let piece: Vec<u8> = (sent..rounds.min(sent + 64)).flat_map(round).collect();
        sent += 64;
        // Whoever does not read on holds the attacker up, which is as good as an end.
        match tokio::time::timeout(SOON / 10, writing.write_all(&piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    if !must_end {
        drop(writing);
    }
    let answer = soon("the connection to end", reader).await.unwrap();
    goaway(&answer)
}

/// The error code of the last GOAWAY.
fn goaway(mut bytes: &[u8]) -> Option<u32> {
    let mut code = None;
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let payload = rest.get(..length)?;
        if *kind == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        bytes = &rest[length..];
    }
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_attacks_end_in_bounded_memory_at_every_door() {
    let world = World::prepared(
        |settings| {
            settings["listen"] = json!([{"address": "127.0.0.1:0"},
                                        {"address": "127.0.0.1:0", "mode": "forward_auth"},
                                        {"address": "127.0.0.1:0", "mode": "ext_authz"}]);
        },
        |gates| gates.environment("RUST_LOG", "warn,dpop_gate::app=info"),
    )
    .await;
    let client = world.client().await;
    for address in [world.gate.address(), world.gate.forward_auth(), world.gate.ext_authz()] {
        for (what, round, must_end, rounds) in ATTACKS {
            let before = world.gate.peak_memory();
            let code = attack(address, *round, *rounds, *must_end).await;
            let cost = world.gate.peak_memory() - before;
            assert!(cost < MEMORY, "{what} cost {cost} bytes");
            assert!(!must_end || code != Some(0), "{what}: ended as if nothing was wrong");
            assert_eq!(client.get("/orders/1").send().await.status, 200, "{what}: and the gate goes on");
        }
    }
    assert!(world.upstream.seen().iter().all(|seen| seen.header("x-auth-subject") == Some("alice")), "nothing passed");
}

/// Who asks and reads nothing is cut off, over HTTP/2 by its own windows, over HTTP/1.1 by full sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_is_cut_off_at_every_door() {
    let world = World::with(|settings| {
        settings["limits"] = json!({"idle_timeout": "300ms", "header_timeout": "300ms"});
        settings["listen"] = json!([{"address": "127.0.0.1:0"},
                                    {"address": "127.0.0.1:0", "mode": "forward_auth"},
                                    {"address": "127.0.0.1:0", "mode": "ext_authz"}]);
    })
    .await;
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let ask = |round: u32| frame(HEADERS, END_STREAM | END_HEADERS, round * 2 + 1, &request());
    let http2: Vec<u8> = [PREFACE, &no_window].concat().into_iter().chain((0..100).flat_map(ask)).collect();
    let http1 = b"GET /orders/1 HTTP/1.1\r\nhost: x\r\n\r\n".repeat(64);
    for address in [world.gate.address(), world.gate.forward_auth(), world.gate.ext_authz()] {
        let before = world.gate.peak_memory();
        let mut stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.write_all(&http2).await.unwrap();
        let mut answer = Vec::new();
        // Reading frames opens no window: only WINDOW_UPDATE would.
        let _ = soon("the end of it", stream.read_to_end(&mut answer)).await;

        let mut stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        soon("the end of it", async { while stream.write_all(&http1).await.is_ok() {} }).await;
        assert!(world.gate.peak_memory() - before < MEMORY);
    }
}
