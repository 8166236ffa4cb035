// What a row opens to: the request and the response as they were, proofs and tokens decoded.

import { decode } from './client.js'

const PROOF_REMARKS = {
  typ: 'a proof, and nothing else',
  jwk: 'the public key',
  jti: 'good once',
  htm: 'for this method',
  htu: 'for this URL',
  iat: clock,
  nonce: 'the server’s',
  ath: 'SHA-256 of the token',
}
const TOKEN_REMARKS = {
  typ: 'an access token',
  aud: 'what it is for',
  sub: 'who approved',
  iat: clock,
  exp: clock,
  cnf: 'the key that it is bound to',
}
/** Longer texts are cut in the middle; all of it is one click away. */
const LONG = 56

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString()
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.append(...children)
  return made
}

const shortened = (text) =>
  text.length > LONG ? `${text.slice(0, 30)}…${text.slice(-12)} (${text.length} characters)` : text

/** The panel's content for a row. */
export function detailsOf(row) {
  const { exchange, detail } = row
  if (exchange?.visit) return visit(exchange)
  if (exchange) return whole(exchange)
  if (detail.kind === 'key') return key(detail)
  if (detail.kind === 'nonce') return nonce(detail)
  return signed(detail)
}

function whole({ request, response, unreachable }) {
  const { pathname } = new URL(request.url)
  const answered = response ? `, ${response.status}` : ''
  const parts = [element('h3', {}, `${request.method} ${pathname}${answered}`), block('Request', requestText(request))]
  const token = request.headers.Authorization?.split(' ')[1]
  const claims = token && decode(token)?.claims
  if (request.headers.DPoP) {
    parts.push(jws('The proof', request.headers.DPoP, PROOF_REMARKS))
    parts.push(keyOfProof(request.key, claims?.cnf?.jkt))
  }
  if (token) parts.push(folded(jws('The token', token, TOKEN_REMARKS)))
  if (unreachable) parts.push(element('p', { class: 'bad' }, 'Nothing came back.'))
  if (!response) return parts
  const { headers, access_token: granted } = response.json ?? {}
  if (headers) parts.push(seen(headers), folded(block('Response', responseText(response))))
  else parts.push(block('Response', responseText(response)))
  if (granted) parts.push(jws('The token', granted, TOKEN_REMARKS))
  return parts
}

function requestText({ method, url, headers, body }) {
  const { pathname, search, host } = new URL(url)
  const lines = [`${method} ${pathname}${search} HTTP/1.1`, `Host: ${host}`]
  for (const [name, value] of Object.entries(headers)) {
    const [scheme, token] = value.split(' ')
    lines.push(token ? `${name}: ${scheme} ${shortened(token)}` : `${name}: ${shortened(value)}`)
  }
  if (body) lines.push('', [...body].map(([name, value]) => `${name}=${shortened(value)}`).join('\n&'))
  return lines.join('\n')
}

function responseText({ status, reason, headers, text, json }) {
  const lines = [`HTTP/1.1 ${status} ${reason}`]
  for (const name of [
    'content-type',
    'cache-control',
    'dpop-nonce',
    'www-authenticate',
    'x-request-id',
    'retry-after',
  ]) {
    if (headers[name]) lines.push(`${name}: ${headers[name]}`)
  }
  const cut = (_, value) => (typeof value === 'string' && value.split('.').length === 3 ? shortened(value) : value)
  return [...lines, '', json ? JSON.stringify(json, cut, 2) : text].join('\n')
}

/** A section that opens on demand. */
function folded(section) {
  const [heading, ...content] = section.children
  return element('details', { class: 'folded' }, element('summary', {}, ...heading.childNodes), ...content)
}

function block(title, text) {
  return element('section', {}, element('h4', {}, title), element('pre', { tabindex: 0 }, text))
}

function jws(title, compact, remarks) {
  const decoded = decode(compact)
  if (!decoded) return block(title, compact)
  const rows = [decoded.header, decoded.claims].flatMap((part) => Object.entries(part))
  const raw = element('details', {}, element('summary', {}, 'as it was sent'), element('pre', {}, compact))
  const list = element('dl', {}, ...rows.flatMap(([name, value]) => claim(name, value, remarks[name])))
  return element('section', {}, element('h4', {}, title, element('small', {}, ' decoded')), list, raw)
}

function claim(name, value, remark) {
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  const why = typeof remark === 'function' ? remark(value) : remark
  const shown = element('dd', {}, element('code', {}, text))
  if (why) shown.append(element('small', {}, ` ${why}`))
  return [element('dt', {}, name), shown]
}

/** Check 12 of RFC 9449 section 4.3, for eyes. */
function keyOfProof(thumbprint, bound) {
  const said = !bound
    ? 'The token will be bound to this key:'
    : thumbprint === bound
      ? 'The proof is by the key that the token is bound to:'
      : 'The proof is by another key than the token is bound to:'
  const tone = bound && thumbprint !== bound ? 'bad' : 'quiet'
  return element('p', { class: `key ${tone}` }, said, element('br'), element('code', {}, thumbprint))
}

function seen(headers) {
  const told = Object.entries(headers).filter(([name]) => name.startsWith('x-auth-'))
  const rows = told.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, element('code', {}, value))])
  const hidden = ['authorization', 'dpop'].filter((name) => !(name in headers))
  const note = `Neither token nor proof reached it: ${hidden.join(' and ')} were taken off.`
  const title = 'What the legacy API was told'
  return element(
    'section',
    {},
    element('h4', {}, title),
    element('dl', {}, ...rows),
    element('p', { class: 'quiet' }, note),
  )
}

function visit({ request, answer }) {
  const url = new URL(request.url)
  const list = (pairs) =>
    element(
      'dl',
      {},
      ...pairs.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, element('code', {}, value))]),
    )
  const parts = [
    element('h3', {}, `GET ${url.pathname}, in a window`),
    element('section', {}, element('h4', {}, 'Authorization request'), list([...url.searchParams])),
  ]
  if (answer) {
    const back = Object.entries(answer)
    parts.push(element('section', {}, element('h4', {}, 'Authorization response, by way of /callback'), list(back)))
  }
  return parts
}

function key({ key, exported }) {
  const parts = [
    element('h3', {}, 'A key pair'),
    block('Public key, in every proof', JSON.stringify(key.jwk, null, 2)),
    element('p', { class: 'key' }, 'Its thumbprint:', element('br'), element('code', {}, key.thumbprint)),
  ]
  if (exported) {
    const said = `This page asked for the private half with crypto.subtle.exportKey. The browser answered: ${exported}.`
    parts.push(element('p', {}, said))
  }
  return parts
}

function signed({ exchange }) {
  const nonce = exchange.response.headers['dpop-nonce']
  return [
    element('h3', {}, 'A new proof'),
    element(
      'p',
      {},
      'The server’s nonce goes into the claims of a new proof, which the key signs. The old one is thrown away.',
    ),
    block('Nonce', nonce),
  ]
}

function nonce({ nonce, age, lifetime }) {
  const made = `So that nobody waits ${Math.round(lifetime / 60)} minutes, the demo has made it with the gate’s own secret, dated ${age} s back. The gate judges it as any other.`
  return [element('h3', {}, 'A nonce past its lifetime'), element('p', {}, made), block('Nonce', nonce)]
}
