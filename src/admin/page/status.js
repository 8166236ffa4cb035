// Draws /status.json again and again. What cannot be reached is said to be so, and asked again.

const EVERY_MS = 2000;
const PATIENCE_MS = 5000;
/** Bars of the chart: ten minutes of ten seconds each. */
const BARS = 60;
const OUTCOMES = [
  ['allowed', 'allowed'],
  ['challenged', 'asked for a nonce'],
  ['reported', 'let through in report mode'],
  ['refused', 'refused'],
  ['failed', 'upstream failed'],
  ['answered', 'answered by the gate'],
];
/** Answered by asking for a nonce. */
const CHALLENGES = ['nonce_missing', 'nonce_invalid'];
const STATES = {
  ready: 'Ready',
  no_keys: 'Not ready: an issuer has no keys',
  no_store: 'Not ready: the replay store has not been reached',
  draining: 'Draining',
};

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; text is only ever text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function drawn(name, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** A time span, roughly. */
function span(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

const count = (number) => number.toLocaleString('en');
const words = (name) => name.replaceAll('_', ' ');
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

function table(columns, rows, nothing) {
  if (rows.length === 0) return make('p', { class: 'quiet' }, nothing);
  const numeric = (index) => (columns[index].startsWith('#') ? { class: 'number' } : {});
  const head = columns.map((column, index) =>
    make('th', { scope: 'col', ...numeric(index) }, column.replace('#', '')));
  const body = rows.map((row) => make('tr', {}, ...row.map((cell, index) => make('td', numeric(index), cell))));
  return make('table', {}, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...body));
}

function facts(place, rows) {
  byId(place).replaceChildren(
    ...rows.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value))));
}

const mark = (kind, text) => make('span', { class: kind }, text);

/** Whoever is only asked for a nonce is about to come back with one: not a refusal to worry about. */
function partChallenges(counted) {
  // Counted one after the other while requests end: the parts of a short time may not quite fit.
  const { refused = 0 } = counted.outcomes;
  const challenged = Math.min(counted.challenges ?? 0, refused);
  counted.outcomes = { ...counted.outcomes, challenged, refused: refused - challenged };
}

/** Sums one kind of counts over stretches of time. */
function sum(history, kind) {
  const sums = {};
  for (const stretch of history) {
    for (const [name, number] of Object.entries(stretch[kind])) sums[name] = (sums[name] ?? 0) + number;
  }
  return sums;
}

function figures({ history, step, connections, totals, started, now }) {
  const whole = history.slice(0, -1).slice(-6);
  const recent = whole.length > 0 ? whole : history;
  const time = whole.length > 0 ? whole.length * step : Math.max(1, now - started);
  const outcomes = sum(recent, 'outcomes');
  const all = Object.values(outcomes).reduce((a, b) => a + b, 0);
  const rate = all / time;
  const share = (name) => (all === 0 ? '–' : `${(((outcomes[name] ?? 0) / all) * 100).toFixed(1)} %`);
  const since = Object.values(totals.outcomes).reduce((a, b) => a + b, 0);
  facts('figures', [
    [`Requests a second, over ${span(time)}`, rate >= 10 ? count(Math.round(rate)) : rate.toFixed(1)],
    ['Of these refused', share('refused')],
    ['Upstream failed', share('failed')],
    ['Open connections', count(connections)],
    ['Requests since start', count(since)],
  ]);
}

function chart({ history, step }) {
  const totals = history.map(({ outcomes }) => Object.values(outcomes).reduce((a, b) => a + b, 0));
  const peak = Math.max(1, ...totals);
  const picture = drawn('svg', {
    viewBox: `0 0 ${BARS * 10} 100`, preserveAspectRatio: 'none', role: 'img',
    'aria-label': `Requests in each ${step} seconds of the last ten minutes; at most ${count(peak)}`,
  });
  picture.append(drawn('line', { x1: 0, x2: BARS * 10, y1: 99.5, y2: 99.5 }));
  history.forEach(({ outcomes }, index) => {
    const left = (BARS - history.length + index) * 10 + 1;
    let top = 99;
    for (const [name] of OUTCOMES) {
      const height = ((outcomes[name] ?? 0) / peak) * 95;
      if (height === 0) continue;
      // What happened at all can be seen.
      const shown = Math.max(height, 1.5);
      top -= shown;
      picture.append(drawn('rect', { class: name, x: left, y: Math.max(0, top), width: 8, height: shown }));
    }
  });
  const axis = make('div', { class: 'axis', 'aria-hidden': 'true' },
    make('span', {}, '10 min ago'), make('span', {}, `peak: ${count(peak)} in ${step} s`), make('span', {}, 'now'));
  byId('chart').replaceChildren(picture, axis);
  const sums = sum(history, 'outcomes');
  byId('legend').replaceChildren(...OUTCOMES.filter(([name]) => sums[name]).map(([name, text]) =>
    make('span', { class: name }, `${text} ${count(sums[name])}`)));
}

