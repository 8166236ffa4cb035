// What each button does: real requests, in order, told to a scene as they happen.

import { makeKey, makePkce, makeProof, random, send, tryToExport } from './client.js'

const CLIENT = 'demo-app'
const SCOPE = 'orders.read'
const API = '/api/orders'
/** A proof is taken for 60 s; a replay is of one that is younger. */
const REPLAYABLE_MS = 40_000
const EXPIRES_SOON_MS = 15_000

/** The gate did not answer. */
export class Unreachable extends Error {}

/** The story ended otherwise than it should. */
export class Stopped extends Error {}

/** Key, tokens and nonces: all that this client knows. Gone with the page. */
export class Session {
  key = null
  token = null
  refreshToken = null
  expires = 0
  /** RFC 9449 section 9: "a nonce issued by any of them should be used only at the issuing server". */
  nonces = { token: null, api: null }
  /** The last request that the API answered. */
  accepted = null

  constructor(origin) {
    this.origin = origin
  }

  url(path) {
    return new URL(path, this.origin).href
  }
}

/** From nothing to an answer. */
export async function flow(session, scene) {
  // What an earlier flow left is of another key.
  Object.assign(session, { nonces: { token: null, api: null }, token: null, refreshToken: null, accepted: null })
  session.key = await makeKey()
  const exported = await tryToExport(session.key)
  scene.note({
    number: 1,
    label: 'makes a key pair that cannot be exported',
    detail: { kind: 'key', key: session.key, exported },
  })
  await scene.pause()
  const { code, verifier } = await authorize(session, scene)
  const form = {
    grant_type: 'authorization_code',
    client_id: CLIENT,
    code,
    redirect_uri: session.url('/callback'),
    code_verifier: verifier,
  }
  await getToken(session, scene, form, [2, 3, 4, 5, 6])
  await callUntilAnswered(session, scene, { request: 7, response: 8 })
  return scene.accepted()
}

/** Once more, with a proof of its own. */
export async function again(session, scene) {
  await ready(session, scene)
  await callUntilAnswered(session, scene)
  return scene.accepted()
}

/** The last request, byte for byte. */
export async function replay(session, scene) {
  await ready(session, scene)
  if (!session.accepted || Date.now() - session.accepted.sent > REPLAYABLE_MS) {
    await callUntilAnswered(session, scene)
  }
  await exchange(scene, session.accepted.request, 'api', 'the same request once more, proof and all')
  return scene.refused()
}

/** A thief has the token, and a key of his own. */
export async function stolen(session, scene) {
  await ready(session, scene)
  const thief = await makeKey()
  scene.note({ label: 'a thief makes a key of his own', detail: { kind: 'key', key: thief } })
  await scene.pause()
  const nonce = await apiNonce(session, scene)
  const request = await apiRequest(session, { key: thief, nonce })
  await exchange(scene, request, 'api', 'your token, with a proof by the thief’s key')
  return scene.refused()
}

/** A proof for GET, sent with POST. */
export async function method(session, scene) {
  await ready(session, scene)
  const nonce = await apiNonce(session, scene)
  const request = await apiRequest(session, { nonce })
  await exchange(scene, { ...request, method: 'POST' }, 'api', 'POST, with a proof that was made for GET')
  return scene.refused()
}

/** As if it were a bearer token. */
export async function bearer(session, scene) {
  await ready(session, scene)
  const request = { method: 'GET', url: session.url(API), headers: { Authorization: `Bearer ${session.token}` } }
  await exchange(scene, request, 'api', 'the token alone, as Bearer')
  return scene.refused()
}

/** A nonce past its lifetime, and how a client mends itself. */
export async function expired(session, scene) {
  await ready(session, scene)
  const got = await send({ method: 'GET', url: session.url('/page/stale-nonce'), headers: {} })
  if (got.unreachable) throw new Unreachable()
  const { nonce, age_seconds: age, lifetime_seconds: lifetime } = got.response.json
  scene.note({
    label: `has a nonce that is ${age} s old; its life is ${lifetime} s`,
    detail: { kind: 'nonce', nonce, age, lifetime },
  })
  await scene.pause()
  const late = await exchange(scene, await apiRequest(session, { nonce }), 'api', 'a call with that nonce')
  remember(session, 'api', late)
  const outcome = scene.refused()
  if (late.response.status === 401) await callUntilAnswered(session, scene)
  return outcome
}

/** RFC 6749 section 4.1.1, in a window of its own where the user approves. */
async function authorize(session, scene) {
  const { verifier, challenge } = await makePkce()
  const state = random()
  const metadata = await send({
    method: 'GET',
    url: session.url('/.well-known/oauth-authorization-server'),
    headers: {},
  })
  if (metadata.unreachable) throw new Unreachable()
  const issuer = metadata.response.json?.issuer
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: CLIENT,
    redirect_uri: session.url('/callback'),
    scope: SCOPE,
    state,
    code_challenge: challenge,
    code_challenge_method: 'S256',
    dpop_jkt: session.key.thumbprint,
  })
  const url = `${session.url('/authorize')}?${query}`
  const visit = { request: { method: 'GET', url, headers: {} }, visit: true }
  const row = scene.arrow({ to: 'issuer', label: 'you are asked to approve, in another window', exchange: visit })
  row.settle({ to: 'issuer', fate: 'open' })
  const answer = new URLSearchParams(await scene.consent(url))
  visit.answer = Object.fromEntries(answer)
  // RFC 6749 section 10.12, RFC 9207 section 2.4.
  const ours = answer.get('state') === state && answer.get('iss') === issuer
  const code = ours ? answer.get('code') : null
  const label = code
    ? 'a code: worthless without verifier and key'
    : `no code: ${answer.get('error') ?? 'not our answer'}`
  scene.arrow({ from: 'issuer', to: 'client', label, tone: code ? 'good' : 'bad', exchange: visit })
  if (!code)
    throw new Stopped(`There is no code: ${answer.get('error_description') ?? 'the answer was not for this page'}.`)
  await scene.pause()
  return { code, verifier }
}

