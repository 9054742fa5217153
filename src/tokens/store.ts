/**
 * Tokens in the barrier, in the section {namespace, 'sys/token'}:
 *
 *   id/HASH             the entry; HASH is an HMAC of the token
 *   accessor/ACCESSOR   HASH
 *   parent/HASH/CHILD   one for each child
 *   due/MINUTE/HASH     by expiry, so that tidying reads what has expired and nothing else
 *   dead/HASH           revoked, with children that are still to be deleted
 *   parent/mount-UUID, dead/mount-UUID   the same for a login method's mount and the tokens of its logins: so unmounting ends them at once
 *
 * Intuition: a token is good only while its whole line of parents is. So revoking one kills all below it in the same Raft entry, however
 * many they are: deleting them is housekeeping, done in bounded steps. (The peers walk the tree at once: a large one takes long, and a
 * crash in the middle leaves a part alive.)
 *
 * Whoever revokes must clear what hangs on the tokens (cubbyholes, leases), by the `idHash` of the entries that are handed back.
 */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { assert } from '#base/assert.ts'
import { limits } from '#base/limits.ts'
import { BoundedLru } from '#base/lru.ts'
import type { RandomSource } from '#base/random.ts'
import { randomBase62 } from '#base/random.ts'
import type { ListOptions, ReadView, Section, Transaction } from '#barrier/types.ts'
import { parseCidr } from './cidr.ts'
import { createTokenHasher } from './hash.ts'
import { renewedTtl } from './ttl.ts'
import type { TtlLimits } from './ttl.ts'
import type { TokenEntry, TokenType } from './types.ts'

const entriesCachedMax = 16_384
/** Longest line of parents: each request of a token pays one cached read for each. */
const generationsMax = 64
const revokedPerStepMax = 256
/** Children that one `revokeOrphan` can set free. */
const orphansMax = 4_096
const metaPairsMax = 64
const metaKeyBytesMax = 128
const metaValueBytesMax = 512
/** As many as a request compiles. */
const policiesMax = 256
const displayNameBytesMax = 512
const tokenRandomChars = 24
const minuteMs = 60_000
/** Uses left of a token that is used up and waits to be deleted. */
const usedUp = -1

export interface CreateToken {
  /** null: an orphan. */
  readonly parent: TokenEntry | null
  /** Sanitised already (policies/names.ts). */
  readonly policies: readonly string[]
  readonly path: string
  readonly displayName: string
  /** From `grantTtl`; 0: never expires. */
  readonly ttlSeconds: number
  readonly meta?: Readonly<Record<string, string>> | null
  readonly type?: TokenType
  readonly namespaceId?: string
  readonly entityId?: string
  readonly role?: string
  /** 0: unlimited. */
  readonly numUses?: number
  readonly explicitMaxTtlSeconds?: number
  readonly periodSeconds?: number
  readonly renewable?: boolean
  readonly boundCidrs?: readonly string[]
  /** A token of the caller's choosing (only root may); must not exist. */
  readonly id?: string
  readonly login?: NonNullable<TokenEntry['login']>
}

export interface Revoked {
  /** Deleted by this step. */
  readonly entries: readonly TokenEntry[]
  /** More is to be deleted: none of it is good any more, `tidyStep` does the rest. */
  readonly more: boolean
}