function reasons({ history, totals }) {
  const recent = sum(history, 'reasons');
  const rows = Object.entries(totals.reasons).map(([reason, all]) => [reason, recent[reason] ?? 0, all])
    .sort((a, b) => b[1] - a[1] || b[2] - a[2])
    .map(([reason, last, all]) => [words(reason), count(last), count(all)]);
  byId('reasons').replaceChildren(table(['Reason', '#Last 10 min', '#Since start'], rows, 'None so far.'));
}

function latest({ refusals }) {
  const rows = refusals.map(({ at, route, reason, status, jkt }) => [
    clock(at), CHALLENGES.includes(reason) ? mark('quiet', words(reason)) : words(reason), `${status}`, route ?? mark('quiet', 'none'),
    jkt ? make('code', {}, `${jkt}…`) : mark('quiet', '–'),
  ]);
  byId('latest').replaceChildren(table(['Time', 'Reason', 'Status', 'Route', 'Key named'], rows, 'None so far.'));
}

function routes({ routes }) {
  const rows = routes.map(({ label, matches, upstream, auth, mode }) => [
    label, make('code', {}, matches), words(auth),
    mode === 'report' ? mark('warn', 'report: nothing is refused') : mode, upstream || mark('quiet', '–'),
  ]);
  byId('routes').replaceChildren(table(['Route', 'Matches', 'Auth', 'Mode', 'Upstream'], rows, 'None.'));
}

function upstreams({ upstreams }) {
  const rows = upstreams.flatMap(({ name, endpoints }) => endpoints.map(({ url, healthy, in_flight: flying }) => [
    name, make('code', {}, url), healthy ? mark('good', 'healthy') : mark('bad', 'not healthy'), count(flying),
  ]));
  byId('upstreams').replaceChildren(table(['Upstream', 'Address', 'Health', '#In flight'], rows, 'None.'));
}

function issuers({ issuers, now }) {
  const rows = issuers.map(({ issuer, keys, refreshed }) => {
    if (keys === null) return [issuer, 'by introspection', ''];
    const age = refreshed === null ? mark('bad', 'never') : `${span(now - refreshed)} ago`;
    return [issuer, keys === 0 ? mark('bad', 'none') : count(keys), age];
  });
  byId('issuers').replaceChildren(table(['Issuer', 'Keys', 'Fetched'], rows, 'None.'));
}

function proofs({ nonces, replay }) {
  const held = make('meter', { min: 0, max: replay.capacity, value: replay.entries, high: replay.capacity * 0.9,
    'aria-label': 'Share of the replay memory in use' });
  const rows = [
    ['Nonces', nonces ? `required, for ${span(nonces.lifetime)}` : mark('warn', 'off')],
    ['Proofs remembered', `${count(replay.entries)} of ${count(replay.capacity)}`],
    ['Memory in use', held],
  ];
  if (nonces?.rotating) rows.splice(1, 0, ['Nonce secret', 'the previous one is still accepted']);
  if (replay.shared) {
    const { address, error, meanwhile } = replay.shared;
    rows.push(['Shared store', error ? mark('bad', `${error}; ${meanwhile}`) : mark('good', address)]);
  }
  facts('proofs', rows);
}

function draw(status) {
  [status.totals, ...status.history].forEach(partChallenges);
  byId('version').textContent = status.version;
  byId('uptime').textContent = `Up for ${span(status.now - status.started)}`;
  for (const part of [figures, chart, reasons, latest, routes, upstreams, issuers, proofs]) part(status);
  byId('main').hidden = false;
}

/** Said only when it changes: the state is announced to screen readers. */
function say(state, text) {
  const place = byId('state');
  if (place.textContent !== text) place.textContent = text;
  place.dataset.state = state;
  document.body.toggleAttribute('data-stale', state === 'gone');
}

async function ask() {
  try {
    const reply = await fetch('/status.json', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    const status = await reply.json();
    draw(status);
    say(status.readiness, STATES[status.readiness] ?? words(status.readiness));
  } catch {
    say('gone', 'The gate does not answer; asking again');
  }
  setTimeout(ask, EVERY_MS);
}

ask();
