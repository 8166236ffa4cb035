// Public clients against a gate that demands nonces. What a client library does by itself is left to it; what it leaves
// to its user is written as its documentation shows.
//
//   node clients.mjs RESOURCE_ORIGIN [oauth4webapi]
//
// Runs all of them, or that one alone. Prints one JSON line a client: its name, the answers it got in their order, and the upstream's view of the last.

import * as DPoP from 'dpop'
import * as oauth from 'oauth4webapi'

const origin = process.argv[2]
const insecure = { [oauth.allowInsecureRequests]: true }

// Every status that came back from the gate, in order.
let statuses = []
const plainFetch = globalThis.fetch
const countingFetch = async (url, options) => {
  const response = await plainFetch(url, options)
  statuses.push(response.status)
  return response
}

// oauth4webapi: from nothing but the resource's origin to an answer, by RFC 9728, RFC 8414 and RFC 9449.
async function withOauth4webapi() {
  const options = { ...insecure, [oauth.customFetch]: countingFetch }
  const resource = await oauth
    .resourceDiscoveryRequest(new URL(origin), insecure)
    .then((response) => oauth.processResourceDiscoveryResponse(new URL(origin), response))
  const issuer = new URL(resource.authorization_servers[0])
  const server = await oauth
    .discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' })
    .then((response) => oauth.processDiscoveryResponse(issuer, response))

  const client = { client_id: 'shop' }
  const authentication = oauth.ClientSecretBasic('secret')
  const key = await oauth.generateKeyPair('ES256')
  const dpop = oauth.DPoP(client, key)
  const parameters = new URLSearchParams({ scope: 'orders.read' })

  const grant = () =>
    oauth
      .clientCredentialsGrantRequest(server, client, authentication, parameters, { ...options, DPoP: dpop })
      .then((response) => oauth.processClientCredentialsResponse(server, client, response))
  const granted = await grant().catch((error) => {
    if (!oauth.isDPoPNonceError(error)) throw error
    return grant()
  })

  const call = () =>
    oauth.protectedResourceRequest(granted.access_token, 'GET', new URL('/orders/1?q=1', origin), undefined, null, {
      ...options,
      DPoP: dpop,
    })
  const first = await call().catch((error) => {
    if (!oauth.isDPoPNonceError(error)) throw error
    return call()
  })
  await first.text()
  const seen = await (await call()).json()
  return { client: 'oauth4webapi', jkt: await dpop.calculateThumbprint(), seen }
}

// dpop: proofs alone; the nonce's way through headers is its user's.
async function withDpop(algorithm) {
  const key = await DPoP.generateKeyPair(algorithm)
  let nonce
  const send = async (method, path, token, options = {}) => {
    for (;;) {
      const url = new URL(path, origin).href
      const proof = await DPoP.generateProof(key, url, method, nonce, token)
      const headers = { ...options.headers, DPoP: proof }
      if (token) headers.Authorization = `DPoP ${token}`
      const response = await countingFetch(url, { ...options, method, headers })
      const challenged = nonce
      nonce = response.headers.get('dpop-nonce') ?? nonce
      if (response.ok || challenged === nonce) return response
      await response.text()
    }
  }
  const granted = await send('POST', '/token', undefined, {
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
    headers: { Authorization: `Basic ${btoa('shop:secret')}` },
  })
  const { access_token: token } = await granted.json()
  await (await send('POST', '/orders/1', token, { body: 'an order' })).text()
  const seen = await (await send('GET', '/orders/1', token)).json()
  return { client: `dpop ${algorithm}`, jkt: await DPoP.calculateThumbprint(key.publicKey), seen }
}

const clients = [withOauth4webapi, ...['ES256', 'Ed25519', 'RS256', 'PS256'].map((name) => () => withDpop(name))]
for (const run of process.argv[3] === 'oauth4webapi' ? [withOauth4webapi] : clients) {
  statuses = []
  const result = await run()
  console.log(JSON.stringify({ ...result, statuses }))
}
