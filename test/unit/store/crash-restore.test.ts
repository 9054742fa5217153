/**
 * A restore on one node, crashed at every single step that touches the disk: afterwards the state is that of before or the restored one, never a mix of them;
 * what was said to be staged is there until it was used; and carrying out the order once more ends as if nothing had happened.
 */
import { beforeAll, expect, test } from 'vitest'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import type { StateMeta, StateStore } from '#store/types.ts'
import { SimDisk } from '#test/sim/cluster/disk.ts'
import { Prng } from '#test/sim/prng.ts'
import { bytes, text } from './helpers.ts'

const clusterId = 'c1'
type Crash = 'kill' | 'power' | 'restart'
/** The entry that is the order. */
const orderAt = 5

interface Told {
  staged: boolean
  synced: number
  /** An entry behind the order let the stage go, or it was used. */
  over: boolean
}

const meta = (store: StateStore, applied: number): StateMeta => ({ ...store.meta, applied, appliedTerm: 1 })
const hex = (digest: Uint8Array): string => Buffer.from(digest).toString('hex')

async function open(disk: SimDisk, owner: { alive: boolean }, directory = '/data/n1'): Promise<StateStore> {
  const mount = disk.mount({
    get alive() {
      return owner.alive
    },
    sleep: () => Promise.resolve(),
  })
  // As a node does: the log is opened first, and makes the data folder durable.
  const log = await openLogStore({ directory, clusterId, disk: mount })
  await log.close()
  return openStateStore({ directory, clusterId, disk: mount })
}

const pieces: Uint8Array[] = []
/** Digest of the state at each applied index, of a run that nothing ended. */
const digests = new Map<number, string>()

async function* stream(): AsyncGenerator<Uint8Array> {
  yield* pieces
}

async function apply(state: StateStore, applied: number): Promise<void> {
  await state.apply([{ key: bytes('k'), value: bytes(String(applied)) }], meta(state, applied))
}

const carryOut = (state: StateStore): Promise<void> =>
  state.restore([{ key: bytes('directory'), value: bytes('ours') }], meta(state, orderAt))

async function script(disk: SimDisk, owner: { alive: boolean }, told: Told, seen: (state: StateStore) => void): Promise<void> {
  const state = await open(disk, owner)
  const step = async (work: Promise<unknown>): Promise<void> => {
    await work
    seen(state)
  }
  await step(state.apply([{ key: bytes('gone'), value: bytes('soon') }], meta(state, 1)))
  await step(apply(state, 2))
  // One that is never called for, in whose place another is staged.
  await state.stage({ id: 'first', term: 1 }, stream())
  await state.stage({ id: 'second', term: 1 }, stream())
  told.staged = true
  await step(apply(state, 3))
  await step(apply(state, 4))
  told.synced = await state.sync()
  // From here on it may be used.
  told.staged = false
  await step(carryOut(state))
  told.over = true
  await step(apply(state, 6))
  told.synced = await state.sync()
  await state.close()
}

beforeAll(async () => {
  const source = await open(new SimDisk(new Prng(9), [0, 0], () => {}), { alive: true }, '/data/source')
  const pairs = { k: 'restored', old: 'yes' }
  await source.apply(
    Object.entries(pairs).map(([key, value]) => ({ key: bytes(key), value: bytes(value) })),
    { ...source.meta, applied: 70, appliedTerm: 9 },
  )
  const sent = source.snapshot()
  for await (const piece of sent.stream) pieces.push(Buffer.from(piece))
  sent.release()
  await source.close()
  await script(new SimDisk(new Prng(1), [0, 0], () => {}), { alive: true }, { staged: false, synced: 0, over: false }, (state) =>
    digests.set(state.meta.applied, hex(state.meta.digest)),
  )
})

/** What is there is exactly what stands at the applied index. */
function expectWhole(state: StateStore, what: string): void {
  const { applied, digest } = state.meta
  const view = state.view()
  const at = (key: string): string | undefined => text(view.get(bytes(key)))
  const found = { k: at('k'), gone: at('gone'), old: at('old'), directory: at('directory') }
  view.release()
  const before = {
    k: applied < 2 ? undefined : String(applied),
    gone: applied < 1 ? undefined : 'soon',
    old: undefined,
    directory: undefined,
  }
  const after = { k: applied === orderAt ? 'restored' : String(applied), gone: undefined, old: 'yes', directory: 'ours' }
  expect(found, what).toEqual(applied < orderAt ? before : after)
  if (applied > 0) expect(hex(digest), what).toBe(digests.get(applied))
}

async function crashAt(step: number, how: Crash, seed: number): Promise<boolean> {
  const disk = new SimDisk(new Prng(seed), [0, 0], () => {})
  const owner = { alive: true }
  const told: Told = { staged: false, synced: 0, over: false }
  disk.faults.crashIn = step
  const crashed = new Promise<boolean>((resolve) => {
    disk.onCrashPoint = () => {
      owner.alive = false
      resolve(true)
    }
  })
  const finished = await Promise.race([script(disk, owner, told, () => {}).then(() => false), crashed])
  disk.faults.crashIn = 0
  if (how === 'restart') await open(disk, { alive: true })
  if (how !== 'kill') disk.crash()
  const state = await open(disk, { alive: true })
  const what = `step ${step}, ${how}, seed ${seed}`
  expect(state.meta.applied, what).toBeGreaterThanOrEqual(told.synced)
  expectWhole(state, what)
  if (told.staged) expect(state.staged?.id, what).toBe('second')
  if (state.meta.applied >= orderAt) expect(state.staged, what).toBeNull()
  // The log is applied again from where the state stands: as a node does that starts. Without the stage it waits for the state from another.
  if (state.staged?.id === 'second') {
    for (let index = state.meta.applied + 1; index < orderAt; index += 1)
      await (index === 1 ? state.apply([{ key: bytes('gone'), value: bytes('soon') }], meta(state, 1)) : apply(state, index))
    await carryOut(state)
    expectWhole(state, `${what}, again`)
    await apply(state, 6)
    expectWhole(state, `${what}, behind it`)
  } else expect(told.synced === 4 && !told.over && state.meta.applied < orderAt, what).toBe(false)
  await state.close()
  return finished
}

test.each(['kill', 'power', 'restart'] as const)(
  'a %s at any step of a restore leaves the one state or the other',
  async (how) => {
    let steps = 0
    for (let step = 1; await crashAt(step, how, 1); step += 1) {
      steps = step
      if (how !== 'kill') for (let seed = 2; seed <= 6; seed += 1) await crashAt(step, how, seed)
    }
    expect(steps).toBeGreaterThan(60)
  },
  60_000,
)
