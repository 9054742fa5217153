/**
 * Another name key for a namespace: every stored key moves, in steps that a new leader goes on with, while the namespace is served.
 *
 * First all is copied to where it lies under the names to come, and whoever writes meanwhile writes to both places; reads and listings know nothing of it.
 * When all is there, one commit makes the names to come those of now. Then what was left behind is deleted. Rejected: to read in both places and move key by
 * key. It would make each look-up and each listing two, for as long as it takes, and a folder that is moved in part has two prefixes.
 *
 * Nothing is lost on the way. Who wrote before the beginning is copied: the beginning is a record that every transaction has read, so what was evaluated before
 * it is evaluated again. Who writes after it writes twice. A copy that meets a write of the same key is a conflict, and is made again. And who has not heard of
 * the end meets a conflict with that.
 */
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { StateView } from '#store/types.ts'
import { decryptError } from './aead.ts'
import { bareKey, KeyClass } from './bare.ts'
import { byteString, concatBytes, rangeEnd } from './bytes.ts'
import { sectionBytes } from './names.ts'
import type { NamespaceNames } from './names.ts'
import type { OpenedKeys, RecordKeys } from './opened.ts'
import { decodeJob, decodeRenaming, encodeJob, encodeRenaming, renamingPrefix } from './renaming-record.ts'
import type { RenamingJob, RenamingPhase } from './renaming-record.ts'
import type { Ring } from './ring.ts'
import type { CollectingTransaction } from './transaction.ts'
import type { NamesRenewal } from './types.ts'

const jobsFrom = bareKey(renamingPrefix)
const classes = [KeyClass.everywhere, KeyClass.thisCluster]
const none = new Uint8Array(0)
/** Of values, in one step: others wait for it. */
const bytesPerStepMax = 1024 * 1024
/** Seen to before others have their turn: each is opened, hidden and sealed anew, about 0.1 ms. */
const keysPerTurn = 64
/** Sections of others that one step passes over. */
const passedMax = 4_096

/** The one thing under way of a namespace. */
interface Step {
  readonly transaction: CollectingTransaction
  readonly state: StateView
  readonly keys: OpenedKeys
  readonly recordKeys: RecordKeys
  readonly ring: Ring | null
  readonly job: RenamingJob
  readonly keysMax: number
}

/** Whether any namespace is being given other names. */
export async function anyRenaming(state: StateView): Promise<boolean> {
  const cursor = state.keyCursor(jobsFrom, rangeEnd(jobsFrom))
  try {
    return (await cursor.next()) !== undefined
  } finally {
    await cursor.close()
  }
}

export function renamingStatus(keys: OpenedKeys, state: StateView, namespace: string): NamesRenewal | null {
  const recordKeys = keys.recordKeys(namespace)
  const [next, job] = [state.get(recordKeys.next), state.get(recordKeys.job)]
  if (next === undefined || job === undefined) return null
  const { phase, names } = decodeRenaming(keys.open(state, recordKeys.next, next, keys.ring(state, namespace)))
  names.fill(0)
  return { namespace, phase, keys: decodeJob(keys.open(state, recordKeys.job, job)).keys, done: false }
}

/** One step of the first namespace that can go on: at most `keysMax` keys. null when there is none. */
export async function renamingStep(transaction: CollectingTransaction, keysMax: number): Promise<NamesRenewal | null> {
  const { state, context } = transaction.view
  const { keys } = context
  for await (const { marker } of transaction.idsBelow(jobsFrom)) {
    const job = decodeJob(keys.open(state, marker, transaction.read(marker) ?? none))
    try {
      const { recordKeys, ring } = transaction.whole(job.namespace)
      return await oneStep({ transaction, state, keys, recordKeys, ring, job, keysMax })
    } catch (error) {
      // Sealed: it waits, and the others go on.
      if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) throw error
    }
  }
  return null
}

async function oneStep(step: Step): Promise<NamesRenewal> {
  const { transaction, state, keys, recordKeys, ring } = step
  const next = transaction.read(recordKeys.next)
  if (next === undefined) throw decryptError('a change of a name key')
  const { phase, names: record } = decodeRenaming(keys.open(state, recordKeys.next, next, ring))
  try {
    return phase === 'copying' ? await copy(step, record) : await sweep(step, record)
  } finally {
    record.fill(0)
  }
}

