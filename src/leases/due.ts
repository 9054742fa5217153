/**
 * What ends, by the time at which it ends, in the section {namespace, 'sys/lease'}:
 *
 *   due/CHUNK/BUCKET/SHARD/MS-KEY    the id of the lease
 *
 * The index is the truth and the wheel (wheel.ts) only looks ahead in it: so a new leader serves at once, whatever there is, and memory
 * depends on what falls due in the next minute and not on how many leases there are. Names alone say when and what, so that reading ahead
 * opens no value. A bucket is a quarter of a minute, a shard of it a few hundred names even when a million fall due at once: a folder is
 * always listed whole.
 */
import type { ReadView, Section, Transaction } from '#barrier/types.ts'

/** Where leases of a namespace lie. */
export const leaseSection = (namespace: string): Section => ({ namespace, mount: 'sys/lease' })

/** One thing that ends. */
export interface Due {
  readonly dueMs: number
  /** The last segment of the lease's id: names it within its namespace. At least two characters, none of them '/'. */
  readonly key: string
}

/** The folder that was read last; null: begin. */
export interface DueCursor {
  readonly chunk: string
  readonly bucket: string
  readonly shard: string
}

export interface DuePage {
  readonly dues: readonly Due[]
  /** null: there is nothing more up to the time that was asked for. */
  readonly next: DueCursor | null
}

const bucketMs = 16_384
const bucketsPerChunk = 256
const chunkMs = bucketMs * bucketsPerChunk
const shardChars = 2
const msDigits = 14

const chunkName = (ms: number): string => String(Math.floor(ms / chunkMs)).padStart(8, '0')
const bucketName = (ms: number): string => String(Math.floor(ms / bucketMs) % bucketsPerChunk).padStart(3, '0')

export function duePath({ dueMs, key }: Due): string {
  const ms = Math.max(0, Math.floor(dueMs))
  return `due/${chunkName(ms)}/${bucketName(ms)}/${key.slice(0, shardChars)}/${String(ms).padStart(msDigits, '0')}-${key}`
}

export function putDue(transaction: Transaction, namespace: string, due: Due, leaseId: string): void {
  transaction.put(leaseSection(namespace), duePath(due), Buffer.from(leaseId))
}

export function deleteDue(transaction: Transaction, namespace: string, due: Due): void {
  transaction.delete(leaseSection(namespace), duePath(due))
}

/** The id of the lease that falls due so; null when it has ended or was renewed meanwhile. */
export async function readDueId(view: ReadView, namespace: string, due: Due): Promise<string | null> {
  const value = await view.get(leaseSection(namespace), duePath(due))
  return value === null ? null : Buffer.from(value).toString('utf8')
}

function parseName(name: string): Due | null {
  const dueMs = Number(name.slice(0, msDigits))
  const key = name.slice(msDigits + 1)
  return Number.isSafeInteger(dueMs) && key !== '' ? { dueMs, key } : null
}

/**
 * What falls due in buckets that begin at `untilMs` or before, folder by folder after `cursor`, until at least `namesMax` names are found. Reads
 * whole folders; within one the order is that of time.
 */
export async function readDues(
  view: ReadView,
  namespace: string,
  untilMs: number,
  cursor: DueCursor | null,
  namesMax: number,
): Promise<DuePage> {
  const section = leaseSection(namespace)
  const folders = async (path: string, from: string): Promise<string[]> =>
    (await view.list(section, path))
      .filter((name) => name.endsWith('/'))
      .map((name) => name.slice(0, -1))
      .filter((name) => name >= from)
  const dues: Due[] = []
  const [lastChunk, lastBucket] = [chunkName(Math.max(0, untilMs)), bucketName(Math.max(0, untilMs))]
  for (const chunk of await folders('due', cursor?.chunk ?? '')) {
    if (chunk > lastChunk) break
    const sameChunk = cursor?.chunk === chunk
    for (const bucket of await folders(`due/${chunk}`, sameChunk ? (cursor?.bucket ?? '') : '')) {
      if (chunk === lastChunk && bucket > lastBucket) break
      const sameBucket = sameChunk && cursor?.bucket === bucket
      for (const shard of await folders(`due/${chunk}/${bucket}`, '')) {
        if (sameBucket && shard <= (cursor?.shard ?? '')) continue
        for (const name of await view.list(section, `due/${chunk}/${bucket}/${shard}`)) {
          const due = parseName(name)
          if (due !== null) dues.push(due)
        }
        if (dues.length >= namesMax) return { dues, next: { chunk, bucket, shard } }
      }
    }
  }
  return { dues, next: null }
}
