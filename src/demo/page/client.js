// A DPoP client in a browser: a key that cannot be exported, proofs, PKCE, and requests that are kept to be looked at.

const encoder = new TextEncoder()

export const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')

const digest = async (text) => base64url(await crypto.subtle.digest('SHA-256', encoder.encode(text)))

export const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)))

/** RFC 7636: a verifier and its S256 challenge. */
export async function makePkce() {
  const verifier = random()
  return { verifier, challenge: await digest(verifier) }
}

/** A P-256 pair whose private half this browser will never give away, to this page either. */
export async function makeKey() {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey)
  // RFC 7638 section 3: these members, in this order.
  const thumbprint = await digest(JSON.stringify({ crv, kty, x, y }))
  return { privateKey: pair.privateKey, jwk: { kty, crv, x, y }, thumbprint }
}

/** What the browser says when a script asks for the private half. */
export async function tryToExport(key) {
  try {
    await crypto.subtle.exportKey('pkcs8', key.privateKey)
    return 'exported'
  } catch (error) {
    return error.name
  }
}

/** RFC 9449 section 4.2. */
export async function makeProof(key, { method, url, nonce, token }) {
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk }
  const claims = { jti: random(), htm: method, htu: url, iat: Math.floor(Date.now() / 1000) }
  if (nonce) claims.nonce = nonce
  if (token) claims.ath = await digest(token)
  const input = [header, claims].map((part) => base64url(encoder.encode(JSON.stringify(part)))).join('.')
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key.privateKey, encoder.encode(input))
  return `${input}.${base64url(signature)}`
}

/** Header and claims of a compact JWS, for eyes only: nothing is verified. */
export function decode(compact) {
  const parts = compact.split('.')
  if (parts.length !== 3) return null
  try {
    const [header, claims] = parts.slice(0, 2).map((part) => {
      const binary = atob(part.replaceAll('-', '+').replaceAll('_', '/'))
      return JSON.parse(new TextDecoder().decode(Uint8Array.from(binary, (c) => c.charCodeAt(0))))
    })
    return { header, claims }
  } catch {
    return null
  }
}

/** Sends a request; what came back, or that nothing did. */
export async function send(request) {
  const exchange = { request, sent: Date.now() }
  try {
    const response = await fetch(request.url, {
      method: request.method,
      headers: request.headers,
      body: request.body?.toString(),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    })
    const text = await response.text()
    exchange.response = {
      status: response.status,
      reason: response.statusText,
      headers: Object.fromEntries(response.headers),
      text,
      json: asJson(text),
    }
  } catch {
    exchange.unreachable = true
  }
  return exchange
}

function asJson(text) {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
