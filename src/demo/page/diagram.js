// The sequence diagram: four lifelines, and a row for everything that happens. Drawn at the width there is, so that it
// can be read on a phone.

const LANES = [
  { id: 'client', name: ['This', 'browser'] },
  { id: 'gate', name: ['Gate'] },
  { id: 'issuer', name: ['Authorization', 'server'] },
  { id: 'api', name: ['Legacy', 'API'] },
]
const HEAD = 58
const LINE = 17
const NAMES = Object.fromEntries(LANES.map(({ id, name }) => [id, name.join(' ')]))
/** What stands on the gate's line: shapes, so that nothing depends on colour. */
const MARKS = {
  passed: ['M-4 0.3 L-1.3 3 L4 -3', 'checked by the gate, and passed on'],
  refused: ['M-3 -3 L3 3 M3 -3 L-3 3', 'refused by the gate'],
  challenged: ['M0 -4.2 L0 1 M0 3.8 L0 4', 'challenged by the gate'],
  lost: ['M-3 -3 L3 3 M3 -3 L-3 3', 'not answered'],
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...children)
  return element
}

export class Diagram {
  #rows = []
  #select
  #selected = null
  #width = 0

  /** `select` is told which row somebody opens. */
  constructor(title, select) {
    this.#select = select
    this.element = svg('svg', { class: 'diagram', role: 'group', 'aria-label': `Sequence diagram: ${title}` })
    new ResizeObserver(() => {
      if (Math.abs(this.#measure() - this.#width) > 1) this.#draw()
    }).observe(this.element)
  }

  add(row) {
    this.#rows.push(row)
    this.select(row)
  }

  select(row) {
    this.#selected = row
    this.#draw()
  }

  /** A row has changed. */
  redraw() {
    this.#draw()
  }

  #measure() {
    return this.element.getBoundingClientRect().width
  }

  #draw() {
    this.#width = this.#measure() || 600
    const lanes = this.#lanes()
    const focused = this.#rows.find((row) => row.node && row.node === document.activeElement)
    let y = HEAD + 6
    const nodes = this.#rows.map((row) => {
      const lines = wrap(row.label, this.#width - lanes.client - 30)
      const height = 24 + LINE * lines.length
      const node = this.#row(row, lanes, lines, y, height)
      y += height + 4
      return node
    })
    this.element.replaceChildren(...this.#lifelines(lanes, y + 8), ...nodes)
    this.element.setAttribute('height', y + 10)
    focused?.node.focus()
  }

  #lanes() {
    const pad = Math.max(42, Math.min(90, this.#width * 0.11))
    const gap = (this.#width - 2 * pad) / (LANES.length - 1)
    return Object.fromEntries(LANES.map(({ id }, index) => [id, Math.round(pad + index * gap)]))
  }

  #lifelines(lanes, bottom) {
    return LANES.map(({ id, name }) => {
      const x = lanes[id]
      const top = name.length === 1 ? 30 : 22
      const lines = name.map((line, index) => svg('text', { x, y: top + index * 15, class: 'lane-name' }, line))
      return svg('g', { class: `lane ${id}` }, ...lines, svg('line', { x1: x, x2: x, y1: HEAD - 12, y2: bottom }))
    })
  }

  #row(row, lanes, lines, y, height) {
    const isSelected = row === this.#selected
    const classes = ['row', row.tone ?? 'plain', isSelected && 'selected', !row.seen && 'new'].filter(Boolean).join(' ')
    row.seen = true
    const node = svg('g', {
      class: classes,
      role: 'button',
      tabindex: 0,
      'aria-pressed': isSelected,
      'aria-label': describe(row),
    })
    node.append(svg('rect', { class: 'hit', x: 2, y, width: this.#width - 4, height, rx: 8 }))
    const at = y + height - 11
    node.append(...(row.note ? loop(lanes.client, at) : arrow(row, lanes, at)))
    if (row.fate && row.fate !== 'open') node.append(mark(row.fate, lanes.gate, at))
    if (row.number) {
      node.append(
        svg('circle', { class: 'badge', cx: lanes.client, cy: at, r: 10 }),
        svg('text', { class: 'badge-text', x: lanes.client, y: at + 4 }, String(row.number)),
      )
    } else {
      node.append(svg('circle', { class: 'dot', cx: lanes.client, cy: at, r: 3.5 }))
    }
    const text = svg('text', { class: 'label' })
    lines.forEach((line, index) => {
      text.append(svg('tspan', { x: lanes.client + 18, y: y + 16 + index * LINE }, line))
    })
    node.append(text)
    const open = () => {
      this.select(row)
      this.#select(row)
    }
    node.addEventListener('click', open)
    node.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' || event.key === ' ') {
        event.preventDefault()
        open()
      }
    })
    row.node = node
    return node
  }
}

function describe(row) {
  const number = row.number ? `Step ${row.number}: ` : ''
  if (row.note) return `${number}This browser ${row.label}`
  const fate = MARKS[row.fate] ? `; ${MARKS[row.fate][1]}` : ''
  return `${number}${NAMES[row.from]} to ${NAMES[row.to]}: ${row.label}${fate}`
}

function arrow(row, lanes, at) {
  const [from, to] = [lanes[row.from], lanes[row.to]]
  const way = Math.sign(to - from)
  const start = from + way * (row.from === 'client' ? 11 : 0)
  const end = to - way * (row.to === 'client' ? 13 : MARKS[row.fate] && row.to === 'gate' ? 11 : 1)
  const head = `M${end - way * 7} ${at - 4} L${end} ${at} L${end - way * 7} ${at + 4}`
  return [svg('line', { class: 'shaft', x1: start, x2: end, y1: at, y2: at }), svg('path', { class: 'head', d: head })]
}

function loop(x, at) {
  const path = `M${x + 11} ${at - 4} h12 a5 5 0 0 1 0 10 h-10`
  return [
    svg('path', { class: 'shaft', d: path }),
    svg('path', { class: 'head', d: `M${x + 18} ${at + 2} l-6 4 l6 4` }),
  ]
}

function mark(fate, x, y) {
  const shape = svg('path', { class: 'mark-shape', d: MARKS[fate][0], transform: `translate(${x} ${y})` })
  return svg('g', { class: `mark ${fate}` }, svg('circle', { cx: x, cy: y, r: 9 }), shape)
}

const ruler = document.createElement('canvas').getContext('2d')

/** The label in as many lines as its width needs. */
function wrap(label, width) {
  ruler.font = '13px system-ui, sans-serif'
  const lines = ['']
  for (const word of label.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`.trim()
    if (lines.at(-1) && ruler.measureText(longer).width > width) lines.push(word)
    else lines[lines.length - 1] = longer
  }
  return lines
}
