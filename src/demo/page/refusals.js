// What the standard says where the gate refuses.

/** Scene by scene: the error that belongs to it, the section, its title and its meaning. */
const SCENES = {
  replay: [
    'invalid_dpop_proof',
    'RFC 9449, section 11.1',
    'DPoP Proof Replay',
    'A proof is good once: the server remembers its jti for as long as the proof would be accepted. ' +
      'A copied request is worth nothing.',
  ],
  stolen: [
    'invalid_token',
    'RFC 9449, sections 4.3 (check 12) and 7.1',
    'The key of the token',
    'The key that the token is bound to (cnf.jkt) has to be the key that signed the proof. ' +
      'A thief has the token, but signs with another key.',
  ],
  method: [
    'invalid_dpop_proof',
    'RFC 9449, section 4.3 (check 8)',
    'htm',
    'The htm claim has to be the method of the request. A proof for reading cannot be used to write.',
  ],
  bearer: [
    'invalid_token',
    'RFC 9449, section 7.2',
    'Compatibility with the Bearer Authentication Scheme',
    'A bound token under the Bearer scheme has to be refused. ' +
      'Otherwise leaving the proof out would be the way around it.',
  ],
  expired: [
    'use_dpop_nonce',
    'RFC 9449, section 9',
    'Resource Server-Provided Nonce',
    'A nonce limits how long ago a proof can have been made. ' +
      'With an old one the server answers use_dpop_nonce and supplies another.',
  ],
}
/** Where something else went wrong. */
const ERRORS = {
  use_dpop_nonce: [
    'RFC 9449, section 9',
    'Resource Server-Provided Nonce',
    'The nonce is not one of this gate’s, or too old. It supplied another: try again.',
  ],
  invalid_token: [
    'RFC 9449, section 7.1',
    'invalid_token',
    'The token is expired, or of an authorization server that is gone. Run the flow again.',
  ],
  invalid_dpop_proof: ['RFC 9449, section 7.1', 'invalid_dpop_proof', 'The proof was refused for another reason.'],
}

/** Section, title and meaning for a refusal in that scene. */
export function sectionFor(scene, error) {
  const [expected, ...section] = SCENES[scene] ?? []
  return expected === error
    ? section
    : (ERRORS[error] ?? ['RFC 9110, section 15', 'Status codes', 'It failed otherwise.'])
}
