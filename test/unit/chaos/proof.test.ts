import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { drawFlip, flip, liveFiles } from '#test/proof/bit-flips.ts'
import { failover } from '#test/proof/failover.ts'
import { killLoop } from '#test/proof/kill-loop.ts'
import { Prng } from '#test/sim/prng.ts'

const dir = mkdtempSync(join(tmpdir(), 'holdfast-flips-'))
afterAll(() => rmSync(dir, { recursive: true }))

function put(path: string, text: string): void {
  mkdirSync(join(dir, path, '..'), { recursive: true })
  writeFileSync(join(dir, path), text)
}

test('flips hit what LevelDB reads, three in four of them, and change exactly one bit', () => {
  put('log/CURRENT', 'MANIFEST-000004\n')
  put('log/MANIFEST-000002', 'old')
  put('log/MANIFEST-000004', 'new')
  put('log/000005.log', 'records')
  put('log/000006.log', '')
  put('log/LOG', 'diary')
  put('state/g1/000003.ldb', 'table')
  put('hardstate.0', 'term')
  put('identity/identity.json', 'not of the store')
  const files = liveFiles(dir)
  expect(files.toSorted()).toEqual(['hardstate.0', 'log/000005.log', 'log/CURRENT', 'log/MANIFEST-000004', 'state/g1/000003.ldb'])
  const drawn = Array.from({ length: 2_000 }, (_, seed) => drawFlip(dir, files, new Prng(seed)))
  expect(drawn.filter(({ kind }) => kind !== 'other').length / drawn.length).toBeCloseTo(0.75, 1)
  for (const each of drawn.slice(0, 50)) {
    const before = readFileSync(join(dir, each.file))
    flip(dir, each)
    const after = readFileSync(join(dir, each.file))
    const changed = [...before].reduce((bits, byte, i) => bits + (byte ^ (after[i] as number)).toString(2).replaceAll('0', '').length, 0)
    expect([each.file, changed]).toEqual([each.file, 1])
    flip(dir, each)
    expect(readFileSync(join(dir, each.file))).toEqual(before)
  }
})

test('a single lost or doubled write, or one slow failover, spoils the verdict', () => {
  const kill = { whom: 'all', afterMs: 1, acknowledged: 100, unknown: 0, lost: [], doubled: [] }
  const loop = killLoop(3)
  expect(loop.conclude([kill, kill]).clean).toBe(true)
  expect(loop.conclude([kill, { ...kill, lost: ['x'] }]).clean).toBe(false)
  expect(loop.conclude([kill, { ...kill, doubled: ['x'] }]).clean).toBe(false)
  // Killed before anything was written, a node has nothing to lose.
  expect(loop.conclude([{ ...kill, acknowledged: 3 }]).clean).toBe(false)
  const round = { nextWriteMs: 700, acknowledged: 1_000, lost: [] }
  expect(failover.conclude([round, { ...round, nextWriteMs: 900 }]).figures).toMatchObject({ median_ms: 900, worst_ms: 900 })
  expect(failover.conclude([round]).clean).toBe(true)
  expect(failover.conclude([round, { ...round, nextWriteMs: 2_100 }]).clean).toBe(false)
  expect(failover.conclude([round, { ...round, lost: ['x'] }]).clean).toBe(false)
})
