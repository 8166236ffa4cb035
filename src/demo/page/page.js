// The page: buttons, scenes, and whether the gate can be reached.

import { element } from './details.js'
import { Scene } from './scene.js'
import { Session, Stopped, Unreachable, again, bearer, expired, flow, method, replay, stolen } from './stories.js'

const STORIES = {
  flow: ['From nothing to an answer', flow],
  again: ['The API once more', again],
  replay: ['The last request, replayed', replay],
  stolen: ['A stolen token', stolen],
  method: ['Another method', method],
  bearer: ['Without a proof, as Bearer', bearer],
  expired: ['A nonce that has expired', expired],
}
/** Older ones are taken off the page. */
const MAX_SCENES = 10
/** How often the gate is asked whether it is there: seldom, for it logs each request. */
const PROBE_MS = { yes: 20_000, no: 2_000 }

const session = new Session(location.origin)
const status = document.getElementById('status')
const scenes = document.getElementById('scenes')
const reach = document.getElementById('reach')
let busy = false

for (const [id, [title, tell]] of Object.entries(STORIES)) {
  document.getElementById(id).addEventListener('click', () => play(id, title, tell))
}
probe()
if (!isSecureContext) {
  document.getElementById('flow').disabled = true
  say(
    'Browsers make keys on localhost or over https only. Open this page on the machine that the demo runs on, or through a tunnel.',
  )
}

async function play(id, title, tell) {
  if (busy) return
  busy = true
  enable()
  const scene = new Scene(id, title, consent)
  if (id === 'flow') scenes.replaceChildren()
  scenes.prepend(scene.element)
  while (scenes.children.length > MAX_SCENES) scenes.lastElementChild.remove()
  say(`${title} …`)
  try {
    say(await tell(session, scene))
    seen(true)
  } catch (error) {
    failed(scene, error)
  } finally {
    busy = false
    enable()
  }
}

function failed(scene, error) {
  if (error instanceof Unreachable) {
    seen(false)
    const reason = 'The gate does not answer. This page keeps asking, and says when it is back.'
    scene.failed(reason)
    say(reason)
    return
  }
  const reason = error instanceof Stopped ? error.message : `This page failed: ${error.message}`
  scene.failed(reason)
  say(reason)
}

/** Every button but the first needs a token. */
function enable() {
  for (const id of Object.keys(STORIES)) {
    document.getElementById(id).disabled = busy || (id !== 'flow' && !session.token)
  }
}

function say(text) {
  status.textContent = text
}

/** Shows the consent page in a window of its own; resolves to the query of the answer. */
function consent(url) {
  return new Promise((resolve, reject) => {
    const channel = new BroadcastChannel('dpop-gate-demo')
    const opened = window.open(url, 'dpop-gate-consent', 'popup,width=520,height=640')
    const link = element('a', { href: url, target: '_blank', rel: 'noopener', id: 'consent' }, 'Open the consent page')
    status.replaceChildren('Waiting for alice to approve in the other window. ', opened ? '' : link)
    const watch = setInterval(() => {
      if (opened?.closed) end(() => reject(new Stopped('The window was closed before anybody decided.')), 500)
    }, 400)
    // An answer that is on its way when the window closes still counts.
    const end = (then, wait) => {
      clearInterval(watch)
      setTimeout(() => {
        channel.close()
        then()
      }, wait)
    }
    channel.onmessage = ({ data }) => {
      say('Approved. On with it …')
      end(() => resolve(data), 0)
    }
  })
}

/** Asks for the one document that the gate answers by itself. */
async function probe() {
  try {
    const answer = await fetch('/.well-known/oauth-protected-resource', { cache: 'no-store' })
    seen(answer.ok)
  } catch {
    seen(false)
  }
  setTimeout(probe, PROBE_MS[reach.dataset.reach])
}

function seen(isThere) {
  const before = reach.dataset.reach
  const now = isThere ? 'yes' : 'no'
  if (before === now) return
  reach.dataset.reach = now
  reach.lastElementChild.textContent = isThere ? 'The gate answers' : 'The gate does not answer'
  if (busy) return
  if (!isThere) say('The gate cannot be reached. Is the demo still running? This page keeps asking.')
  if (isThere && before === 'no')
    say('The gate is back. If the demo was started anew, run the flow again: its keys are new.')
}
