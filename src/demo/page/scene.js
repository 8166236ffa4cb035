// One story on the page: its diagram, what a row opens to, and how it ended.

import { detailsOf, element } from './details.js'
import { Diagram } from './diagram.js'
import { sectionFor } from './refusals.js'

/** Between two arrows, so that eyes can follow. */
const PACE_MS = matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : 240

export class Scene {
  #diagram
  #panel = element('div', { class: 'panel', 'aria-label': 'Details', role: 'region' })
  #verdict = element('div', { class: 'verdict' })
  #last = null

  /** `consent` opens a page for the user and resolves to the query that came back. */
  constructor(id, title, consent) {
    this.id = id
    this.consent = consent
    this.#diagram = new Diagram(title, (row) => this.#open(row))
    const drawn = element('div', { class: 'drawn' }, this.#diagram.element, this.#verdict)
    const told = element('div', { class: 'told' }, this.#panel)
    const heading = element('h2', {}, title)
    this.element = element('section', { class: 'scene', 'data-scene': id, 'data-outcome': 'running' }, heading)
    this.element.append(element('div', { class: 'columns' }, drawn, told))
  }

  /** Something that the client does by itself. */
  note(row) {
    this.#add({ ...row, note: true })
  }

  /** A message. `settle` says later how far it came. */
  arrow(row) {
    const added = this.#add({ from: 'client', to: 'gate', ...row })
    return {
      settle: (fate) => {
        Object.assign(added, fate)
        this.#diagram.redraw()
        this.#open(added)
      },
    }
  }

  pause() {
    return new Promise((resolve) => setTimeout(resolve, PACE_MS))
  }

  /** The API answered. */
  accepted() {
    const { response } = this.#last
    this.#end('accepted', [
      element('h3', {}, `${response.status}: the API answered`),
      element('p', {}, response.json?.message ?? ''),
    ])
    return 'The API answered.'
  }

  /** It should have been refused; the last response says whether it was. */
  refused() {
    const { response } = this.#last
    if (response.status < 400) {
      this.#end('let-through', [element('h3', {}, `${response.status}: it was let through, which is a bug`)])
      return 'It was let through.'
    }
    const { error, error_description: description } = response.json ?? {}
    const [section, title, meaning] = sectionFor(this.id, error)
    const challenge = response.headers['www-authenticate']
    const field = (name, value) => [
      element('dt', {}, name),
      element('dd', { 'data-field': name }, element('code', {}, value)),
    ]
    const words = element('dl', {}, ...field('error', error), ...field('error_description', description))
    const gates = element('div', {}, element('h4', {}, 'The gate says'), words)
    const meant = element('p', {}, element('b', {}, title), element('br'), meaning)
    const standard = element('div', { 'data-field': 'rfc' }, element('h4', {}, section), meant)
    this.#end(error === 'use_dpop_nonce' ? 'challenged' : 'refused', [
      element('h3', {}, `${response.status}: refused by the gate`),
      element('div', { class: 'beside' }, gates, standard),
      element('dl', { class: 'challenge' }, ...field('WWW-Authenticate', challenge)),
    ])
    return `Refused with ${response.status} ${error}: ${description?.replace(/\.$/, '')}.`
  }

  /** It did not come to its end. */
  failed(reason) {
    this.#end('failed', [element('h3', {}, 'It went no further'), element('p', {}, reason)])
  }

  #end(outcome, content) {
    this.element.dataset.outcome = outcome
    this.#verdict.className = `verdict ${outcome}`
    this.#verdict.replaceChildren(...content)
  }

  #add(row) {
    if (row.from && row.from !== 'client') this.#last = row.exchange
    this.#diagram.add(row)
    this.#open(row)
    return row
  }

  #open(row) {
    this.#panel.replaceChildren(...detailsOf(row))
  }
}
