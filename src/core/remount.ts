/**
 * Moving a mount: its data stays where it is, by the mount's own id, and only the name changes, in one entry. What it has lent is known by the old name,
 * though, and would be found by nobody who revokes by the new one: it is taken back first. Where there is such a lease the move is a job of the leader,
 * noted in storage so that a new leader goes on with it; where there is none it is done when it is answered.
 */
import type { Barrier, ReadView, Section, Transaction } from '#barrier/types.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { randomUuid, type RandomSource } from '#base/random.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import { errorText } from './errors.ts'
import type { LeaderJob } from './jobs.ts'
import type { Leasing } from './leasing.ts'
import { checkMountPath, MountReader, mountSection, writeMounts, type MountTable } from './mounts.ts'
import { encodeStored, parseStored } from './storage.ts'
import type { MountEntry } from './types.ts'

const formatVersion = 1
const everyMs = 1_000
/** Leases that can't be taken back, or go on being lent, end the move: somebody must look. */
const triesMax = 10
/** Moves under way in the cluster. */
const movesMax = 256
/** How long the end of a move can be asked for, and how many old ones go with each new one. */
const keptMs = 24 * 3_600_000
const forgottenPerMoveMax = 16
const perPassMax = 16

export type MoveStatus = 'in-progress' | 'success' | 'failure'

/** What `sys/remount/status` tells of. Names as the request had them, with a slash at the end; 'auth/' before those of login methods. */
export interface Move {
  readonly version: number
  readonly source: string
  readonly target: string
  readonly status: MoveStatus
  /** Why it failed; '' otherwise. */
  readonly reason: string
  readonly mountUuid: string
  readonly tries: number
  /** null: it has not ended. */
  readonly endedMs: number | null
}

/** Moves under way: in the root's section, whatever namespace they are in, so that the job looks in one place. */
const noteSection: Section = { namespace: 'root', mount: 'sys/moves' }
const noteName = (namespaceId: string, id: string): string => `${namespaceId}~${id}`
const moveName = (id: string): string => `migrations/${id}`

/** The move of that id in the namespace, as it stands; null where there is none, or it ended long ago. */
export async function readMove(view: ReadView, namespaceId: string, id: string): Promise<Move | null> {
  if (id.includes('/') || id === '') return null
  const stored = await view.get(mountSection(namespaceId), moveName(id))
  return stored === null ? null : parseStored<Move>(stored, 'a move')
}

export interface Wanted {
  readonly mount: MountEntry
  readonly mounts: MountTable
  /** Full names, with a slash at the end. */
  readonly source: string
  readonly target: string
}

export interface MoveServices {
  readonly namespaces: Pick<NamespaceStore, 'child'>
  readonly leasing: Pick<Leasing, 'store'>
}

/** Begins to move a mount, and ends it in the same transaction where nothing is lent. Gives back its id. @throws ERR_BAD_REQUEST, ERR_MOUNT_EXISTS, ERR_BUSY. */
export async function beginMove(transaction: Transaction, services: MoveServices, random: RandomSource, wanted: Wanted): Promise<string> {
  const { mount, mounts, source, target } = wanted
  const { namespaceId } = mount
  const path = await freePath(transaction, services, mounts, mount, target)
  const under = await transaction.list(noteSection, '', { limit: movesMax + 1 })
  if (under.length > movesMax) throw new HoldfastError('ERR_BUSY', `expected at most ${movesMax} mounts being moved, got more`)
  for (const name of under) {
    const [other = '', id = ''] = name.split('~')
    if (other === namespaceId && (await readMove(transaction, other, id))?.mountUuid === mount.uuid)
      throw new HoldfastError('ERR_BAD_REQUEST', `"${source}" is being moved already`, {
        hint: `sys/remount/status/${id} tells how far it is`,
      })
  }
  const id = randomUuid(random)
  const lends = await isLending(transaction, services, mount, source)
  const move: Move = {
    version: formatVersion,
    source,
    target,
    status: lends ? 'in-progress' : 'success',
    reason: '',
    mountUuid: mount.uuid,
    tries: 0,
    endedMs: lends ? null : transaction.nowMs,
  }
  if (lends) transaction.put(noteSection, noteName(namespaceId, id), encodeStored({ version: formatVersion }))
  else rename(transaction, mounts, mount, path)
  await forgetOld(transaction, namespaceId)
  putMove(transaction, namespaceId, id, move)
  return id
}

/** Tokens of a login method are its own by the mount's id: they go on. */
const isLending = async (view: ReadView, { leasing }: MoveServices, mount: MountEntry, source: string): Promise<boolean> =>
  mount.table === 'secret' && (await leasing.store.idsBelow(view, mount.namespaceId, source, 1)).length > 0

