/** A failing history as one HTML file: nothing is fetched, no script runs, so it can be kept as an artefact and mailed. */
import { writeFileSync } from 'node:fs'
import type { HistoryResult, KeyResult } from './checker.ts'
import { byKey } from './history.ts'
import type { Operation } from './history.ts'
import { layOut, rowPx } from './layout.ts'
import type { Bar, Layout } from './layout.ts'
import { apply, describeInput, describeOutput, describeState, empty, whyNot } from './model.ts'
import type { State } from './model.ts'

/** Lines of the order that the text under a picture repeats. */
const listedMax = 30

/** Writes the picture of the keys that failed, or of all keys if none did. The result must be that history's. */
export function writeHistoryHtml(path: string, history: readonly Operation[], result: HistoryResult): void {
  writeFileSync(path, renderHistoryHtml(history, result))
}

export function renderHistoryHtml(history: readonly Operation[], result: HistoryResult): string {
  const failing = result.keys.filter(({ outcome }) => outcome !== 'linearizable')
  const parts = byKey(history)
  const sections = (failing.length > 0 ? failing : result.keys).map((key) => section(parts.get(key.key) ?? [], key))
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>History: ${result.outcome}</title><style>${css}</style></head><body>
<h1>History of ${history.length} operations on ${result.keys.length} key${result.keys.length === 1 ? '' : 's'}: <span class="${result.outcome}">${result.outcome}</span></h1>
<p>One lane a client, time to the right (by order of events, not to scale). Hover over an operation for what it asked and what it was answered.</p>
<p class="legend"><span class="swatch placed"></span>in the longest partial order found, numbered where it took effect
<span class="swatch blocked"></span>could not be placed, though it had to come next
<span class="swatch left"></span>not placed
<span class="swatch unknown"></span>outcome unknown: any time after its call, or never</p>
${sections.join('\n')}
</body></html>
`
}

function section(operations: readonly Operation[], result: KeyResult): string {
  const layout = layOut(operations, result)
  const { key, outcome, order, blocked, why } = result
  const id = blocked === null ? '' : `op${blocked.id}`
  const verdict =
    blocked === null
      ? ''
      : `<p class="why"><a href="#${id}">Operation ${blocked.id} of ${escape(blocked.client)}, ${escape(describeInput(blocked))}</a>, could not be placed: ${escape(why)}.</p>`
  const leftOut = layout.leftOut === 0 ? '' : `<p>${layout.leftOut} operations farther away are not drawn.</p>`
  return `<section><h2>Key ${escape(JSON.stringify(key))}: <span class="${outcome}">${outcome}</span>, ${order.length} of ${operations.length} operations placed</h2>
${verdict}${leftOut}
<div class="frame">${labels(layout)}<div class="scroll">${drawing(layout, result)}</div></div>
${listing(operations, result)}</section>`
}

function labels({ lanes, height }: Layout): string {
  const texts = lanes.map((lane) => `<text x="8" y="${lane.y + rowPx / 2 + 4}">${escape(lane.client)}</text>`)
  return `<svg class="labels" width="90" height="${height}" role="img" aria-label="clients">${texts.join('')}</svg>`
}

function drawing(layout: Layout, result: KeyResult): string {
  const { lanes, bars, width, height } = layout
  const stripes = lanes.map(
    (lane, i) => `<rect class="lane${i % 2}" x="0" y="${lane.y - 3}" width="${width}" height="${lane.height + 6}"/>`,
  )
  const path = bars
    .filter(({ placed }) => placed !== null)
    .toSorted((a, b) => (a.placed?.number ?? 0) - (b.placed?.number ?? 0))
    .map(({ placed, y }) => `${round(placed?.x ?? 0)},${y + rowPx / 2}`)
  const line = `<polyline class="order" points="${path.join(' ')}"/>`
  return `<svg width="${round(width)}" height="${height}" role="img" aria-label="operations of each client">
${stripes.join('')}
${bars.map((bar) => barMarkup(bar, result)).join('\n')}
${line}
${bars.map(badge).join('\n')}
</svg>`
}

function barMarkup(bar: Bar, result: KeyResult): string {
  const { operation, x, y, width, tailTo } = bar
  const kind = operation === result.blocked ? 'blocked' : bar.placed === null ? 'left' : 'placed'
  const unknown = operation.returnAt === null
  const box = `<rect class="bar ${kind}${unknown ? ' unknown' : ''}" x="${x}" y="${y + 4}" width="${width}" height="${rowPx - 8}" rx="4"/>`
  const tail =
    tailTo === null ? '' : `<line class="tail" x1="${x + width}" x2="${round(tailTo)}" y1="${y + rowPx / 2}" y2="${y + rowPx / 2}"/>`
  // A nested svg clips its text: a short operation's must not run over its neighbour's bar.
  const text = `<svg x="${x}" y="${y + 4}" width="${width}" height="${rowPx - 8}"><text x="5" y="17">${escape(shortText(operation))}</text></svg>`
  return `<g id="op${operation.id}"><title>${escape(hoverText(bar, result))}</title>${box}${tail}${text}</g>`
}

function badge({ placed, y }: Bar): string {
  if (placed === null) return ''
  return `<g class="badge"><circle cx="${round(placed.x)}" cy="${y + rowPx - 5}" r="9"/><text x="${round(placed.x)}" y="${y + rowPx - 1.5}">${placed.number}</text></g>`
}

function shortText(operation: Operation): string {
  return operation.returnAt === null ? `${describeInput(operation)} ?` : `${describeInput(operation)} → ${describeOutput(operation)}`
}

function hoverText({ operation, placed }: Bar, { blocked, why }: KeyResult): string {
  const { id, client, callAt, returnAt, note } = operation
  return [
    `operation ${id} of ${client}`,
    `${describeInput(operation)} → ${describeOutput(operation)}`,
    `called at ${callAt}, ${returnAt === null ? 'never returned' : `returned at ${returnAt}`}`,
    ...(note === undefined ? [] : [note]),
    ...(placed === null ? [] : [`placed as number ${placed.number}`]),
    ...(operation === blocked ? [`could not be placed: ${why}`] : []),
  ].join('\n')
}

/** The end of the order with the register after each step, then what could have come next and why it could not. */
function listing(operations: readonly Operation[], { order, state, blocked }: KeyResult): string {
  const from = Math.max(0, order.length - listedMax)
  let before: State = empty
  const steps = order.map((operation) => {
    before = apply(before, operation) ?? before
    return `<li>${escape(`${operation.client}: ${shortText(operation)}`)} <small>then ${escape(describeState(before))}</small></li>`
  })
  const heading = from === 0 ? 'The order' : `The last ${listedMax} of the order`
  const list = `<h3>${heading}</h3><ol start="${from + 1}">${steps.slice(from).join('')}</ol>`
  if (blocked === null) return list
  const placed = new Set(order)
  const next = operations.filter(
    (operation) => !placed.has(operation) && operation.returnAt !== null && operation.callAt <= (blocked.returnAt as number),
  )
  const refusals = next.map(
    (operation) =>
      `<li${operation === blocked ? ' class="blocked"' : ''}>${escape(`${operation.client}: ${shortText(operation)}: ${whyNot(state, operation)}`)}</li>`,
  )
  return `${list}<h3>Completed operations that might have come next</h3><ul>${refusals.join('')}</ul>`
}

function round(px: number): number {
  return Math.round(px * 10) / 10
}

/** Values come from a store under test: they must not become markup. Control characters are not allowed in it at all. */
function escape(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return text.replace(/(?![\t\n\r])\p{Cc}/gu, '\ufffd').replace(/[&<>"']/g, (character) => entities[character] as string)
}

const css = `
body{font:14px/1.45 system-ui,sans-serif;margin:20px;color:#1d2433;background:#fff}
h1{font-size:20px}h2{font-size:16px;margin-top:28px}h3{font-size:14px;margin:16px 0 4px}
.violation,.why{color:#b3141d}.undecided{color:#8a5a00}.linearizable{color:#12703c}.why a{color:inherit}
.legend{display:flex;flex-wrap:wrap;align-items:center;gap:6px 8px}
.swatch{display:inline-block;width:26px;height:14px;border:1.5px solid;border-radius:4px;margin-left:10px}
.swatch.placed{background:#cfe8d8;border-color:#2f8f5b}.swatch.blocked{background:#f7b9bc;border-color:#b3141d}
.swatch.left{background:#e8eaee;border-color:#9aa3b2}.swatch.unknown{background:#fff;border-color:#5b6575;border-style:dashed}
.frame{display:flex;border:1px solid #d6dae1;border-radius:6px;overflow:hidden}
.labels{flex:none;border-right:1px solid #d6dae1;background:#f6f7f9}.scroll{overflow-x:auto;flex:1}
svg{display:block}svg svg{display:inline}svg text{font:12px system-ui,sans-serif;fill:#1d2433}
.lane0{fill:#fff}.lane1{fill:#f6f7f9}
.bar{stroke-width:1.5}.bar.placed{fill:#cfe8d8;stroke:#2f8f5b}.bar.left{fill:#e8eaee;stroke:#9aa3b2}.bar.blocked{fill:#f7b9bc;stroke:#b3141d;stroke-width:2.5}
.bar.unknown{stroke-dasharray:5 3;fill-opacity:.45}.tail{stroke:#2f8f5b;stroke-dasharray:5 3;stroke-width:1.5}
.order{fill:none;stroke:#1f6d45;stroke-width:1.2;stroke-opacity:.35}
.badge circle{fill:#1f6d45}.badge text{fill:#fff;font-size:9px;text-anchor:middle;font-weight:600}
g:target .bar{stroke-width:4}li.blocked{color:#b3141d;font-weight:600}small{color:#5b6575}
`
