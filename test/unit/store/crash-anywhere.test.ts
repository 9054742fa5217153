/** Rung 10: a short script on the real stores, crashed at every single step that touches the disk, by a kill and by the power; then what was acknowledged is there. */
import { expect, test } from 'vitest'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import type { LogStore, StateMeta, StateStore } from '#store/types.ts'
import { SimDisk } from '#test/sim/cluster/disk.ts'
import { Prng } from '#test/sim/prng.ts'
import { bytes, run, text } from './helpers.ts'

const clusterId = 'c1'
const directory = '/data/n1'

/** `restart`: killed, started again from the page cache, and then the power fails. */
type Crash = 'kill' | 'power' | 'restart'

/** What the script was told is done, and what may be besides. */
interface Told {
  term: number
  /** The log's end by term of its entry, before and after what is under way. */
  ends: string[]
  applied: number
  synced: number
}

const meta = (store: StateStore, applied: number): StateMeta => ({ ...store.meta, applied, appliedTerm: 1 })

async function open(disk: SimDisk, owner: { alive: boolean }): Promise<{ log: LogStore; state: StateStore }> {
  const mount = disk.mount({
    get alive() {
      return owner.alive
    },
    sleep: () => Promise.resolve(),
  })
  const log = await openLogStore({ directory, clusterId, disk: mount, tailBytesMax: 1 })
  return { log, state: await openStateStore({ directory, clusterId, disk: mount }) }
}

async function script(disk: SimDisk, owner: { alive: boolean }, told: Told): Promise<void> {
  const { log, state } = await open(disk, owner)
  const append = async (term: number, first: number, last: number): Promise<void> => {
    told.ends.push(`${last}/${term}`)
    // A truncation may have happened without what comes in its place.
    if (first <= log.lastIndex()) told.ends.push(`${first - 1}/${log.term(first - 1)}`)
    await log.append(term > told.term ? { term, vote: 'n1', commit: 0 } : null, run(first, last, term))
    told.term = term
    told.ends = [`${last}/${term}`]
  }
  const apply = async (applied: number): Promise<void> => {
    await state.apply([{ key: bytes('k'), value: bytes(String(applied)) }], meta(state, applied))
    told.applied = applied
  }
  await append(1, 1, 3)
  await append(1, 4, 8)
  await apply(2)
  await append(2, 5, 6)
  await apply(5)
  told.synced = await state.sync()
  await log.compact(4)
  const snapshot = state.snapshot()
  const received = await state.receive(snapshot.stream)
  snapshot.release()
  await state.install(received)
  await apply(6)
  await append(3, 7, 7)
  await state.close()
  await log.close()
}

async function crashAt(step: number, how: Crash, seed: number): Promise<boolean> {
  const disk = new SimDisk(new Prng(seed), [0, 0], () => {})
  const owner = { alive: true }
  const told: Told = { term: 0, ends: ['0/0'], applied: 0, synced: 0 }
  disk.faults.crashIn = step
  const crashed = new Promise<boolean>((resolve) => {
    disk.onCrashPoint = () => {
      owner.alive = false
      resolve(true)
    }
  })
  const finished = await Promise.race([script(disk, owner, told).then(() => false), crashed])
  disk.faults.crashIn = 0
  if (how === 'restart') await open(disk, { alive: true })
  if (how !== 'kill') disk.crash()
  const { log, state } = await open(disk, { alive: true })
  const what = `step ${step}, ${how}, seed ${seed}`
  expect(log.hardState.term, what).toBeGreaterThanOrEqual(told.term)
  expect(told.ends, what).toContain(`${log.lastIndex()}/${log.term(log.lastIndex()) ?? 0}`)
  expect(state.meta.applied, what).toBeGreaterThanOrEqual(told.synced)
  expect(state.meta.applied, what).toBeGreaterThanOrEqual(log.firstIndex() - 1)
  const view = state.view()
  expect(text(view.get(bytes('k'))), what).toBe(state.meta.applied === 0 ? undefined : String(state.meta.applied))
  view.release()
  await state.close()
  await log.close()
  return finished
}

test.each(['kill', 'power', 'restart'] as const)(
  'a %s at any step leaves a legal state',
  async (how) => {
    let steps = 0
    for (let step = 1; await crashAt(step, how, 1); step += 1) {
      steps = step
      if (how !== 'kill') for (let seed = 2; seed <= 6; seed += 1) await crashAt(step, how, seed)
    }
    expect(steps).toBeGreaterThan(150)
  },
  60_000,
)
