/**
 * The way back after a majority was lost for good (docs/recovery.md): `holdfast operator raft recover` on a stopped node's folder, or a `peers.json` in it
 * when the node starts. Both do the same, here, with no server running.
 *
 * The first voter of the list is the node whose log counts. Every other node of the list lays its stores aside and is filled anew: two logs can't both
 * be right.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { AuditBroker } from '#audit/types.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { FormatRange } from '#base/formats.ts'
import type { Logger } from '#base/logger.ts'
import { Announced } from '#replica/announced.ts'
import { readDirectory } from '#replica/directory.ts'
import { forceMembership, restoreIn, type Forced } from '#replica/forced.ts'
import { Keepsake, openKeepsake } from '#replica/keepsake.ts'
import { firstVoter, parseRecoveryPlan, type RecoveryPlan } from '#replica/recovery-plan.ts'
import type { Member } from '#replica/types.ts'
import { nodeDisk } from '#store/disk.ts'
import { expectNotInUse } from '#store/in-use.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import type { LogStore, StateStore } from '#store/types.ts'
import type { Identity } from '#transport/types.ts'
import { syncFolder, writeDurably } from './data-folder.ts'
import { noteLeftOut } from './left-out.ts'
import { asideFolder, checkStores, unfinishedName, withoutMark } from './stores-mark.ts'

export const recoveryFile = 'peers.json'
/** What was done, kept for operators and for the status. */
export const recoveredFile = 'peers.json.done'
/** In the folder of what lies aside: whom this node knew. Until all lies there it has the name that says so; it stays for a repetition. */
const membersName = 'members.json'
const fileBytesMax = 65_536
const laidAside = [
  'log',
  'log.damaged',
  'state',
  'acknowledged',
  'hardstate.0',
  'hardstate.1',
  'fence.0',
  'fence.1',
  'members.0',
  'members.1',
]

export interface RecoverOptions {
  readonly dataDir: string
  readonly identity: Identity
  readonly formats: FormatRange
  readonly log: Logger
}

/** How far a node's stores reach: what operators compare before they choose. */
export interface Position {
  readonly nodeId: string
  /** Of the newest entry. The node with the highest term, and among those the highest index, has the most. */
  readonly term: number
  readonly index: number
  readonly applied: number
  readonly members: readonly Member[]
  /** What its log has lost (store/fence.ts), or null. */
  readonly lost: string | null
  /** Where its log orders a snapshot to be restored that it has not carried out: then it can't be the first. Null: nowhere. */
  readonly restoreAt: number | null
}

export type RecoveryReport = Readonly<Record<string, unknown>>

export type Recovered =
  | ({ readonly kind: 'leads' } & Forced)
  /** Its stores were laid aside: it is filled from `from`. */
  | { readonly kind: 'follows'; readonly from: string; readonly members: readonly Member[] }

/** The plan that lies in the folder, or null. @throws ERR_MEMBERSHIP for a file that is none */
export function planIn(dataDir: string): RecoveryPlan | null {
  const path = join(dataDir, recoveryFile)
  if (!existsSync(path)) return null
  return parseRecoveryPlan(readPlan(path))
}

/** @throws ERR_MEMBERSHIP when it is too large or can't be read */
export function readPlan(path: string): string {
  try {
    const { size } = statSync(path)
    if (size > fileBytesMax) throw new HoldfastError('ERR_MEMBERSHIP', `peers.json: expected at most ${fileBytesMax} bytes, got ${size}`)
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof HoldfastError) throw error
    throw new HoldfastError(
      'ERR_MEMBERSHIP',
      `peers.json: expected a file that can be read, got ${(error as NodeJS.ErrnoException).code ?? 'an error'}`,
    )
  }
}

/** Where this node's stores stand. Changes nothing that matters. @throws ERR_STORE_FAILED while a server runs on the folder; ERR_STORE_CORRUPT; ERR_MEMBERSHIP */
export async function positionOf(options: RecoverOptions): Promise<Position> {
  checkStores(options.dataDir)
  await expectNotInUse(join(options.dataDir, 'log'))
  return withStores(options, false, async (log, state) => {
    const index = log.lastIndex()
    const { applied, appliedTerm } = state.meta
    const ahead = applied > index
    return {
      nodeId: options.identity.nodeId,
      index: ahead ? applied : index,
      term: ahead ? appliedTerm : (log.term(index) ?? 0),
      applied,
      members: membersIn(state, options.formats),
      lost: log.fence?.reason ?? null,
      restoreAt: restoreIn(log, state),
    }
  })
}

/**
 * Carries out `plan` on this node's folder. Durable when it resolves; can be done again after a crash.
 * @throws ERR_MEMBERSHIP when this node is not in it, it names strangers, or an earlier one was cut short; ERR_STORE_FAILED while a server runs on the folder; ERR_STORE_CORRUPT
 */
