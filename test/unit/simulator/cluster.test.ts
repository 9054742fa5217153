/** The whole replica in its simulator: a few seeds, every seed that ever found something, and that a seed is a run. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { runSeed } from '#test/sim/cluster/world.ts'

interface Kept {
  readonly seed: number
  readonly ticks: number
  readonly found: string
}

const kept = JSON.parse(readFileSync(new URL('../../sim/cluster/seeds.json', import.meta.url), 'utf8')) as Kept[]

test.each(kept)('seed $seed is clean: it once found that $found', async ({ seed, ticks }) => {
  expect((await runSeed(seed, ticks)).failure).toBeNull()
})

test('a few seeds are clean, and do what they are for', async () => {
  let [operations, faults] = [0, 0]
  for (let seed = 101; seed <= 106; seed += 1) {
    const result = await runSeed(seed, 500)
    expect(result.failure).toBeNull()
    operations += result.operations
    faults += Object.values(result.faults).reduce((sum, count) => sum + count, 0)
  }
  expect(operations / 6).toBeGreaterThan(20)
  expect(faults / 6).toBeGreaterThan(8)
})

test('the same seed gives the same run, another seed another', async () => {
  const first = await runSeed(7, 300)
  expect(await runSeed(7, 300)).toEqual(first)
  expect((await runSeed(8, 300)).traceHash).not.toBe(first.traceHash)
})

test('a trace can be read: it names the plan, and every event with its tick', async () => {
  const lines: string[] = []
  await runSeed(7, 60, (line) => lines.push(line))
  expect(lines[0]).toContain('"voters"')
  expect(lines.length).toBeGreaterThan(50)
  expect(lines.every((line) => /^\d+\.\d{3} \S/.test(line))).toBe(true)
})
