import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Prng } from '#test/sim/prng.ts'
import { checkHistory } from '#test/support/linearizability/checker.ts'
import { generateHistory } from '#test/support/linearizability/generate.ts'
import { byKey } from '#test/support/linearizability/history.ts'
import type { Operation } from '#test/support/linearizability/history.ts'
import { drawnMax, layOut } from '#test/support/linearizability/layout.ts'
import { renderHistoryHtml, writeHistoryHtml } from '#test/support/linearizability/picture.ts'

const budget = { stepsMax: 200_000 }
const shape = { clients: 6, operations: 60, keys: 2, values: 0, unknown: 0.15, tie: 0, violation: 'stale read' } as const

/** Every element opened is closed, in order; a browser would mend it silently and draw something else. */
function expectBalanced(html: string): void {
  const open: string[] = []
  for (const [, close, name, rest] of html.matchAll(/<(\/?)([a-z]\w*)([^>]*)>/g)) {
    if (close === '/') expect(open.pop()).toBe(name)
    else if (name !== 'meta' && !rest?.endsWith('/')) open.push(name as string)
  }
  expect(open).toEqual([])
}

test('the file stands alone: no script, nothing fetched, well-formed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'history-'))
  try {
    const history = generateHistory(new Prng(1), shape)
    const path = join(folder, 'history.html')
    writeHistoryHtml(path, history, checkHistory(history, budget))
    const html = readFileSync(path, 'utf8')
    expect(html).toMatch(/^<!doctype html>/)
    expect(html).not.toMatch(/<script|<link|<img|<iframe|\bsrc=|https?:|url\(|@import|\bon\w+=/)
    expect([...html.matchAll(/href="([^"]*)"/g)].every(([, target]) => target?.startsWith('#'))).toBe(true)
    expect(html).not.toContain('NaN')
    expect(html).not.toContain('undefined')
    expectBalanced(html)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('it draws the failing key only: each operation once with its hover text, the order numbered, one bar red', () => {
  for (let seed = 0; seed < 50; seed += 1) {
    const history = generateHistory(new Prng(seed), shape)
    const result = checkHistory(history, budget)
    const html = renderHistoryHtml(history, result)
    const failing = result.keys.filter(({ outcome }) => outcome === 'violation')
    expect(failing).toHaveLength(1)
    const { key, order, blocked } = failing[0] ?? expect.fail('nothing failed')
    const drawn = [...html.matchAll(/<g id="op(\d+)"><title>operation \1 of \w+\n/g)].map(([, id]) => Number(id))
    const expected = (byKey(history).get(key) ?? []).map(({ id }) => id)
    expect(drawn.toSorted((a, b) => a - b)).toEqual(expected)
    const badges = [...html.matchAll(/<circle [^>]*><text [^>]*>(\d+)<\/text>/g)].map(([, number]) => Number(number))
    expect(badges.toSorted((a, b) => a - b)).toEqual(order.map((_, i) => i + 1))
    const red = [...html.matchAll(/<g id="op(\d+)"><title>[^<]*<\/title><rect class="bar blocked/g)].map(([, id]) => Number(id))
    expect(red).toEqual([blocked?.id])
    expect(html).toContain(`<a href="#op${blocked?.id}">`)
  }
})

test('points of effect go to the right in order, each between its call and its return', () => {
  for (let seed = 0; seed < 50; seed += 1) {
    const history = generateHistory(new Prng(seed), shape)
    for (const result of checkHistory(history, budget).keys) {
      const { bars, width } = layOut(byKey(history).get(result.key) ?? [], result)
      const placed = bars.filter((bar) => bar.placed !== null).toSorted((a, b) => (a.placed?.number ?? 0) - (b.placed?.number ?? 0))
      expect(placed).toHaveLength(result.order.length)
      let last = 0
      for (const { operation, x, width: long, placed: point } of placed) {
        const at = point?.x ?? expect.fail('not placed')
        expect(at).toBeGreaterThan(last)
        expect(at).toBeGreaterThan(x)
        expect(at).toBeLessThan(operation.returnAt === null ? width : x + long)
        last = at
      }
    }
  }
})

test('bars of one row do not overlap', () => {
  // Half of the operations as if of one client, which then has several at a time.
  const history = generateHistory(new Prng(3), { ...shape, keys: 1, unknown: 0.5 }).map((one, i) =>
    i % 2 === 0 ? { ...one, client: 'busy' } : one,
  )
  const [result] = checkHistory(history, budget).keys
  const { bars } = layOut(history, result ?? expect.fail('no key'))
  for (const row of Map.groupBy(bars, ({ y }) => y).values()) {
    const sorted = row.toSorted((a, b) => a.x - b.x)
    for (const [i, bar] of sorted.slice(1).entries()) expect((sorted[i]?.x ?? 0) + (sorted[i]?.width ?? 0)).toBeLessThanOrEqual(bar.x)
  }
})

test('values and names are text, whatever they are', () => {
  const hostile = '</text><script>alert("1")</script>&\u0000'
  const history: Operation[] = [
    {
      id: 0,
      client: hostile,
      key: hostile,
      kind: 'put',
      input: { value: hostile },
      output: { version: 7 },
      callAt: 1,
      returnAt: 2,
      note: hostile,
    },
  ]
  const html = renderHistoryHtml(history, checkHistory(history, budget))
  expect(html).not.toContain('<script')
  expect(html).not.toContain('\u0000')
  expect(html).toContain('&lt;script&gt;')
  expectBalanced(html)
})

test('of a long history the part around the operation that could not be placed is drawn', () => {
  const history = generateHistory(new Prng(5), { ...shape, clients: 20, operations: 2_000, keys: 1, unknown: 0.05 })
  const result = checkHistory(history, budget)
  const html = renderHistoryHtml(history, result)
  expect(html.match(/<g id="op\d+">/g)).toHaveLength(drawnMax)
  expect(html).toContain(`${history.length - drawnMax} operations farther away are not drawn`)
  expect(html).toContain(`<g id="op${result.keys[0]?.blocked?.id}">`)
})

test('a history that passes is drawn whole, with nothing red', () => {
  const { violation: _, ...clean } = shape
  const history = generateHistory(new Prng(2), clean)
  const html = renderHistoryHtml(history, checkHistory(history, budget))
  expect(html.match(/<g id="op\d+">/g)).toHaveLength(history.length)
  expect(html).not.toContain('class="bar blocked')
})