export async function recover(options: RecoverOptions, plan: RecoveryPlan): Promise<Recovered> {
  const { nodeId } = options.identity
  if (!plan.members.some(({ id }) => id === nodeId))
    throw new HoldfastError('ERR_MEMBERSHIP', `peers.json: expected this node, '${nodeId}', among the members, got none of that id`, {
      hint: 'a node that is not to take part any more is not started; its folder can be kept for inspection',
    })
  await expectNotInUse(join(options.dataDir, 'log'))
  const first = firstVoter(plan)
  if (first !== nodeId) return withoutMark(options.dataDir, () => follow(options, plan, first))
  checkStores(options.dataDir)
  return lead(options, plan)
}

async function lead({ dataDir, identity, formats, log: logger }: RecoverOptions, plan: RecoveryPlan): Promise<Recovered> {
  const { nodeId, clusterId } = identity
  const forced = await withStores({ dataDir, identity, formats, log: logger }, true, async (log, state) =>
    forceMembership({ nodeId, clusterId, incarnation: 1, log, state, keepsake: await openKeepsake(nodeDisk, dataDir), plan, formats }),
  )
  const { index, term, uncommitted, removed, lost } = forced
  logger.warn(
    { index, term, uncommitted, removed, lost },
    'recovered without a majority: this node is the only voter, and what only the removed nodes had is lost',
  )
  return { kind: 'leads', ...forced }
}

/**
 * Lays this node's stores aside. Its identity stays: by it the others know it. What lies aside is never replaced: where the stores hold nothing, as after
 * an earlier run, only the members of the list are noted.
 * @throws ERR_MEMBERSHIP when it knows no `from`, or when what an earlier recovery has laid aside is in the way
 */
async function follow(options: RecoverOptions, plan: RecoveryPlan, from: string): Promise<Recovered> {
  const { dataDir, log } = options
  const aside = join(dataDir, asideFolder)
  const unfinished = join(aside, unfinishedName)
  const begun = existsSync(unfinished)
  const { known, empty } = begun ? { known: await membersOfBegun(options, aside), empty: false } : await stored(options, aside)
  const members = planned(known, plan)
  if (!members.some(({ id }) => id === from)) throw unknownSource(options.identity.nodeId, known, from)
  if (!empty) checkFree(dataDir, aside, begun)
  if (!empty && !begun) beginLayingAside(aside, known)
  // Before the stores go: as a joining node it must know whom to answer, and whom not.
  noteLeftOut(dataDir, known, plan)
  writeDurably(join(dataDir, 'identity', 'members.json'), JSON.stringify(members))
  if (!empty) layAside(dataDir, aside)
  log.warn(
    { from, aside: asideFolder },
    empty
      ? 'recovered without a majority: the stores of this node hold nothing, so none are laid aside (it may have been done before); it is filled anew'
      : 'recovered without a majority: the stores of this node are laid aside, and it is filled anew',
  )
  return { kind: 'follows', from, members }
}

interface Stored {
  readonly known: readonly Member[]
  readonly empty: boolean
}

/** Whom the stores know, and whether they hold anything. Those that hold nothing know nobody: then it is whoever was known before they were emptied. */
async function stored(options: RecoverOptions, aside: string): Promise<Stored> {
  const found = await withStores(options, false, async (log, state) => ({
    known: knownIn(log, state, options.formats),
    empty: log.lastIndex() === 0 && state.meta.applied === 0 && log.fence === null,
  })).catch((error: unknown) => keptBeside(options, error))
  if (!found.empty) return found
  const known = noted(join(aside, membersName)) ?? noted(join(options.dataDir, 'identity', 'members.json')) ?? []
  return { known, empty: true }
}

/** Of damaged stores nothing is needed here but whom they know, and of that there is a second copy. @throws `damage` where there is none */
async function keptBeside({ dataDir, log }: RecoverOptions, damage: unknown): Promise<Stored> {
  if (!isHoldfastError(damage, 'ERR_STORE_CORRUPT')) throw damage
  const { kept } = new Keepsake(await openKeepsake(nodeDisk, dataDir))
  if (kept === null) throw damage
  log.warn({ reason: damage.message }, 'the stores of this node are damaged: whom it knows is read from the second copy of its members')
  return { known: kept.members, empty: false }
}

/** Its note may have been lost in a power cut: then the state tells, wherever it lies by now. */
async function membersOfBegun({ dataDir, identity, formats, log: logger }: RecoverOptions, aside: string): Promise<readonly Member[]> {
  const members = noted(join(aside, unfinishedName))
  if (members !== null) return members
  const directory = existsSync(join(dataDir, 'state')) ? dataDir : aside
  const state = await openStateStore({ directory, clusterId: identity.clusterId, logger })
  try {
    return membersIn(state, formats)
  } finally {
    await state.close()
  }
}

/** Null for a file that is missing, or no list. */
function noted(path: string): readonly Member[] | null {
  try {
    const members: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return Array.isArray(members) ? (members as Member[]) : null
  } catch {
    return null
  }
}

/** Of one that has begun, a part lies there by right: only no store may be there twice. @throws ERR_MEMBERSHIP */
function checkFree(dataDir: string, aside: string, begun: boolean): void {
  const there = laidAside.find((name) => existsSync(join(aside, name)) && (!begun || existsSync(join(dataDir, name))))
  if (there !== undefined) throw inTheWay(there)
}

