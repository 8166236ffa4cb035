// What the standard says where the gate refuses.

const SECTIONS = {
  replay: [
    'RFC 9449, section 11.1',
    'DPoP Proof Replay',
    'A proof is good once: the server remembers its jti for as long as the proof would be accepted. A copied request is worth nothing.',
  ],
  stolen: [
    'RFC 9449, sections 4.3 (check 12) and 7.1',
    'The key of the token',
    'The key that the token is bound to (cnf.jkt) has to be the key that signed the proof. A thief has the token, but signs with another key.',
  ],
  method: [
    'RFC 9449, section 4.3 (check 8)',
    'htm',
    'The htm claim has to be the method of the request. A proof for reading cannot be used to write.',
  ],
  bearer: [
    'RFC 9449, section 7.2',
    'Compatibility with the Bearer Authentication Scheme',
    'A bound token under the Bearer scheme has to be refused. Otherwise leaving the proof out would be the way around it.',
  ],
  expired: [
    'RFC 9449, section 9',
    'Resource Server-Provided Nonce',
    'A nonce limits how long ago a proof can have been made. With an old one the server answers use_dpop_nonce and supplies another.',
  ],
  nonce: [
    'RFC 9449, sections 8 and 9',
    'Server-Provided Nonces',
    'The server chooses a value that goes into the proof, so that nobody can make proofs ahead of time. Each server has its own.',
  ],
  invalid_token: [
    'RFC 6750, section 3.1',
    'invalid_token',
    'The token is expired, or of an authorization server that is gone. Run the flow again.',
  ],
}

/** Section, title and meaning for a refusal in that scene. */
export function sectionFor(scene, error) {
  if (SECTIONS[scene]) return SECTIONS[scene]
  return SECTIONS[error === 'use_dpop_nonce' ? 'nonce' : error] ?? ['RFC 9449, section 7.1', 'Refusals', '']
}
