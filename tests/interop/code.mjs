// Public clients against `dpop-gate demo`: authorization code with PKCE, a call, refresh, another call, by what
// discovery finds and nothing else. Nonces are demanded at the token endpoint and at the API. Both are at one origin
// here; so that each is met without a nonce, a client has a handle with the same key for each, as it would for two.
//
//   node code.mjs RESOURCE_ORIGIN CLIENT_ID REDIRECT_URI
//
// Prints one JSON line a client: its name, the answers it got in their order, and what the upstream saw of both calls.

import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const [, , origin, clientId, redirectUri] = process.argv
const scope = 'orders.read'

// Every status that came back to the client itself, in order.
let statuses = []
const plainFetch = globalThis.fetch
const countingFetch = async (url, options) => {
  const response = await plainFetch(url, options)
  statuses.push(response.status)
  return response
}

// What a user does in a browser: opens the page, clicks on Approve, is sent back.
async function approve(url) {
  const page = await (await plainFetch(url)).text()
  const request = page.match(/name="request" value="([^"]+)"/)[1]
  const action = new URL(page.match(/action="([^"]+)"/)[1], url)
  const body = new URLSearchParams({ request, decision: 'approve' })
  const answer = await plainFetch(action, { method: 'POST', body, redirect: 'manual' })
  return new URL(answer.headers.get('location'))
}

async function retried(send, isNonceError) {
  try {
    return await send()
  } catch (error) {
    if (!isNonceError(error)) throw error
    return await send()
  }
}

async function withOauth4webapi() {
  const insecure = { [oauth.allowInsecureRequests]: true }
  const options = { ...insecure, [oauth.customFetch]: countingFetch }
  const resource = await oauth
    .resourceDiscoveryRequest(new URL(origin), insecure)
    .then((response) => oauth.processResourceDiscoveryResponse(new URL(origin), response))
  const issuer = new URL(resource.authorization_servers[0])
  const server = await oauth
    .discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' })
    .then((response) => oauth.processDiscoveryResponse(issuer, response))

  const client = { client_id: clientId }
  const key = await oauth.generateKeyPair('ES256')
  const dpop = oauth.DPoP(client, key)
  const atApi = oauth.DPoP(client, key)
  const jkt = await dpop.calculateThumbprint()
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()

  const url = new URL(server.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: clientId,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    dpop_jkt: jkt,
  })
  const parameters = oauth.validateAuthResponse(server, client, await approve(url), state)

  const isNonceError = oauth.isDPoPNonceError
  const redeem = async () => {
    const response = await oauth.authorizationCodeGrantRequest(
      server,
      client,
      oauth.None(),
      parameters,
      redirectUri,
      verifier,
      { ...options, DPoP: dpop },
    )
    return oauth.processAuthorizationCodeResponse(server, client, response)
  }
  const call = (token) =>
    retried(async () => {
      const response = await oauth.protectedResourceRequest(
        token,
        'GET',
        new URL('/api/orders', origin),
        undefined,
        null,
        { ...options, DPoP: atApi },
      )
      return response.json()
    }, isNonceError)

  const granted = await retried(redeem, isNonceError)
  const first = await call(granted.access_token)
  const refreshed = await retried(async () => {
    const response = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), granted.refresh_token, {
      ...options,
      DPoP: dpop,
    })
    return oauth.processRefreshTokenResponse(server, client, response)
  }, isNonceError)
  const second = await call(refreshed.access_token)
  return {
    client: 'oauth4webapi',
    jkt,
    rotated: refreshed.refresh_token !== granted.refresh_token,
    seen: [first, second],
  }
}

async function withOpenidClient() {
  const config = await openid.discovery(new URL(origin), clientId, undefined, openid.None(), {
    algorithm: 'oauth2',
    execute: [openid.allowInsecureRequests],
  })
  config[openid.customFetch] = countingFetch
  const key = await openid.randomDPoPKeyPair('ES256')
  const DPoP = openid.getDPoPHandle(config, key)
  const atApi = { DPoP: openid.getDPoPHandle(config, key) }
  const jkt = await DPoP.calculateThumbprint()
  const pkceCodeVerifier = openid.randomPKCECodeVerifier()
  const expectedState = openid.randomState()

  const url = openid.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope,
    state: expectedState,
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    dpop_jkt: jkt,
  })
  // This client retries by itself when a nonce is demanded.
  const granted = await openid.authorizationCodeGrant(
    config,
    await approve(url),
    { pkceCodeVerifier, expectedState },
    undefined,
    { DPoP },
  )
  const call = async (token) => {
    const response = await openid.fetchProtectedResource(
      config,
      token,
      new URL('/api/orders', origin),
      'GET',
      undefined,
      undefined,
      atApi,
    )
    return response.json()
  }
  const first = await call(granted.access_token)
  const refreshed = await openid.refreshTokenGrant(config, granted.refresh_token, undefined, { DPoP })
  const second = await call(refreshed.access_token)
  return {
    client: 'openid-client',
    jkt,
    rotated: refreshed.refresh_token !== granted.refresh_token,
    seen: [first, second],
  }
}

for (const run of [withOauth4webapi, withOpenidClient]) {
  statuses = []
  const result = await run()
  console.log(JSON.stringify({ ...result, statuses }))
}