export interface TokenStore {
  /** A key of 32 bytes, derived from the barrier's, when it opens; null when it seals. */
  setKey(key: Uint8Array | null): void
  /** The storage name of a token, also of its cubbyhole; null for what can't be a token. @throws ERR_SEALED. */
  hash(token: string): string | null
  /**
   * Makes a token in the caller's transaction. The token is in this result and nowhere else.
   * @throws ERR_BAD_REQUEST: metadata too large, a bad CIDR, too many generations, an id that exists or can't be one.
   */
  create(transaction: Transaction, params: CreateToken): Promise<{ readonly token: string; readonly entry: TokenEntry }>
  /** The entry of a token that is good at `view`; null when it, or one of its parents, is unknown, expired, revoked or used up. */
  lookup(view: ReadView, token: string): Promise<TokenEntry | null>
  lookupHash(view: ReadView, idHash: string, namespace?: string): Promise<TokenEntry | null>
  lookupAccessor(view: ReadView, accessor: string, namespace?: string): Promise<TokenEntry | null>
  listAccessors(view: ReadView, options?: ListOptions, namespace?: string): Promise<string[]>
  /** Counts one use of a limited token. With the last one the token is good for this request and no other: `tidyStep` deletes it. */
  consumeUse(transaction: Transaction, entry: TokenEntry): Promise<TokenEntry>
  /** @throws ERR_BAD_REQUEST: not renewable, or at the end of its maximum TTL. */
  renew(
    transaction: Transaction,
    entry: TokenEntry,
    incrementSeconds: number,
    limits: TtlLimits,
    changes?: Partial<Pick<TokenEntry, 'periodSeconds'>>,
  ): Promise<{ readonly entry: TokenEntry; readonly warnings: readonly string[] }>
  /** Revokes a token and all below it; deletes at most `tokensMax` (256) of them here. */
  revokeTree(transaction: Transaction, entry: TokenEntry, tokensMax?: number): Promise<Revoked>
  /** Revokes one token; its children become orphans. @throws ERR_BUSY beyond 4,096 children. */
  revokeOrphan(transaction: Transaction, entry: TokenEntry): Promise<Revoked>
  /** Deletes what has expired, is used up, or hangs below a revoked token: at most about `tokensMax` entries. For a job of the leader. */
  tidyStep(transaction: Transaction, tokensMax?: number, namespace?: string): Promise<Revoked>
  /** No token that a login at this mount made is good from here on, and none below it; `tidyStep` deletes them. */
  mountGone(transaction: Transaction, mountUuid: string, namespace: string): void
}

const sectionOf = (namespace: string): Section => ({ namespace, mount: 'sys/token' })
const duePath = (expireTimeMs: number, idHash: string): string =>
  `due/${String(Math.floor(expireTimeMs / minuteMs)).padStart(10, '0')}/${idHash}`
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
const one = Uint8Array.of(1)

/** A login method's mount among the parents of tokens. */
const mountName = (mountUuid: string): string => `mount-${mountUuid}`

/** When it is to be deleted, in the index; null: never. */
const dueMs = (entry: TokenEntry): number | null => (entry.numUses === usedUp ? 0 : entry.expireTimeMs)

/** Good by itself, whatever its parents are. */
const isAlive = (entry: TokenEntry, nowMs: number): boolean =>
  entry.numUses !== usedUp && (entry.expireTimeMs === null || entry.expireTimeMs > nowMs)

function put(transaction: Transaction, entry: TokenEntry): void {
  transaction.put(sectionOf(entry.namespaceId), `id/${entry.idHash}`, Buffer.from(JSON.stringify(entry)))
}

/** Writes `next` over `entry`, and moves it in the index of expiries. */
function replace(transaction: Transaction, entry: TokenEntry, next: TokenEntry): void {
  const section = sectionOf(entry.namespaceId)
  const [from, to] = [dueMs(entry), dueMs(next)].map((timeMs) => (timeMs === null ? null : duePath(timeMs, entry.idHash)))
  if (from && from !== to) transaction.delete(section, from)
  if (to && from !== to) transaction.put(section, to, one)
  put(transaction, next)
}

/** Deletes one token: from then on it and all below it are dead. */
function unlink(transaction: Transaction, entry: TokenEntry): void {
  const section = sectionOf(entry.namespaceId)
  transaction.delete(section, `id/${entry.idHash}`)
  transaction.delete(section, `accessor/${entry.accessor}`)
  if (entry.parentHash !== null) transaction.delete(section, `parent/${entry.parentHash}/${entry.idHash}`)
  if (entry.login) transaction.delete(section, `parent/${mountName(entry.login.mountUuid)}/${entry.idHash}`)
  const due = dueMs(entry)
  if (due !== null) transaction.delete(section, duePath(due, entry.idHash))
}

/** Entries are cached by their number: each must be small. */
function checkSizes({ meta = null, policies, displayName }: CreateToken): void {
  const refuse = (what: string, max: number, got: number): never => {
    throw new HoldfastError('ERR_BAD_REQUEST', `token ${what} expected at most ${max}, got ${got}`)
  }
  const pairs = Object.entries(meta ?? {})
  if (pairs.length > metaPairsMax) refuse('metadata pairs', metaPairsMax, pairs.length)
  for (const [key, value] of pairs) {
    const [keyBytes, valueBytes] = [Buffer.byteLength(key), Buffer.byteLength(value)]
    if (keyBytes > metaKeyBytesMax) refuse('metadata key bytes', metaKeyBytesMax, keyBytes)
    if (valueBytes > metaValueBytesMax) refuse('metadata value bytes', metaValueBytesMax, valueBytes)
  }
  if (policies.length > policiesMax) refuse('policies', policiesMax, policies.length)
  const policyBytes = Math.max(0, ...policies.map((name) => Buffer.byteLength(name)))
  if (policyBytes > limits.pathSegmentBytesMax) refuse('policy name bytes', limits.pathSegmentBytesMax, policyBytes)
  const nameBytes = Buffer.byteLength(displayName)
  if (nameBytes > displayNameBytesMax) refuse('display name bytes', displayNameBytesMax, nameBytes)
}