function beginLayingAside(aside: string, known: readonly Member[]): void {
  mkdirSync(aside, { recursive: true, mode: 0o700 })
  syncFolder(dirname(aside))
  writeDurably(join(aside, unfinishedName), JSON.stringify(known))
}

function layAside(dataDir: string, aside: string): void {
  for (const name of laidAside) if (existsSync(join(dataDir, name))) renameSync(join(dataDir, name), join(aside, name))
  syncFolder(aside)
  syncFolder(dataDir)
  renameSync(join(aside, unfinishedName), join(aside, membersName))
  syncFolder(aside)
}

function inTheWay(name: string): HoldfastError {
  return new HoldfastError(
    'ERR_MEMBERSHIP',
    `${asideFolder}: expected no stores of an earlier recovery there, got '${name}', and the stores of this node hold something again`,
    {
      hint: `a node that was filled since needs no second recovery: start it without peers.json; if it does need one, move ${asideFolder} away first, or delete it if nothing of it is needed`,
    },
  )
}

function unknownSource(nodeId: string, known: readonly Member[], from: string): HoldfastError {
  const ids = known.map(({ id }) => id).join(', ')
  return new HoldfastError('ERR_MEMBERSHIP', `peers.json: expected a first voter that '${nodeId}' knows (${ids}), got '${from}'`, {
    hint: 'the first voter of the list is the node whose log counts, and this node is filled from it',
  })
}

function planned(known: readonly Member[], plan: RecoveryPlan): readonly Member[] {
  return plan.members.flatMap(({ id, clusterAddress, voter }) => {
    const member = known.find((each) => each.id === id)
    return member === undefined ? [] : [{ ...member, voter, clusterAddress: clusterAddress ?? member.clusterAddress }]
  })
}

/** The file is used once: left in place, it would throw away what the cluster decides from now on, at each start. */
export function consumePlan(dataDir: string, recovered: Recovered, atMs: number): void {
  const path = join(dataDir, recoveryFile)
  const done = join(dataDir, recoveredFile)
  keepReport(done, { ...reportOf(recovered, atMs), audited: false })
  rmSync(path, { force: true })
  syncFolder(dataDir)
}

function keepReport(path: string, report: RecoveryReport): void {
  writeDurably(path, `${JSON.stringify(report, null, 2)}\n`)
}

/** Says in the audit files what an operator did while no server ran; once. @throws ERR_AUDIT */
export async function auditRecovery(dataDir: string, audit: AuditBroker, id: string, nowMs: number): Promise<void> {
  const report = lastRecovery(dataDir)
  if (report === null || report['audited'] === true) return
  const { audited: _, ...data } = report
  const request = {
    id,
    operation: 'update',
    namespace: { id: 'root', path: '' },
    path: 'sys/storage/raft/recover',
    data,
    remote_address: '',
  }
  // None of it is secret: ids, addresses, how far the log reached.
  const clear = ['time', 'role', 'id', 'address', 'filled_from', 'removed', 'log_had_lost']
  await audit.record({ type: 'request', time: new Date(nowMs).toISOString(), auth: null, request }, { request: clear, response: [] })
  keepReport(join(dataDir, recoveredFile), { ...data, audited: true })
}

/** What was done, as it is kept and printed. */
export function reportOf(recovered: Recovered, atMs: number): RecoveryReport {
  const members = recovered.members.map(({ id, clusterAddress, voter }) => ({ id, address: clusterAddress, non_voter: !voter }))
  const shared = { time: new Date(atMs).toISOString(), members }
  if (recovered.kind === 'follows') return { ...shared, role: 'follows', filled_from: recovered.from }
  const { index, term, uncommitted, removed, lost } = recovered
  return { ...shared, role: 'leads', index, term, not_known_committed: uncommitted, removed, log_had_lost: lost }
}

/** What the last recovery of this folder did, or null. */
export function lastRecovery(dataDir: string): RecoveryReport | null {
  try {
    return JSON.parse(readFileSync(join(dataDir, recoveredFile), 'utf8')) as RecoveryReport
  } catch {
    return null
  }
}

/** With those whom only the log names: certified they are too, and would be let in. */
function knownIn(log: LogStore, state: StateStore, formats: FormatRange): readonly Member[] {
  const announced = new Announced(formats)
  announced.scan(log, state.meta.applied)
  return announced.with(membersIn(state, formats))
}

function membersIn(state: StateStore, formats: FormatRange): readonly Member[] {
  const view = state.view()
  try {
    return readDirectory(view, formats).members
  } finally {
    view.release()
  }
}

/** `acceptLoss`: a log that is damaged is cut back to what proves itself. */
async function withStores<T>(
  { dataDir: directory, identity: { clusterId }, log: logger }: RecoverOptions,
  acceptLoss: boolean,
  act: (log: LogStore, state: StateStore) => Promise<T>,
): Promise<T> {
  const log = await openLogStore({ directory, clusterId, logger, repairable: acceptLoss })
  try {
    const state = await openStateStore({ directory, clusterId, logger })
    try {
      return await act(log, state)
    } finally {
      await state.close()
    }
  } finally {
    await log.close()
  }
}
