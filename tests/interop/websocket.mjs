// The subjects of the Autobahn suite's echo cases (its sections 1 to 7, 9 and 10) in raw frames, against the echo of the
// npm package `ws`: what comes back through the gate has to be what comes back without it, to the byte. The suite itself
// needs Python 2: tests/autobahn.
//
//   node websocket.mjs serve            prints the port of an echo server
//   node websocket.mjs run PORT PORT    the same cases at both; prints one JSON line of what differs

import { createConnection } from 'node:net'
import { WebSocketServer } from 'ws'

const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10

// RFC 6455 section 5.2, masked as a client must, with a key that makes two runs alike.
function frame(opcode, payload = '', { fin = true, reserved = 0 } = {}) {
  const data = Buffer.from(payload)
  const first = (fin ? 0x80 : 0) | (reserved << 4) | opcode
  const length = [data.length]
  if (data.length > 65535) length.splice(0, 1, 127, 0, 0, 0, 0, ...u(data.length, 4))
  else if (data.length > 125) length.splice(0, 1, 126, ...u(data.length, 2))
  length[0] |= 0x80
  const key = [0x37, 0xfa, 0x21, 0x3d]
  return Buffer.concat([Buffer.from([first, ...length, ...key]), data.map((byte, at) => byte ^ key[at % 4])])
}

const u = (number, bytes) => [...Array(bytes).keys()].reverse().map((at) => (number >>> (8 * at)) & 0xff)
const end = (code = 1000, reason = '') => frame(CLOSE, Buffer.concat([Buffer.from(u(code, 2)), Buffer.from(reason)]))
const pieces = (opcode, parts) =>
  parts.map((part, at) => frame(at ? 0 : opcode, part, { fin: at === parts.length - 1 }))

// Name, frames, and in how large pieces they are written (0: each frame at once).
const cases = []
const add = (name, frames, chop = 0) => cases.push({ name, frames, chop })

for (const [section, opcode] of [[1, TEXT], [2, BINARY]]) {
  for (const length of [0, 125, 126, 127, 128, 65535, 65536]) {
    add(`1.${section} ${length} bytes`, [frame(opcode, 'x'.repeat(length)), end()])
  }
  add(`1.${section} 65536 bytes in pieces of 997`, [frame(opcode, '*'.repeat(65536)), end()], 997)
}
for (const payload of ['', 'Hello', '\0\xff\xfe\xfd', '\xfe'.repeat(62)]) add('2 ping', [frame(PING, payload), end()])
add('2.5 a ping that is too long', [frame(PING, 'x'.repeat(126))])
add('2.6 a ping in pieces of 1', [frame(PING, 'x'.repeat(125)), end()], 1)
add('2.7 a pong that nobody asked for', [frame(PONG), end()])
add('2.9 a pong, then a ping', [frame(PONG, 'unasked'), frame(PING, 'asked'), end()])
add('2.10 ten pings', [...Array(10).keys()].map((at) => frame(PING, `ping ${at}`)).concat(end()))
for (let reserved = 1; reserved < 8; reserved++) {
  add(`3 reserved bits ${reserved}`, [frame(TEXT, 'good'), frame(TEXT, 'bad', { reserved }), frame(PING)])
}
for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
  add(`4 opcode ${opcode}`, [frame(TEXT, 'good'), frame(opcode, opcode % 2 ? 'x' : ''), frame(PING)])
}
add('5.1 a ping in fragments', pieces(PING, ['one', 'two']))
add('5.2 a pong in fragments', pieces(PONG, ['one', 'two']))
for (const chop of [0, 1]) {
  add('5.3 a text in fragments', [...pieces(TEXT, ['one', 'two']), end()], chop)
  const [first, second] = pieces(TEXT, ['one', 'two'])
  add('5.6 a ping between fragments', [first, frame(PING, 'between'), second, end()], chop)
}
add('5.9 a continuation of nothing', [frame(0, 'x'), frame(TEXT, 'y')])
add('5.12 an end of nothing', [frame(0, 'x', { fin: false }), frame(TEXT, 'y')])
add('5.18 two beginnings', [frame(TEXT, 'a', { fin: false }), frame(TEXT, 'b')])
add('5.19 fragments and pings', [
  ...pieces(TEXT, ['1', '2', '3', '4', '5']).flatMap((piece) => [piece, frame(PING, 'p')]),
  end(),
])
add('6.1 empty fragments', [...pieces(TEXT, ['', '', '']), end()])
add('6.2 UTF-8 cut inside a character', [...[...Buffer.from('κόσμε-µ')].map((byte, at, all) =>
  frame(at ? 0 : TEXT, [byte], { fin: at === all.length - 1 }),
), end()])
for (const bytes of [
  [0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xcf, 0x83, 0xce, 0xbc, 0xce, 0xb5], [0xf4, 0x8f, 0xbf, 0xbf], [0xef, 0xbf, 0xbf],
  [0xf4, 0x90, 0x80, 0x80], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf8, 0x88, 0x80, 0x80, 0x80], [0xfe], [0xff], [0x80],
  [0xbf], [0xe2, 0x82], [0xf0, 0x80, 0x80, 0x80], [0xed, 0xaf, 0xbf, 0xed, 0xbf, 0xbf], [0xce],
]) {
  add(`6 UTF-8 ${Buffer.from(bytes).toString('hex')}`, [frame(TEXT, bytes), end()])
}
add('7.1.2 two ends', [end(), end()])
add('7.1.3 a ping after the end', [end(), frame(PING)])
add('7.1.4 a text after the end', [end(), frame(TEXT, 'late')])
add('7.1.6 an end behind much', [frame(TEXT, 'x'.repeat(256 * 1024)), frame(TEXT, 'y'), end(), frame(PING)])
add('7.3.1 an end that says nothing', [frame(CLOSE)])
add('7.3.2 an end with half a code', [frame(CLOSE, 'x')])
add('7.3.5 the longest reason', [end(1000, '*'.repeat(123))])
add('7.3.6 a reason that is too long', [end(1000, '*'.repeat(124))])
add('7.5.1 a reason that is no UTF-8', [frame(CLOSE, [3, 232, 0xce, 0xba, 0xed, 0xa0, 0x80])])
for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]) add(`7.7 ${code}`, [end(code)])
for (const code of [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535]) add(`7.9 ${code}`, [end(code)])
for (const [opcode, sizes] of [[TEXT, [65536, 1 << 20, 4 << 20]], [BINARY, [65536, 1 << 20, 4 << 20]]]) {
  for (const size of sizes) add(`9 ${size} bytes`, [frame(opcode, '*'.repeat(size)), end()])
  add('9.3 1 MiB in fragments of 1024', [...pieces(opcode, Array(1024).fill('*'.repeat(1024))), end()])
  add('9.5 1 MiB in pieces of 4096', [frame(opcode, '*'.repeat(1 << 20)), end()], 4096)
}
for (const size of [0, 16, 64, 256, 1024]) {
  add(`9.7 200 messages of ${size}`, [...Array(200).fill(frame(TEXT, 'm'.repeat(size))), end()])
}
add('10.1 a message of 65536 in fragments of 1300', [
  ...pieces(TEXT, 'a'.repeat(65536).match(/.{1,1300}/g)), end(),
])