async function freePath(
  view: ReadView,
  { namespaces }: MoveServices,
  mounts: MountTable,
  { table, namespaceId }: MountEntry,
  target: string,
): Promise<string> {
  const path = checkMountPath(mounts, table, table === 'auth' ? target.slice('auth/'.length) : target)
  if (table === 'auth') return path
  const [first = ''] = path.split('/')
  if ((await namespaces.child(view, namespaceId, first)) !== null)
    throw new HoldfastError('ERR_MOUNT_EXISTS', `path is already in use by the namespace at ${first}/`)
  return path
}

function rename(transaction: Transaction, mounts: MountTable, mount: MountEntry, path: string): void {
  const entries = mounts.entries.map((entry) => (entry === mount ? { ...mount, path } : entry))
  writeMounts(transaction, mount.namespaceId, entries)
}

function putMove(transaction: Transaction, namespaceId: string, id: string, move: Move): void {
  transaction.put(mountSection(namespaceId), moveName(id), encodeStored(move))
}

/** Each new move takes some with it that ended long ago, so that they do not add up. */
async function forgetOld(transaction: Transaction, namespaceId: string): Promise<void> {
  for (const id of await transaction.list(mountSection(namespaceId), 'migrations', { limit: forgottenPerMoveMax })) {
    const { endedMs } = (await readMove(transaction, namespaceId, id)) ?? { endedMs: null }
    if (endedMs !== null && endedMs + keptMs < transaction.nowMs) transaction.delete(mountSection(namespaceId), moveName(id))
  }
}

export interface MoveJobServices {
  readonly barrier: Barrier
  readonly namespaces: Pick<NamespaceStore, 'child'>
  readonly leasing: Pick<Leasing, 'store' | 'revokeBelow'>
  readonly log: Logger
}

/** For `CoreDeps.jobs`. */
export function moveJob(services: MoveJobServices): LeaderJob {
  const mounts = new MountReader()
  const run = async (): Promise<void> => {
    const names = await services.barrier.read({ kind: 'stale' }, (view) => view.list(noteSection, '', { limit: perPassMax }))
    for (const name of names) {
      const [namespaceId = '', id = ''] = name.split('~')
      try {
        await step(services, mounts, namespaceId, id)
      } catch (error) {
        // Its namespace waits until it is open again; so does the move.
        if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) throw error
      }
    }
  }
  return { name: 'move mounts', everyMs, run }
}

async function step(services: MoveJobServices, mounts: MountReader, namespaceId: string, id: string): Promise<void> {
  const { barrier, leasing, log } = services
  const move = await barrier.read({ kind: 'stale' }, (view) => readMove(view, namespaceId, id))
  let reason = ''
  if (move?.status === 'in-progress') {
    try {
      await leasing.revokeBelow(namespaceId, move.source, { force: false, wait: true })
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_BAD_REQUEST') && !isHoldfastError(error, 'ERR_TIMEOUT')) throw error
      reason = errorText(error)
    }
  }
  const ended = await barrier.transact((transaction) => carryOut(services, mounts, transaction, namespaceId, id, reason))
  if (ended?.status === 'failure') log.warn({ migration_id: id, reason: ended.reason }, 'a mount was not moved')
}

/** One try, in one transaction. Gives back the move as it ended; null: it goes on, or is not there. */
async function carryOut(
  services: MoveJobServices,
  reader: MountReader,
  transaction: Transaction,
  namespaceId: string,
  id: string,
  reason: string,
): Promise<Move | null> {
  const move = await readMove(transaction, namespaceId, id)
  if (move?.status !== 'in-progress') {
    transaction.delete(noteSection, noteName(namespaceId, id))
    return null
  }
  const end = (status: MoveStatus, why: string): Move => {
    const ended = { ...move, status, reason: why, endedMs: transaction.nowMs }
    putMove(transaction, namespaceId, id, ended)
    transaction.delete(noteSection, noteName(namespaceId, id))
    return ended
  }
  const table = await reader.read(transaction, namespaceId)
  const mount = table.entries.find(({ uuid }) => uuid === move.mountUuid)
  if (mount === undefined) return end('failure', 'it was unmounted meanwhile')
  if (await isLending(transaction, services, mount, move.source)) {
    if (move.tries + 1 >= triesMax) return end('failure', reason === '' ? 'it goes on lending' : reason)
    putMove(transaction, namespaceId, id, { ...move, tries: move.tries + 1 })
    return null
  }
  try {
    rename(transaction, table, mount, await freePath(transaction, services, table, mount, move.target))
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    return end('failure', errorText(error))
  }
  return end('success', '')
}
