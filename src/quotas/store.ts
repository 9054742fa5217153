/**
 * Quotas as they are kept: one value a quota in the root's section 'sys/quotas', KIND/NAME what the root has written and of/OWNER/KIND/NAME what
 * another namespace has; and a mark that every change replaces.
 *
 * A flood must be refused before anything is read, so what holds is kept in memory on every node. The apply feed says that something has changed; the
 * mark, which lies in the barrier's cache unless it changed itself, says whether it was a quota.
 */
import { createHash } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { Layers, sameScope } from './match.ts'
import { quotaId, quotaKinds, type QuotaConfig, type QuotaKind, type QuotaKinds } from './types.ts'

const formatVersion = 1
/** Of a kind: what the root has written, and as many that all others have. */
export const quotasMax = 4_096
/** Of a kind that one namespace has written: all of them are in the memory of every node. */
export const ownQuotasMax = 256
const nameBytesMax = 128
export const exemptPathsMax = 256

export const quotaSection: Section = { namespace: 'root', mount: 'sys/quotas' }
const markPath = 'mark'
const configPath = 'config'
const ownedFolder = 'of'
const rootOwner = 'root'
const folderOf = (kind: QuotaKind, owner: string): string => (owner === rootOwner ? kind : `${ownedFolder}/${owner}/${kind}`)
const pathOf = (kind: QuotaKind, name: string, owner: string): string => `${folderOf(kind, owner)}/${name}`

/** Nobody may be shut out of these by a quota: a load balancer's question, and what opens a node. */
export const alwaysExempt: readonly string[] = [
  'sys/generate-recovery-token/attempt',
  'sys/generate-recovery-token/update',
  'sys/generate-root/attempt',
  'sys/generate-root/update',
  'sys/generate-root-token/attempt',
  'sys/generate-root-token/update',
  'sys/health',
  'sys/seal-status',
  'sys/unseal',
]

export const defaultConfig: QuotaConfig = { exemptPaths: alwaysExempt, auditRefused: false, answerHeaders: false }

/** Everything that holds, ready to be asked. Replaced as a whole, never changed. */
export interface Quotas {
  readonly rateLimits: Layers<QuotaKinds['rate-limit']>
  readonly leaseCounts: Layers<QuotaKinds['lease-count']>
  readonly requestLimits: Layers<QuotaKinds['request-limits']>
  readonly config: QuotaConfig
  /** Namespaces with a quota, and the root: what lies in them must be known before a request is read. */
  readonly namespaces: readonly string[]
  readonly isExempt: (path: string) => boolean
  /** By `quotaId`. */
  readonly rateLimitNamed: (id: string) => QuotaKinds['rate-limit'] | null
}

type Any = QuotaKinds[QuotaKind]

/** One a process. */
export class QuotaStore {
  #mark: Uint8Array | null = null
  #current: Quotas = compile({ 'rate-limit': [], 'lease-count': [], 'request-limits': [] }, defaultConfig)

  /** What held when this node last looked. */
  get current(): Quotas {
    return this.#current
  }

