/**
 * What a schedule of snapshots is, and where it and the record of its runs lie: section 'sys/snapshots', `config/NAME` and `run/NAME`.
 *
 * Runs have slots: the multiples of the interval since the epoch. A slot's file has one name, whoever writes it, so that two leaders who believe for a
 * moment that both lead make one file between them; and the record says which slot is done, so that the next leader makes it again only if it is not.
 */
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'

const section: Section = { namespace: 'root', mount: 'sys/snapshots' }
const formatVersion = 1

export const scheduleLimits = {
  schedulesMax: 16,
  intervalMsMin: 10_000,
  intervalMsMax: 366 * 24 * 3_600_000,
  retainMax: 10_000,
  /** Pause after a first failed run; doubled by each further one, as far as `retryMsMax`. */
  retryMsMin: 15_000,
  retryMsMax: 3_600_000,
} as const

export interface LocalTarget {
  readonly kind: 'local'
  /** Bytes that all files of the schedule may take; 0: no limit. */
  readonly bytesMax: number
}

export interface S3Target {
  readonly kind: 'aws-s3'
  readonly bucket: string
  readonly region: string
  /** null: AWS's own. */
  readonly endpoint: string | null
  readonly forcePathStyle: boolean
  /** null: the AWS client's own search (environment, profile, web identity, container, instance). Never answered. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken: string | null } | null
  /** Encryption by a key of KMS; '' for the bucket's default key of KMS; null: the bucket's own way. */
  readonly kmsKey: string | null
}

export interface Schedule {
  readonly version: number
  readonly name: string
  readonly intervalMs: number
  readonly retain: number
  /** A folder (local) or what keys begin with (S3). */
  readonly pathPrefix: string
  readonly filePrefix: string
  readonly target: LocalTarget | S3Target
}

export interface RunSuccess {
  readonly slotMs: number
  readonly startedMs: number
  readonly endedMs: number
  readonly url: string
  readonly bytes: number
  readonly index: number
  readonly node: string
}

export interface RunRecord {
  readonly version: number
  /** The slot of the last run that was begun, when, and by whom. */
  readonly slotMs: number
  readonly startedMs: number
  readonly node: string
  readonly phase: 'running' | 'done' | 'failed'
  readonly failures: number
  /** After a failure: not before. */
  readonly retryAtMs: number
  readonly lastSuccess: RunSuccess | null
  readonly lastError: { readonly atMs: number; readonly message: string; readonly node: string } | null
}

const decoder = new TextDecoder('utf-8', { fatal: true })

function parse<T extends { readonly version: number }>(what: string, value: Uint8Array): T {
  const stored = JSON.parse(decoder.decode(value)) as T
  if (checkVersion(what, formatVersion, stored.version)) return stored
  throw new HoldfastError('ERR_STORE_CORRUPT', `${what} expected a version, got none`)
}

/** @throws ERR_UPGRADE_REQUIRED */
export const decodeSchedule = (value: Uint8Array): Schedule => parse<Schedule>('snapshot schedule', value)
/** @throws ERR_UPGRADE_REQUIRED */
export const decodeRun = (value: Uint8Array): RunRecord => parse<RunRecord>('snapshot run', value)

/** Of a schedule, or of the record of its runs. */
export const encodeStoredRecord = (value: Omit<Schedule, 'version'> | Omit<RunRecord, 'version'>): Uint8Array =>
  Buffer.from(JSON.stringify({ ...value, version: formatVersion }))

/** null when there is none of that name. @throws ERR_UPGRADE_REQUIRED */
export async function readSchedule(view: ReadView, name: string): Promise<Schedule | null> {
  const value = await view.get(section, `config/${name}`)
  return value === null ? null : decodeSchedule(value)
}

/** null before its first run. @throws ERR_UPGRADE_REQUIRED */
export async function readRun(view: ReadView, name: string): Promise<RunRecord | null> {
  const value = await view.get(section, `run/${name}`)
  return value === null ? null : decodeRun(value)
}

export const scheduleNames = (view: ReadView): Promise<string[]> => view.list(section, 'config')

/** @throws ERR_BAD_REQUEST beyond `schedulesMax`. */
export async function writeSchedule(transaction: Transaction, schedule: Omit<Schedule, 'version'>): Promise<void> {
  const names = await scheduleNames(transaction)
  if (!names.includes(schedule.name) && names.length >= scheduleLimits.schedulesMax)
    throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${scheduleLimits.schedulesMax} schedules, got one more`)
  transaction.put(section, `config/${schedule.name}`, encodeStoredRecord(schedule))
}

export function removeSchedule(transaction: Transaction, name: string): void {
  transaction.delete(section, `config/${name}`)
  transaction.delete(section, `run/${name}`)
}

export function writeRun(transaction: Transaction, name: string, run: Omit<RunRecord, 'version'>): void {
  transaction.put(section, `run/${name}`, encodeStoredRecord(run))
}

/** The slot that `nowMs` lies in. */
export const slotOf = ({ intervalMs }: Pick<Schedule, 'intervalMs'>, nowMs: number): number => Math.floor(nowMs / intervalMs) * intervalMs

/**
 * The slot that is to be run now; null: none. `running`: a run of it is under way in this process. One that another node has begun and not ended is run
 * again: only the leader asks, and who led before has stopped, or will not be believed.
 */
export function dueSlot(schedule: Pick<Schedule, 'intervalMs'>, run: RunRecord | null, nowMs: number, running: boolean): number | null {
  if (running) return null
  const slot = slotOf(schedule, nowMs)
  if (run === null) return slot
  if (run.phase === 'failed' && nowMs < run.retryAtMs) return null
  // By the slot that succeeded, not the one that was tried: a failed one is tried again, until the next has come.
  return run.lastSuccess !== null && run.lastSuccess.slotMs >= slot ? null : slot
}

/** When a run is next begun, if none fails. */
export function nextStartMs(schedule: Pick<Schedule, 'intervalMs'>, run: RunRecord | null, nowMs: number): number {
  const slot = slotOf(schedule, nowMs)
  if (run === null) return nowMs
  if (run.lastSuccess === null || run.lastSuccess.slotMs < slot) return run.phase === 'failed' ? Math.max(nowMs, run.retryAtMs) : nowMs
  return run.lastSuccess.slotMs + schedule.intervalMs
}

export function retryDelayMs(failures: number, intervalMs: number): number {
  const doubled = scheduleLimits.retryMsMin * 2 ** Math.min(failures - 1, 20)
  return Math.min(doubled, scheduleLimits.retryMsMax, Math.max(intervalMs, scheduleLimits.intervalMsMin))
}

/** 20261123T040000Z: sorts as time does. */
const stamp = (slotMs: number): string =>
  new Date(slotMs)
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(/[-:]/g, '')

export const fileNameOf = ({ filePrefix }: Pick<Schedule, 'filePrefix'>, slotMs: number): string => `${filePrefix}-${stamp(slotMs)}.snap`

/** Whether `name` is one that a run of the schedule gave: nothing else is ever removed. */
export function isFileOf({ filePrefix }: Pick<Schedule, 'filePrefix'>, name: string): boolean {
  return name.startsWith(`${filePrefix}-`) && /^\d{8}T\d{6}Z\.snap$/.test(name.slice(filePrefix.length + 1))
}