/** One a process (or thread). Keeps a key and caches; tokens live in the barrier. */
export function createTokenStore({ random }: { readonly random: RandomSource }): TokenStore {
  const hasher = createTokenHasher()
  /** Entries parsed from these very bytes: a changed entry has other bytes, so nothing here can be stale. */
  const parsed = new BoundedLru<string, { readonly bytes: Uint8Array; readonly entry: TokenEntry }>({ weightMax: entriesCachedMax })

  async function load(view: ReadView, namespace: string, idHash: string): Promise<TokenEntry | null> {
    const bytes = await view.get(sectionOf(namespace), `id/${idHash}`)
    if (bytes === null) return null
    const known = parsed.get(idHash)
    if (known && (known.bytes === bytes || Buffer.compare(known.bytes, bytes) === 0)) return known.entry
    const entry = JSON.parse(textOf(bytes)) as TokenEntry
    parsed.set(idHash, { bytes, entry })
    return entry
  }

  /** Good by itself, and its login's mount is still there. */
  async function isGood(view: ReadView, entry: TokenEntry): Promise<boolean> {
    if (!isAlive(entry, view.nowMs)) return false
    return !entry.login || (await view.get(sectionOf(entry.namespaceId), `dead/${mountName(entry.login.mountUuid)}`)) === null
  }

  /** The entry and the number of its parents; null when it or one of them is not good. */
  async function loadLine(view: ReadView, namespace: string, idHash: string): Promise<{ entry: TokenEntry; generation: number } | null> {
    const entry = await load(view, namespace, idHash)
    if (entry === null || !(await isGood(view, entry))) return null
    let generation = 0
    for (let parentHash = entry.parentHash; parentHash !== null; generation += 1) {
      const parent: TokenEntry | null = generation < generationsMax ? await load(view, namespace, parentHash) : null
      if (parent === null || !(await isGood(view, parent))) return null
      parentHash = parent.parentHash
    }
    return { entry, generation }
  }

  const lookupHash = async (view: ReadView, idHash: string, namespace = 'root'): Promise<TokenEntry | null> =>
    (await loadLine(view, namespace, idHash))?.entry ?? null

  async function checkParent(transaction: Transaction, parent: TokenEntry | null): Promise<void> {
    if (parent === null) return
    // Reading it here makes a revocation that commits in between refuse this transaction: no child is born to a dead parent.
    // A parent on its last use is "used up" in this transaction already, and its child dies with it, as its author must expect.
    const line = await loadLine(transaction, parent.namespaceId, parent.idHash)
    if (line === null && parent.numUses !== usedUp) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
    if (line && line.generation + 1 >= generationsMax) {
      throw new HoldfastError('ERR_BAD_REQUEST', `token expected at most ${generationsMax} generations of parents, got more`, {
        hint: 'create an orphan token',
      })
    }
  }

  async function newId(transaction: Transaction, namespace: string, id: string | undefined): Promise<{ token: string; idHash: string }> {
    const token = id ?? `s.${randomBase62(random, tokenRandomChars)}`
    const idHash = hasher.hash(token)
    if (idHash === null || /[\s\p{Cc}]/u.test(token)) {
      throw new HoldfastError('ERR_BAD_REQUEST', `token id expected 1 to 256 characters without white space, got ${token.length}`)
    }
    // A name of which children are still to be deleted: under a token of the same name again they would be alive again.
    const taken = async (): Promise<boolean> =>
      (await load(transaction, namespace, idHash)) !== null || (await transaction.get(sectionOf(namespace), `dead/${idHash}`)) !== null
    if (id !== undefined && (await taken())) {
      throw new HoldfastError('ERR_BAD_REQUEST', 'cannot create a token with a duplicate ID')
    }
    return { token, idHash }
  }

  /** Deletes `roots` and what is below, at most `tokensMax`; marks where children are left. */
  async function deleteTrees(transaction: Transaction, roots: readonly TokenEntry[], tokensMax: number): Promise<Revoked> {
    const queue = [...roots]
    const queued = new Set(queue.map((entry) => entry.idHash))
    let budget = Math.max(tokensMax - queue.length, 0)
    let more = false
    for (let at = 0; at < queue.length; at += 1) {
      const entry = queue[at]!
      const section = sectionOf(entry.namespaceId)
      unlink(transaction, entry)
      const children = await transaction.list(section, `parent/${entry.idHash}`, { limit: budget + 1 })
      if (children.length > budget) {
        transaction.put(section, `dead/${entry.idHash}`, one)
        more = true
      }
      for (const child of await loadChildren(transaction, entry, children.slice(0, budget))) {
        if (queued.has(child.idHash)) continue
        queued.add(child.idHash)
        queue.push(child)
        budget -= 1
      }
    }
    return { entries: queue, more }
  }

  async function loadChildren(transaction: Transaction, parent: TokenEntry, hashes: readonly string[]): Promise<TokenEntry[]> {
    const entries: TokenEntry[] = []
    for (const hash of hashes) {
      const entry = await load(transaction, parent.namespaceId, hash)
      if (entry) entries.push(entry)
      else transaction.delete(sectionOf(parent.namespaceId), `parent/${parent.idHash}/${hash}`)
    }
    return entries
  }

  /** Tokens whose parent was revoked and which are still to be deleted; takes away the marks of parents that have none left. */
  async function collectDead(transaction: Transaction, namespace: string, tokensMax: number): Promise<TokenEntry[]> {
    const section = sectionOf(namespace)
    const found: TokenEntry[] = []
    for (const idHash of await transaction.list(section, 'dead', { limit: tokensMax })) {
      const children = await transaction.list(section, `parent/${idHash}`, { limit: tokensMax - found.length + 1 })
      const fits = children.length <= tokensMax - found.length
      if (fits) transaction.delete(section, `dead/${idHash}`)
      for (const hash of children.slice(0, tokensMax - found.length)) {
        const entry = await load(transaction, namespace, hash)
        if (entry) found.push(entry)
        else transaction.delete(section, `parent/${idHash}/${hash}`)
      }
      if (!fits) break
    }
    return found
  }

  async function collectDue(transaction: Transaction, namespace: string, tokensMax: number): Promise<TokenEntry[]> {
    const section = sectionOf(namespace)
    const found: TokenEntry[] = []
    for (const folder of await transaction.list(section, 'due', { limit: 64 })) {
      const minute = folder.replace(/\/$/, '')
      if (Number(minute) * minuteMs > transaction.nowMs) break
      for (const idHash of await transaction.list(section, `due/${minute}`, { limit: tokensMax + 1 })) {
        if (found.length >= tokensMax) return found
        const entry = await load(transaction, namespace, idHash)
        if (entry === null) transaction.delete(section, `due/${minute}/${idHash}`)
        else if (!isAlive(entry, transaction.nowMs)) found.push(entry)
      }
    }
    return found
  }

  return {
    setKey: (key) => hasher.setKey(key),
    hash: (token) => hasher.hash(token),
    lookupHash,

    async create(transaction, params) {
      const { parent, meta = null, namespaceId = 'root', boundCidrs = [], numUses = 0, ttlSeconds } = params
      checkSizes(params)
      if (numUses < 0) throw new HoldfastError('ERR_BAD_REQUEST', 'number of uses cannot be negative')
      assert(ttlSeconds >= 0, 'a token expected to end some time after it was made')
      boundCidrs.forEach(parseCidr)
      await checkParent(transaction, parent)
      const { token, idHash } = await newId(transaction, namespaceId, params.id)
      const entry: TokenEntry = {
        idHash,
        accessor: randomBase62(random, tokenRandomChars),
        parentHash: parent?.idHash ?? null,
        policies: [...params.policies],
        path: params.path,
        meta,
        displayName: params.displayName,
        type: params.type ?? 'service',
        namespaceId,
        entityId: params.entityId ?? '',
        ...(params.role === undefined ? {} : { role: params.role }),
        numUses,
        creationTimeMs: transaction.nowMs,
        creationTtlSeconds: ttlSeconds,
        explicitMaxTtlSeconds: params.explicitMaxTtlSeconds ?? 0,
        periodSeconds: params.periodSeconds ?? 0,
        renewable: ttlSeconds > 0 && (params.renewable ?? true),
        orphan: parent === null,
        expireTimeMs: ttlSeconds > 0 ? transaction.nowMs + ttlSeconds * 1_000 : null,
        lastRenewalTimeMs: null,
        boundCidrs: [...boundCidrs],
        ...(params.login === undefined ? {} : { login: params.login }),
      }
      const section = sectionOf(namespaceId)
      put(transaction, entry)
      transaction.put(section, `accessor/${entry.accessor}`, Buffer.from(idHash))
      if (parent) transaction.put(section, `parent/${parent.idHash}/${idHash}`, one)
      if (entry.login) transaction.put(section, `parent/${mountName(entry.login.mountUuid)}/${idHash}`, one)
      if (entry.expireTimeMs !== null) transaction.put(section, duePath(entry.expireTimeMs, idHash), one)
      return { token, entry }
    },

    async lookup(view, token) {
      const idHash = hasher.hash(token)
      return idHash === null ? null : lookupHash(view, idHash)
    },

    async lookupAccessor(view, accessor, namespace = 'root') {
      if (!/^[0-9A-Za-z]{1,64}$/.test(accessor)) return null
      const idHash = await view.get(sectionOf(namespace), `accessor/${accessor}`)
      return idHash === null ? null : lookupHash(view, textOf(idHash), namespace)
    },

    listAccessors: (view, options = {}, namespace = 'root') => view.list(sectionOf(namespace), 'accessor', options),

    async consumeUse(transaction, entry) {
      // Not the entry that the caller holds: two uses in one transaction, or one that was read in another view, must both count.
      const current = await load(transaction, entry.namespaceId, entry.idHash)
      if (current === null || !isAlive(current, transaction.nowMs)) {
        throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
      }
      if (current.numUses === 0) return current
      const next: TokenEntry = { ...current, numUses: current.numUses === 1 ? usedUp : current.numUses - 1 }
      replace(transaction, current, next)
      return next
    },

    async renew(transaction, entry, incrementSeconds, limits, changes = {}) {
      const stored = await load(transaction, entry.namespaceId, entry.idHash)
      if (!stored) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
      const current: TokenEntry = { ...stored, ...changes }
      if (!current.renewable || current.expireTimeMs === null) throw new HoldfastError('ERR_BAD_REQUEST', 'lease is not renewable')
      const { ttlSeconds, warnings } = renewedTtl(current, transaction.nowMs, incrementSeconds, limits)
      if (ttlSeconds <= 0) throw new HoldfastError('ERR_BAD_REQUEST', 'past the max TTL, cannot renew')
      const expireTimeMs = transaction.nowMs + ttlSeconds * 1_000
      const next: TokenEntry = { ...current, expireTimeMs, lastRenewalTimeMs: transaction.nowMs }
      replace(transaction, current, next)
      return { entry: next, warnings }
    },

    async revokeTree(transaction, { namespaceId, idHash }, tokensMax = revokedPerStepMax) {
      const entry = await load(transaction, namespaceId, idHash)
      return entry ? deleteTrees(transaction, [entry], tokensMax) : { entries: [], more: false }
    },

    async revokeOrphan(transaction, { namespaceId, idHash }) {
      const entry = await load(transaction, namespaceId, idHash)
      if (!entry) return { entries: [], more: false }
      const section = sectionOf(entry.namespaceId)
      const hashes = await transaction.list(section, `parent/${entry.idHash}`, { limit: orphansMax + 1 })
      if (hashes.length > orphansMax) throw new HoldfastError('ERR_BUSY', `expected at most ${orphansMax} children, got more`)
      for (const child of await loadChildren(transaction, entry, hashes)) {
        put(transaction, { ...child, parentHash: null, orphan: true })
        transaction.delete(section, `parent/${entry.idHash}/${child.idHash}`)
      }
      unlink(transaction, entry)
      return { entries: [entry], more: false }
    },

    mountGone: (transaction, mountUuid, namespace) => transaction.put(sectionOf(namespace), `dead/${mountName(mountUuid)}`, one),

    async tidyStep(transaction, tokensMax = revokedPerStepMax, namespace = 'root') {
      const dead = await collectDead(transaction, namespace, tokensMax)
      const due = dead.length < tokensMax ? await collectDue(transaction, namespace, tokensMax - dead.length) : []
      const known = new Set(dead.map((entry) => entry.idHash))
      const roots = [...dead, ...due.filter((entry) => !known.has(entry.idHash))]
      const { entries, more } = await deleteTrees(transaction, roots, tokensMax)
      return { entries, more: more || roots.length >= tokensMax }
    },
  }
}