async function copy(step: Step, record: Uint8Array): Promise<NamesRenewal> {
  const { transaction, state, keys, recordKeys, ring, job } = step
  const { names } = transaction.view.namespaceNames(job.namespace)
  const next = names?.next
  if (!names || !next) throw decryptError('a change of a name key')
  let bytes = 0
  const walked = await walk(step, (key) => {
    if (!names.owns(key)) {
      // In the root's range all namespaces' sections lie; in another's none but its own.
      if (ring !== null && !next.owns(key)) throw decryptError('a stored name')
      return 'pass'
    }
    const moved = names.moved(key, next)
    const sealed = transaction.read(key)
    if (moved === null || sealed === undefined) throw decryptError('a stored name')
    const value = keys.open(state, key, sealed, ring)
    transaction.place(moved, value, ring)
    bytes += value.length
    return bytes < bytesPerStepMax ? 'done' : 'enough'
  })
  if (!walked.over) return goOn(step, 'copying', walked)
  const before = keys.open(state, recordKeys.names, transaction.read(recordKeys.names) ?? none, ring)
  write(transaction, recordKeys.names, Uint8Array.from(record), ring)
  write(transaction, recordKeys.next, encodeRenaming('sweeping', before), ring)
  before.fill(0)
  return goOn({ ...step, job: { ...job, keys: 0 } }, 'sweeping', { keys: 0, from: none })
}

async function sweep(step: Step, record: Uint8Array): Promise<NamesRenewal> {
  const { transaction, keys, recordKeys, ring, job } = step
  const before: NamespaceNames = keys.newNames(job.namespace, Uint8Array.from(record), ring)
  try {
    const walked = await walk(step, (key) => {
      if (!before.owns(key)) return 'pass'
      transaction.erase(key)
      return 'done'
    })
    if (!walked.over) return goOn(step, 'sweeping', walked)
  } finally {
    before.wipe()
  }
  for (const key of [recordKeys.next, recordKeys.job]) transaction.record({ key, bytes: null })
  return { namespace: job.namespace, phase: 'sweeping', keys: job.keys, done: true }
}

/** Notes how far it is. */
function goOn({ transaction, recordKeys, job }: Step, phase: RenamingPhase, { keys, from }: Pick<Walked, 'keys' | 'from'>): NamesRenewal {
  const next = { namespace: job.namespace, keys: job.keys + keys, from }
  write(transaction, recordKeys.job, encodeJob(next), null)
  return { namespace: job.namespace, phase, keys: next.keys, done: false }
}

const write = (transaction: CollectingTransaction, key: Uint8Array, value: Uint8Array, ring: Ring | null): void =>
  transaction.record({ key, sealed: { value, ring, place: key, head: none } })

interface Walked {
  /** Seen to in this step. */
  readonly keys: number
  /** Where the next one begins. */
  readonly from: Uint8Array
  readonly over: boolean
}

/** Goes over stored keys of the namespace from where the job is: 'pass' leaves out the section of a key, 'enough' ends the step after it. */
async function walk(
  { transaction, state, ring, job, keysMax }: Step,
  each: (key: Uint8Array) => 'done' | 'enough' | 'pass',
): Promise<Walked> {
  const { yieldTurn } = transaction.view.context.turns
  let [keys, passed] = [0, 0]
  for (const keyClass of classes) {
    const start = concatBytes(new Uint8Array([keyClass]), ring?.tag ?? none)
    const end = rangeEnd(start)
    if (byteString(job.from) >= byteString(end)) continue
    const cursor = state.keyCursor(byteString(job.from) > byteString(start) ? job.from : start, end)
    try {
      for (let key = await cursor.next(); key !== undefined;) {
        const at = Uint8Array.from(key)
        const outcome = each(at)
        if (outcome === 'pass') passed += 1
        else keys += 1
        const from = outcome === 'pass' ? rangeEnd(at.subarray(0, sectionBytes)) : concatBytes(at, new Uint8Array(1))
        if (outcome === 'enough' || keys >= keysMax || passed >= passedMax) return { keys, from, over: false }
        if ((keys + passed) % keysPerTurn === 0) await yieldTurn()
        key = await cursor.next(outcome === 'pass' ? from : undefined)
      }
    } finally {
      await cursor.close()
    }
  }
  return { keys, from: none, over: true }
}

export const renamingUnderWay = (): HoldfastError =>
  new HoldfastError('ERR_BAD_REQUEST', "a namespace's names expected to stand still, got a change of their key that is under way", {
    hint: 'wait for it: GET sys/rotate/names says how far it is',
  })
