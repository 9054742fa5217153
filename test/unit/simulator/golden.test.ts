/** The same seed gives the same run here as where golden.json was written. On Node 24: `npm run sim:golden -- --node24`. */
import { expect, test } from 'vitest'
import { behaviourChanged, computeGolden, differences, readGolden } from '#test/sim/golden.ts'

test('the trace hashes that are kept come out again', { timeout: 60_000 }, async () => {
  const kept = readGolden()
  expect(Object.values(kept).reduce((sum, { hashes }) => sum + Object.keys(hashes).length, 0)).toBeGreaterThanOrEqual(48)
  expect(differences(kept, await computeGolden()), behaviourChanged).toEqual([])
})

test('a hash that differs, is missing or is new is a difference', () => {
  const golden = (hashes: Record<string, string>): Record<string, { ticks: number; hashes: Record<string, string> }> => ({
    core: { ticks: 1, hashes },
  })
  expect(differences(golden({ 1: 'a', 2: 'b' }), golden({ 1: 'a', 2: 'b' }))).toEqual([])
  expect(differences(golden({ 1: 'a', 2: 'b' }), golden({ 1: 'x', 3: 'c' }))).toEqual(['core 1', 'core 2', 'core 3'])
  expect(differences({}, golden({ 1: 'a' }))).toEqual(['core 1'])
})
