/** docs/internals/simulator.md tells of the faults that the simulator counts, and of no others. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { faultRows } from '#test/sim/cluster/rows.ts'

test('the table of rows and counters is the one that a run is held to', () => {
  const text = readFileSync('docs/internals/simulator.md', 'utf8')
  const [, part = ''] = text.split('### Counters')
  const rows = [...(part.split('\n## ')[0] ?? '').matchAll(/^\| ([^|]+) \| (`[^|]+`) \|$/gm)]
  const table = Object.fromEntries(rows.map(([, row = '', counters = '']) => [row, counters.replaceAll('`', '').split(' ')]))
  expect(table).toEqual(faultRows)
})

test('the seeds that are replayed are those of the table of finds', () => {
  const text = readFileSync('docs/internals/simulator.md', 'utf8')
  const kept = JSON.parse(readFileSync('test/sim/cluster/seeds.json', 'utf8')) as readonly { readonly seed: number }[]
  const [, part = ''] = text.split('## What it found')
  const told = [...part.matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, seeds = '']) => seeds.split(', ').map(Number))
  expect(kept.map(({ seed }) => seed).toSorted((a, b) => a - b)).toEqual(told.toSorted((a, b) => a - b))
})
