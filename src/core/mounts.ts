/**
 * The mount table of a namespace: one value in storage, read with each request in the request's own view, so that a request
 * never routes by an older table than the data it sees, and a change of the table while a write is evaluated is a conflict.
 * Parsing is what costs; it is kept by comparing the bytes, which needs no invalidation.
 */
import { HoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import { randomBase62, randomUuid, type RandomSource } from '#base/random.ts'
import { limits } from '#base/limits.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { encodeStored, parseStored } from './storage.ts'
import type { MountConfig, MountEntry } from './types.ts'

const tablePath = 'table'
const formatVersion = 1

/** Where a namespace's mount table lies. */
export const mountSection = (namespaceId: string): Section => ({ namespace: namespaceId, mount: 'sys/mounts' })

export interface MountRoute {
  readonly mount: MountEntry
  /** 'secret/', 'auth/token/'. */
  readonly prefix: string
  /** What follows the mount's path. */
  readonly rest: string
}

export interface MountTable {
  readonly entries: readonly MountEntry[]
  /** The mount with the longest prefix of `path`; null when none fits. */
  route(path: string): MountRoute | null
  /** By table and path with its trailing slash. */
  find(table: MountEntry['table'], path: string): MountEntry | null
}

/** Prefix under which a mount's routes lie, with the trailing slash. */
export const fullPath = (mount: Pick<MountEntry, 'table' | 'path'>): string => (mount.table === 'auth' ? `auth/${mount.path}` : mount.path)

export function mountTable(entries: readonly MountEntry[]): MountTable {
  const byPrefix = new Map(entries.map((entry) => [fullPath(entry), entry]))
  const depthMax = entries.reduce((most, entry) => Math.max(most, depthOf(fullPath(entry))), 0)
  return {
    entries,
    find: (table, path) => byPrefix.get(fullPath({ table, path })) ?? null,
    route(path) {
      const text = path.endsWith('/') ? path : `${path}/`
      // Nothing is mounted deeper than `depthMax`: the rest of a long path need not be looked for.
      for (let end = slashAt(text, depthMax); end > 0; end = text.lastIndexOf('/', end - 1)) {
        const prefix = text.slice(0, end + 1)
        const mount = byPrefix.get(prefix)
        if (mount) return { mount, prefix, rest: path.length > prefix.length ? path.slice(prefix.length) : '' }
      }
      return null
    },
  }
}

const depthOf = (prefix: string): number => prefix.split('/').length - 1

/** Where the `count`-th slash of `text` is, or its last one where there are fewer; -1 for 0. */
function slashAt(text: string, count: number): number {
  let at = -1
  for (let i = 0; i < count; i += 1) {
    const next = text.indexOf('/', at + 1)
    if (next < 0) break
    at = next
  }
  return at
}

interface StoredTable {
  readonly version: number
  readonly entries: readonly MountEntry[]
}

/** Mounts in all tables that are kept together; a table counts as one at least. */
const parsedMountsMax = 65_536

/** Reads mount tables; keeps the last parsed one of each namespace. One per core. */
export class MountReader {
  readonly #parsed = new BoundedLru<string, { readonly bytes: Uint8Array; readonly table: MountTable }>({ weightMax: parsedMountsMax })

  /** The table as it is in `view`. Empty before the bootstrap. */
  async read(view: ReadView, namespaceId: string): Promise<MountTable> {
    const bytes = await view.get(mountSection(namespaceId), tablePath)
    if (bytes === null) return mountTable([])
    const kept = this.#parsed.get(namespaceId)
    if (kept && (kept.bytes === bytes || Buffer.compare(kept.bytes, bytes) === 0)) return kept.table
    const table = parseTable(bytes)
    this.#parsed.set(namespaceId, { bytes: new Uint8Array(bytes), table }, Math.max(1, table.entries.length))
    return table
  }

  /** The last table that any request read here: a guess for deciding early whether to forward; never for answering. */
  lastSeen(namespaceId: string): MountTable | null {
    return this.#parsed.get(namespaceId)?.table ?? null
  }

  /** The barrier sealed: nothing opened stays. */
  clear(): void {
    this.#parsed.clear()
  }
}

function parseTable(bytes: Uint8Array): MountTable {
  const stored = parseStored<StoredTable>(bytes, 'the mount table')
  if (stored.version !== formatVersion) {
    throw new HoldfastError('ERR_STORE_CORRUPT', `expected mount table format ${formatVersion}, got ${stored.version}`, {
      hint: 'this node is older than the one that wrote the table: upgrade it',
    })
  }
  return mountTable(stored.entries)
}

/** Replaces the table of a namespace. @throws ERR_BAD_REQUEST when it would outgrow one stored value. */
export function writeMounts(transaction: Transaction, namespaceId: string, entries: readonly MountEntry[]): void {
  const bytes = encodeStored({ version: formatVersion, entries } satisfies StoredTable)
  if (bytes.length > limits.storageValueBytesMax) {
    throw new HoldfastError('ERR_BAD_REQUEST', `expected a mount table below ${limits.storageValueBytesMax} bytes, got ${bytes.length}`)
  }
  transaction.put(mountSection(namespaceId), tablePath, bytes)
}

export const defaultMountConfig: MountConfig = Object.freeze({
  default_lease_ttl: 0,
  max_lease_ttl: 0,
  force_no_cache: false,
})

/** A fresh entry with an accessor and a uuid of its own, in the root namespace unless another is named. `path` with its trailing slash. */
export function newMount(random: RandomSource, wanted: Pick<MountEntry, 'path' | 'table' | 'type'> & Partial<MountEntry>): MountEntry {
  return {
    description: '',
    namespaceId: 'root',
    options: null,
    local: false,
    sealWrap: false,
    config: defaultMountConfig,
    accessor: `${wanted.table === 'auth' ? 'auth_' : ''}${wanted.type}_${randomBase62(random, 8).toLowerCase()}`,
    uuid: randomUuid(random),
    ...wanted,
  }
}

/**
 * Checks and normalises a mount path: 'team/kv' becomes 'team/kv/'.
 * @throws ERR_BAD_REQUEST for a reserved path; ERR_MOUNT_EXISTS when it is in use, or lies above or below another mount.
 */
export function checkMountPath(table: MountTable, kind: MountEntry['table'], path: string): string {
  const clean = path.replace(/^\/+|\/+$/g, '')
  if (clean === '' || clean.split('/').some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'expected a mount path of non-empty segments')
  }
  const wanted = `${clean}/`
  if (kind === 'secret' && ['sys/', 'auth/', 'cubbyhole/', 'identity/'].some((reserved) => wanted.startsWith(reserved))) {
    throw new HoldfastError('ERR_BAD_REQUEST', `cannot mount under reserved path "${wanted}"`)
  }
  const full = fullPath({ table: kind, path: wanted })
  for (const entry of table.entries) {
    const other = fullPath(entry)
    if (entry.table !== kind) continue
    if (other === full) throw new HoldfastError('ERR_MOUNT_EXISTS', `path is already in use at ${full}`)
    if (other.startsWith(full) || full.startsWith(other)) {
      throw new HoldfastError('ERR_MOUNT_EXISTS', `existing mount at ${other}`, { hint: 'a mount cannot lie inside another' })
    }
  }
  return wanted
}
