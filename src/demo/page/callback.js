// Hands the authorization response to the page that waits for it. Only pages of this origin can hear it.

const channel = new BroadcastChannel('dpop-gate-demo')
channel.postMessage(location.search)
// The code is of no use to anybody without the verifier and the key; still it does not stay in the address bar.
history.replaceState(null, '', location.pathname)
window.close()