// Everything that comes back, from the handshake's status on; once the other end says so (or has gone), this one ends.
function play(port, { frames, chop }) {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1')
    let received = Buffer.alloc(0)
    let at = -1
    socket.setTimeout(20_000, () => reject(new Error('nothing comes any more')))
    socket.write(
      'GET /ws HTTP/1.1\r\nHost: ws.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    socket.on('data', (data) => {
      received = Buffer.concat([received, data])
      if (at < 0) {
        const head = received.indexOf('\r\n\r\n')
        if (head < 0) return
        at = head + 4
        const all = Buffer.concat(frames)
        if (chop) for (let from = 0; from < all.length; from += chop) socket.write(all.subarray(from, from + chop))
        else for (const one of frames) socket.write(one)
      }
      while (at + 2 <= received.length) {
        const short = received[at + 1] & 0x7f
        const extended = short === 126 ? 2 : short === 127 ? 8 : 0
        if (at + 2 + extended > received.length) return
        const length = extended ? Number(received.readUIntBE(at + 2 + extended - Math.min(extended, 6), Math.min(extended, 6))) : short
        if (at + 2 + extended + length > received.length) return
        if ((received[at] & 0x0f) === CLOSE) socket.end()
        at += 2 + extended + length
      }
    })
    // Bytes for a server that has closed may be answered by a reset: an end as well.
    socket.on('error', () => {})
    socket.on('close', () => {
      const head = received.indexOf('\r\n\r\n')
      resolve(received.subarray(0, 12).toString() + received.subarray(head).toString('hex'))
    })
  })
}

if (process.argv[2] === 'serve') {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false }, () =>
    console.log(server.address().port),
  )
  server.on('connection', (socket) => {
    socket.on('error', () => {})
    socket.on('message', (data, binary) => socket.send(data, { binary }))
  })
} else {
  const [direct, gate] = process.argv.slice(3).map(Number)
  const different = []
  for (const one of cases) {
    const [without, through] = await Promise.all([play(direct, one), play(gate, one)])
    if (without !== through || !without.startsWith('HTTP/1.1 101')) {
      different.push({ name: one.name, without: without.slice(0, 200), through: through.slice(0, 200) })
    }
  }
  console.log(JSON.stringify({ cases: cases.length, different }))
}