  /** Looks whether something has changed, and takes it in. True when it has. */
  async refresh(view: ReadView): Promise<boolean> {
    const mark = await view.get(quotaSection, markPath)
    if (same(mark, this.#mark)) return false
    const config = await this.config(view)
    const all = {
      'rate-limit': await this.all(view, 'rate-limit'),
      'lease-count': await this.all(view, 'lease-count'),
      'request-limits': await this.all(view, 'request-limits'),
    }
    this.#current = compile(all, config)
    this.#mark = mark
    return true
  }

  /** The barrier sealed: nothing opened stays. */
  onSealed(): void {
    this.#mark = null
    this.#current = compile({ 'rate-limit': [], 'lease-count': [], 'request-limits': [] }, defaultConfig)
  }

  /** `owner`: the id of the namespace that it was written in. */
  async get<K extends QuotaKind>(view: ReadView, kind: K, name: string, owner = rootOwner): Promise<QuotaKinds[K] | null> {
    if (!goodName(name)) return null
    const stored = await view.get(quotaSection, pathOf(kind, name, owner))
    if (stored === null) return null
    return { ...decodeQuota<QuotaKinds[K]>(stored, 'a quota'), name, ...(owner === rootOwner ? {} : { owner }) }
  }

  /** Names in order. */
  async list(view: ReadView, kind: QuotaKind, owner = rootOwner): Promise<string[]> {
    return view.list(quotaSection, folderOf(kind, owner))
  }

  /** Of every owner. */
  async all<K extends QuotaKind>(view: ReadView, kind: K): Promise<QuotaKinds[K][]> {
    const found: QuotaKinds[K][] = []
    for (const owner of [rootOwner, ...(await owners(view))]) found.push(...(await this.#ofOwner(view, kind, owner)))
    return found
  }

  async #ofOwner<K extends QuotaKind>(view: ReadView, kind: K, owner: string): Promise<QuotaKinds[K][]> {
    const found: QuotaKinds[K][] = []
    for (const name of await this.list(view, kind, owner)) {
      const quota = await this.get(view, kind, name, owner)
      if (quota !== null) found.push(quota)
    }
    return found
  }

  /** @throws ERR_BAD_REQUEST: a name that can't be, another quota of this owner and scope, too many. */
  async put<K extends QuotaKind>(transaction: Transaction, kind: K, quota: QuotaKinds[K]): Promise<void> {
    checkName(quota.name)
    const of = quota.owner ?? rootOwner
    const others = (await this.#ofOwner(transaction, kind, of)).filter(({ name }) => name !== quota.name)
    const twin = others.find((other) => sameScope(other, quota))
    if (twin !== undefined) {
      throw new HoldfastError('ERR_BAD_REQUEST', `quota rule with similar properties exists under the name ${JSON.stringify(twin.name)}`)
    }
    await this.#checkCount(transaction, kind, of, others.length)
    const { name, owner: _, ...rest } = quota as Any
    transaction.put(quotaSection, pathOf(kind, name, of), encodeQuota(rest))
    await touch(transaction, [kind, quotaId(quota), rest])
  }

  async #checkCount(view: ReadView, kind: QuotaKind, owner: string, others: number): Promise<void> {
    const max = owner === rootOwner ? quotasMax : ownQuotasMax
    if (others >= max) throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${max} quotas of a kind, got more`)
    if (owner === rootOwner) return
    let owned = 0
    for (const each of await owners(view)) owned += (await this.list(view, kind, each)).length
    if (owned > quotasMax)
      throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${quotasMax} quotas of a kind in all namespaces, got more`)
  }

  /** Nothing happens when there is none. */
  async delete(transaction: Transaction, kind: QuotaKind, name: string, owner = rootOwner): Promise<void> {
    if ((await this.get(transaction, kind, name, owner)) === null) return
    transaction.delete(quotaSection, pathOf(kind, name, owner))
    await touch(transaction, [kind, owner, name, null])
  }

  /** A mount or a namespace is gone, and its quotas with it; those that it has written too. */
  async drop(transaction: Transaction, gone: { readonly mountUuid: string } | { readonly namespaceId: string }): Promise<void> {
    for (const kind of quotaKinds) {
      for (const quota of await this.all(transaction, kind)) {
        const hit =
          'mountUuid' in gone
            ? quota.mountUuid === gone.mountUuid
            : quota.namespaceId === gone.namespaceId || quota.owner === gone.namespaceId
        if (hit) await this.delete(transaction, kind, quota.name, quota.owner)
      }
    }
  }

  async config(view: ReadView): Promise<QuotaConfig> {
    const stored = await view.get(quotaSection, configPath)
    return stored === null ? defaultConfig : decodeQuota<QuotaConfig>(stored, 'the configuration of quotas')
  }

  async putConfig(transaction: Transaction, config: QuotaConfig): Promise<void> {
    if (config.exemptPaths.length > exemptPathsMax) {
      throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${exemptPathsMax} exempt paths, got ${config.exemptPaths.length}`)
    }
    transaction.put(quotaSection, configPath, encodeQuota(config))
    await touch(transaction, ['config', config])
  }
}

/** Namespaces other than the root that have written quotas. */
const owners = async (view: ReadView): Promise<string[]> =>
  (await view.list(quotaSection, ownedFolder)).map((folder) => folder.replace(/\/$/, ''))

/** A digest of every change so far: two states with the same mark have the same quotas, also after a restore. */
async function touch(transaction: Transaction, change: unknown): Promise<void> {
  const before = await transaction.get(quotaSection, markPath)
  const mark = createHash('sha256')
    .update(before ?? '')
    .update(JSON.stringify(change))
    .digest()
  transaction.put(quotaSection, markPath, mark)
}

const same = (a: Uint8Array | null, b: Uint8Array | null): boolean => a === b || (a !== null && b !== null && Buffer.compare(a, b) === 0)

function compile(all: { readonly [K in QuotaKind]: QuotaKinds[K][] }, config: QuotaConfig): Quotas {
  const namespaces = quotaKinds.flatMap((kind) => (all[kind] as readonly Any[]).map(({ namespaceId }) => namespaceId))
  const exact = new Set([...alwaysExempt, ...config.exemptPaths])
  const prefixes = config.exemptPaths.filter((path) => path.endsWith('*')).map((path) => path.slice(0, -1))
  const named = new Map(all['rate-limit'].map((quota) => [quotaId(quota), quota]))
  return {
    rateLimits: new Layers(all['rate-limit']),
    leaseCounts: new Layers(all['lease-count']),
    requestLimits: new Layers(all['request-limits']),
    config,
    namespaces: [...new Set(['root', ...namespaces])],
    rateLimitNamed: (id) => named.get(id) ?? null,
    isExempt: (path) => exact.has(path) || prefixes.some((prefix) => path.startsWith(prefix)),
  }
}

const goodName = (name: string): boolean => name.length <= nameBytesMax && /^\w(?:[\w.-]*\w)?$/.test(name)

function checkName(name: string): void {
  if (goodName(name)) return
  throw new HoldfastError('ERR_BAD_REQUEST', `quota name expected 1 to ${nameBytesMax} letters, digits, _ - and . within, got another`)
}

/** A quota as it is stored; its name is where it lies. */
export const encodeQuota = (value: object): Uint8Array => Buffer.from(JSON.stringify({ version: formatVersion, ...value }))

/** The record without its version. @throws ERR_STORE_CORRUPT, ERR_UPGRADE_REQUIRED. */
export function decodeQuota<T>(stored: Uint8Array, what: string): T {
  const { version, ...record } = parse(stored, what)
  if (checkVersion(what, formatVersion, version)) return record as T
  throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to have a version`)
}

function parse(stored: Uint8Array, what: string): Record<string, unknown> {
  try {
    return JSON.parse(Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength).toString('utf8')) as Record<string, unknown>
  } catch {
    throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to be JSON`)
  }
}
