/**
 * What the state's digest costs: microseconds a key, of the main thread's CPU, for a batch as the apply loop makes it; beside the same batch given to LevelDB
 * without a digest. Keys of 48 bytes, values of 400. Run: node bench/state-digest.ts [--keys 20000]
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { expand, StateDigest } from '#store/digest.ts'
import { classicLevel } from '#store/level.ts'
import { openStateStore } from '#store/state.ts'
import type { Op } from '#store/types.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { keys: { type: 'string', default: '20000' } } })
const count = Number(values.keys)
const perBatch = 64
const key = (at: number): Uint8Array => Buffer.concat([Buffer.from([0x10]), Buffer.from(String(at).padStart(47, '0'))])
const round = (number: number): number => Math.round(number * 100) / 100

/** What this thread has spent so far; what LevelDB does on others is not counted, nor are other processes. */
function mainThreadUs(): number {
  const { user, system } = process.threadCpuUsage()
  return user + system
}

async function usPerKey(work: (ops: readonly Op[]) => Promise<unknown>, indexOf: (at: number) => number): Promise<number> {
  const batches: Op[][] = []
  for (let at = 0; at < count; at += perBatch) {
    batches.push(Array.from({ length: perBatch }, (_, each) => ({ key: key(indexOf(at + each)), value: randomBytes(400) })))
  }
  const begun = mainThreadUs()
  for (const ops of batches) await work(ops)
  return round((mainThreadUs() - begun) / (batches.length * perBatch))
}

const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
try {
  const options = { compression: true, cacheBytes: 64 * 1024 * 1024, writeBufferBytes: 16 * 1024 * 1024, multithreading: false }
  const level = classicLevel(join(folder, 'plain'), options)
  await level.open()
  const plain = (ops: readonly Op[]): Promise<void> =>
    level.batch(ops.map(({ key: at, value }) => ({ type: 'put' as const, key: at, value: value as Uint8Array })))
  const store = await openStateStore({ directory: folder, clusterId: 'bench' })
  const digested = (ops: readonly Op[]): Promise<void> => store.apply(ops, { ...store.meta, applied: store.meta.applied + 1 })
  const inOrder = (at: number): number => at
  const hot = (at: number): number => at % 1_000
  // The first time that they are run: compiled, and LevelDB warm.
  await usPerKey(plain, (at) => at + 10_000_000)
  await usPerKey(digested, (at) => at + 10_000_000)

  const element = expand(key(1), randomBytes(400))
  const sum = new StateDigest()
  const timed = (work: () => void): number => {
    for (let at = 0; at < 2_000; at += 1) work()
    const begun = mainThreadUs()
    for (let at = 0; at < 20_000; at += 1) work()
    return round((mainThreadUs() - begun) / 20_000)
  }
  const value = randomBytes(400)
  recordFigures('state-digest', `node bench/state-digest.ts --keys ${count}`, {
    unit: 'microseconds of the main thread a key',
    keys: count,
    keys_per_batch: perBatch,
    new_keys: { without: await usPerKey(plain, inOrder), with: await usPerKey(digested, inOrder) },
    overwritten_cold: { without: await usPerKey(plain, inOrder), with: await usPerKey(digested, inOrder) },
    overwritten_hot: { without: await usPerKey(plain, hot), with: await usPerKey(digested, hot) },
    expand: timed(() => void expand(key(1), value)),
    add: timed(() => sum.add(element)),
    scrub: await (async () => {
      const begun = mainThreadUs()
      const { pairs } = await store.scrub(async () => {})
      return round((mainThreadUs() - begun) / pairs)
    })(),
  })
  await store.close()
  await level.close()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