/** RFC 9449 section 5; where a nonce is demanded (section 8), once more with it. */
async function getToken(session, scene, form, numbers = []) {
  const [ask, challenged, sign, askAgain, granted] = numbers
  const request = async () => {
    const url = session.url('/token')
    const proof = await makeProof(session.key, { method: 'POST', url, nonce: session.nonces.token })
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded', DPoP: proof }
    return { method: 'POST', url, headers, body: new URLSearchParams(form), key: session.key.thumbprint }
  }
  const what = form.grant_type === 'refresh_token' ? 'a new token, please' : 'a token for the code, please'
  let got = await exchange(scene, await request(), 'issuer', `${what}: with a proof`, {
    request: ask,
    response: challenged,
  })
  remember(session, 'token', got)
  if (got.response.json?.error === 'use_dpop_nonce') {
    scene.note({
      number: sign,
      label: 'signs a new proof, with the nonce in it',
      detail: { kind: 'signed', exchange: got },
    })
    await scene.pause()
    got = await exchange(scene, await request(), 'issuer', `${what}: proof with nonce`, {
      request: askAgain,
      response: granted,
    })
    remember(session, 'token', got)
  }
  if (got.response.status !== 200) throw new Stopped(`There is no token: ${got.response.json?.error_description}.`)
  const { access_token: token, refresh_token: refreshToken, expires_in: seconds } = got.response.json
  Object.assign(session, { token, refreshToken, expires: Date.now() + seconds * 1000 })
}

/** A token that lasts long enough: a refreshed one, where it does not. */
async function ready(session, scene) {
  if (session.expires - Date.now() > EXPIRES_SOON_MS) return
  const form = { grant_type: 'refresh_token', client_id: CLIENT, refresh_token: session.refreshToken }
  await getToken(session, scene, form)
  session.accepted = null
}

async function apiRequest(session, { key = session.key, nonce = session.nonces.api } = {}) {
  const url = session.url(API)
  const proof = await makeProof(key, { method: 'GET', url, nonce, token: session.token })
  return { method: 'GET', url, headers: { Authorization: `DPoP ${session.token}`, DPoP: proof }, key: key.thumbprint }
}

/** A good call; challenged, it is made once more with the nonce (RFC 9449 section 9). */
async function callUntilAnswered(session, scene, numbers = {}) {
  let call = await exchange(
    scene,
    await apiRequest(session),
    'api',
    'calls the API: token, and a proof for this request',
    {
      request: numbers.request,
    },
  )
  remember(session, 'api', call)
  if (call.response.json?.error === 'use_dpop_nonce') {
    call = await exchange(scene, await apiRequest(session), 'api', 'the call again, with the gate’s nonce', {
      response: numbers.response,
    })
    remember(session, 'api', call)
  }
  if (call.response.status !== 200)
    throw new Stopped(`The API did not answer: ${call.response.json?.error_description}.`)
  session.accepted = call
}

/** The nonce of an earlier answer; a good call gets one where there is none. */
async function apiNonce(session, scene) {
  if (!session.nonces.api) await callUntilAnswered(session, scene)
  return session.nonces.api
}

function remember(session, server, exchange) {
  session.nonces[server] = exchange.response.headers['dpop-nonce'] ?? session.nonces[server]
}

/** Sends, and draws both arrows: how far the request came, and what came back from there. */
async function exchange(scene, request, to, label, numbers = {}) {
  const pending = { request }
  const row = scene.arrow({ to: 'gate', label, number: numbers.request, exchange: pending })
  const got = Object.assign(pending, await send(request))
  if (got.unreachable) {
    row.settle({ to: 'gate', fate: 'lost' })
    throw new Unreachable()
  }
  const { status, json } = got.response
  const error = json?.error
  const challenged = error === 'use_dpop_nonce'
  // The API answers whatever reaches it; the authorization server has its own refusals, but none about proofs.
  const byGate = status >= 400 && (to === 'api' || challenged || error === 'invalid_dpop_proof' || status >= 500)
  row.settle(byGate ? { to: 'gate', fate: challenged ? 'challenged' : 'refused' } : { to, fate: 'passed' })
  await scene.pause()
  const tone = status < 400 ? 'good' : challenged ? 'challenge' : 'bad'
  const answer = { from: byGate ? 'gate' : to, to: 'client', label: answerLabel(got, to), tone, exchange: got }
  scene.arrow({ ...answer, number: numbers.response })
  await scene.pause()
  return got
}

function answerLabel({ response }, to) {
  const { status, json } = response
  if (json?.error) return `${status} ${json.error}${json.error === 'use_dpop_nonce' ? ', and a nonce' : ''}`
  if (to === 'issuer') return `${status}, a token bound to the key`
  return `${status}, ${json?.message?.split('.')[0] ?? 'an answer'}`
}
