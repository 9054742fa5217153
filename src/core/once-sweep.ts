/**
 * Deletes records of retried writes that nobody can ask for any more: clients' ids whose time has passed, slots of nodes that were removed, and
 * answers that lie in a slot which its node has not used for as long (they may hold what was to be read once).
 *
 * Each step looks in a view and then deletes without reading: under load a transaction over these folders would meet a conflict each time.
 */
import type { Barrier, ReadView } from '#barrier/types.ts'
import type { LeaderJob } from './jobs.ts'
import { decodeKept, onceLimits, onceSection } from './once.ts'

const sweepEveryMs = 10_000
const idleEveryMs = 60_000
const keysPerStepMax = 512
const stepsPerPassMax = 64
const minuteMs = 60_000

export interface OnceSweepOptions {
  readonly barrier: Barrier
  /** Ids of the members; empty when they are not known, then nobody counts as removed. */
  readonly members: () => readonly string[]
}

/** The jobs of the leader that keep the table small. */
export function onceJobs({ barrier, members }: OnceSweepOptions): readonly LeaderJob[] {
  const pass = async (find: (view: ReadView) => Promise<readonly string[]>): Promise<void> => {
    for (let step = 0; step < stepsPerPassMax; step += 1) {
      const paths = await barrier.read({ kind: 'linearizable' }, find)
      if (paths.length === 0) return
      await barrier.transact(async (transaction) => {
        for (const path of paths) transaction.delete(onceSection, path)
      })
    }
  }
  return [
    { name: 'request ids', everyMs: sweepEveryMs, inside: true, run: () => pass(dueRecords) },
    {
      name: "removed nodes' requests",
      everyMs: idleEveryMs,
      inside: true,
      run: () => pass((view) => removedNodes(view, new Set(members()))),
    },
    { name: 'idle answers', everyMs: idleEveryMs, inside: true, run: () => dropIdle(barrier) },
  ]
}

async function dueRecords(view: ReadView): Promise<readonly string[]> {
  for (const folder of await view.list(onceSection, 'due')) {
    const minute = folder.slice(0, -1)
    if (Number(minute) * minuteMs > view.nowMs) continue
    const hashes = await view.list(onceSection, `due/${minute}`, { limit: keysPerStepMax / 2 })
    return hashes.flatMap((hash) => [`due/${minute}/${hash}`, `client/${hash}`])
  }
  return []
}

async function removedNodes(view: ReadView, members: ReadonlySet<string>): Promise<readonly string[]> {
  if (members.size === 0) return []
  for (const folder of await view.list(onceSection, 'node')) {
    const name = folder.slice(0, -1)
    if (members.has(name)) continue
    const slots = await view.list(onceSection, `node/${name}`, { limit: keysPerStepMax })
    return slots.map((slot) => `node/${name}/${slot}`)
  }
  return []
}

/** What was not overwritten for so long is of a request that has ended long ago. Looked at once more in the transaction: its node may use the slot this moment. */
async function dropIdle(barrier: Barrier): Promise<void> {
  const paths = await barrier.read({ kind: 'linearizable' }, idleSlots)
  for (let at = 0; at < paths.length; at += keysPerStepMax) {
    await barrier.transact(async (transaction) => {
      for (const path of paths.slice(at, at + keysPerStepMax)) if (await isIdle(transaction, path)) transaction.delete(onceSection, path)
    })
  }
}

async function idleSlots(view: ReadView): Promise<readonly string[]> {
  const idle: string[] = []
  for (const folder of await view.list(onceSection, 'node')) {
    for (const slot of await view.list(onceSection, `node/${folder.slice(0, -1)}`, { limit: onceLimits.slotsPerNodeMax })) {
      const path = `node/${folder}${slot}`
      if (await isIdle(view, path)) idle.push(path)
    }
  }
  return idle
}

async function isIdle(view: ReadView, path: string): Promise<boolean> {
  const stored = await view.get(onceSection, path)
  return stored !== null && decodeKept(stored).kept.timeMs + onceLimits.keptMs < view.nowMs
}
