/**
 * Tokens in the barrier, in the section {namespace, 'sys/token'}:
 *
 *   id/HASH             the entry; HASH is an HMAC of the token
 *   accessor/ACCESSOR   HASH
 *   parent/HASH/CHILD   one for each child; CHILD is its HASH, or HASH.NAMESPACE where it lies in another (below this one)
 *   dead/HASH           revoked, with children that are still to be deleted: too many for one step, or in a namespace that is sealed
 *   parent/mount-UUID, dead/mount-UUID   the same for a login method's mount and the tokens of its logins: so unmounting ends them at once
 *   gone/UUID           that mount again, for good: its batch tokens lie nowhere, and are as long-lived as somebody once tuned it
 *
 * Intuition: a token is good only while its whole line of parents is. So revoking one kills all below it in the same Raft entry, however
 * many they are: deleting them is housekeeping, done in bounded steps. (The peers walk the tree at once: a large one takes long, and a
 * crash in the middle leaves a part alive.)
 *
 * A token that ends some time has a lease besides (leases/store.ts), called PATH/HASH: there it is found by when it ends, and by where it was made.
 *
 * A child in a namespace that is sealed can be neither read nor deleted: it is dead as all others are, and is deleted once that is open.
 *
 * Whoever revokes must clear what hangs on the tokens (cubbyholes, leases), by the `idHash` of the entries that are handed back.
 */
import { HoldfastError, isHoldfastError, wellKnown } from '#base/errors.ts'
import { assert } from '#base/assert.ts'
import { inPages } from '#barrier/pages.ts'
import { limits } from '#base/limits.ts'
import { BoundedLru } from '#base/lru.ts'
import type { RandomSource } from '#base/random.ts'
import { randomBase62 } from '#base/random.ts'
import type { ListOptions, ReadView, Section, Transaction } from '#barrier/types.ts'
import { LeaseLedger } from '#leases/ledger.ts'
import { LeaseStore } from '#leases/store.ts'
import { batchEntryOf, BatchTokens, type BatchEntry } from './batch.ts'
import { parseCidr } from './cidr.ts'
import { createTokenHasher } from './hash.ts'
import { lifetimeSeconds, longestGrant } from './lifetime.ts'
import { namespaceOfToken, rootId } from './namespace.ts'
import { renewedTtl } from './ttl.ts'
import type { TtlLimits } from './ttl.ts'
import type { TokenEntry, TokenType } from './types.ts'

const entriesCachedMax = 16_384
const cursorsMax = 1_024
/** Longest line of parents: each request of a token pays one cached read for each. */
const generationsMax = 64
const revokedPerStepMax = 256
/** The same of one that is due: many of them end in one transaction. */
const endedPerDueMax = 16
/** Keys below one parent, or of one minute, that are left when all tokens of a namespace were deleted: none but those of a crash of long ago. */
const keysOfNamespaceMax = 16_384
/** Children that one `revokeOrphan` can set free. */
const orphansMax = 4_096
const metaPairsMax = 64
const metaKeyBytesMax = 128
const metaValueBytesMax = 512
/** As many as a request compiles. */
const policiesMax = 256
const displayNameBytesMax = 512
const tokenRandomChars = 24
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
  /** The lifetime (tokens/lifetime.ts) of the token that hands on to it what it may; 0: nothing is handed on. */
  readonly givenBySeconds?: number
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
  /** A token of the caller's choosing (only root may, in the root namespace); must not exist. */
  readonly id?: string
  readonly login?: NonNullable<TokenEntry['login']>
}

export interface Revoked {
  /** Deleted by this step. */
  readonly entries: readonly TokenEntry[]
  /** More is to be deleted: none of it is good any more, `tidyStep` does the rest. */
  readonly more: boolean
}

interface Children {
  readonly entries: readonly TokenEntry[]
  /** There are others. */
  readonly more: boolean
  /** Some lie in namespaces that are sealed: none of these was read. */
  readonly waiting: boolean
}

export interface TokenStore {
  /** A key of 32 bytes, derived from the barrier's, when it opens; null when it seals. */
  setKey(key: Uint8Array | null): void
  /** Forgets what was opened, of all namespaces: it is read anew. */
  forgetOpened(): void
  /** The storage name of a token, also of its cubbyhole; null for what can't be a token. @throws ERR_SEALED. */
  hash(token: string): string | null
  /**
   * Makes a token in the caller's transaction. The token is in this result and nowhere else.
   * @throws ERR_BAD_REQUEST: metadata too large, a bad CIDR, too many generations, an id that exists or can't be one.
   */
  create(transaction: Transaction, params: CreateToken): Promise<{ readonly token: string; readonly entry: TokenEntry }>
  /**
   * The entry of a token that is good at `view`; null when it, or one of its parents, is unknown, expired, revoked or used up. With `namespaceIds`, one of
   * another namespace is not looked for.
   */
  lookup(view: ReadView, token: string, namespaceIds?: readonly string[]): Promise<TokenEntry | null>
  lookupHash(view: ReadView, idHash: string, namespace?: string): Promise<TokenEntry | null>
  /** The entry as it is stored, whether it is good or not. */
  stored(view: ReadView, idHash: string, namespace: string): Promise<TokenEntry | null>
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
    changes?: Partial<Pick<TokenEntry, 'periodSeconds' | 'explicitMaxTtlSeconds'>>,
  ): Promise<{ readonly entry: TokenEntry; readonly warnings: readonly string[] }>
  /** Revokes a token and all below it; deletes at most `tokensMax` (256) of them here. */
  revokeTree(transaction: Transaction, entry: Pick<TokenEntry, 'namespaceId' | 'idHash'>, tokensMax?: number): Promise<Revoked>
  /** Revokes one token; its children become orphans, but those in sealed namespaces (`more`), which end with it. @throws ERR_BUSY beyond 4,096 children. */
  revokeOrphan(transaction: Transaction, entry: TokenEntry): Promise<Revoked>
  /** Deletes a token that has expired or is used up, with some of what is below it. 'alive': it lives longer by now; 'gone': there is none. */
  endDue(transaction: Transaction, idHash: string, namespace: string): Promise<Revoked | 'alive' | 'gone'>
  /** Deletes what hangs below a revoked token: at most about `tokensMax` entries. For a job of the leader. */
  tidyStep(transaction: Transaction, tokensMax?: number, namespace?: string): Promise<Revoked>
  /** Deletes some of what is kept for a namespace that nothing reaches any more; true when more is left. */
  dropNamespaceStep(transaction: Transaction, namespace: string, tokensMax?: number): Promise<boolean>
  /** No token that a login at this mount made is good from here on, and none below it; `tidyStep` deletes them. */
  mountGone(transaction: Transaction, mountUuid: string, namespace: string): void
}

const sectionOf = (namespace: string): Section => ({ namespace, mount: 'sys/token' })
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
const one = Uint8Array.of(1)

/** Where its parent lies. */
const parentNamespace = (entry: Pick<TokenEntry, 'namespaceId' | 'parentNamespaceId'>): string =>
  entry.parentNamespaceId ?? entry.namespaceId

/** A token as a child of its parent, and back. */
const childName = (entry: TokenEntry): string =>
  entry.parentNamespaceId === undefined ? entry.idHash : `${entry.idHash}.${entry.namespaceId}`
function childOf(parentNamespaceId: string, name: string): { readonly idHash: string; readonly namespace: string } {
  const [idHash = '', namespace = parentNamespaceId] = name.split('.')
  return { idHash, namespace }
}

/** A login method's mount among the parents of tokens. */
const mountName = (mountUuid: string): string => `mount-${mountUuid}`
const goneMount = (mountUuid: string): string => `gone/${mountUuid}`

/** When it is to be deleted, in the index; null: never. */
const dueMs = (entry: TokenEntry): number | null => (entry.numUses === usedUp ? 0 : entry.expireTimeMs)

/** Good by itself, whatever its parents are. */
const isAlive = (entry: TokenEntry, nowMs: number): boolean =>
  entry.numUses !== usedUp && (entry.expireTimeMs === null || entry.expireTimeMs > nowMs)

function put(transaction: Transaction, entry: TokenEntry): void {
  transaction.put(sectionOf(entry.namespaceId), `id/${entry.idHash}`, Buffer.from(JSON.stringify(entry)))
}

/** Deletes one token: from then on it and all below it are dead. */
function unlinkIn(leases: LeaseStore, transaction: Transaction, entry: TokenEntry): void {
  const section = sectionOf(entry.namespaceId)
  transaction.delete(section, `id/${entry.idHash}`)
  transaction.delete(section, `accessor/${entry.accessor}`)
  if (entry.parentHash !== null) transaction.delete(sectionOf(parentNamespace(entry)), `parent/${entry.parentHash}/${childName(entry)}`)
  if (entry.login) transaction.delete(section, `parent/${mountName(entry.login.mountUuid)}/${entry.idHash}`)
  const due = dueMs(entry)
  if (due !== null) leases.dropToken(transaction, entry.namespaceId, entry.path, entry.idHash, due)
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
export function createTokenStore({
  random,
  leases = new LeaseStore({ random, ledger: new LeaseLedger() }),
  incarnation = () => 1,
}: {
  readonly random: RandomSource
  /** Absent: one whose changes nobody hears of. */
  readonly leases?: LeaseStore
  /** The cluster's present one: batch tokens are bound to it. */
  readonly incarnation?: () => number
}): TokenStore {
  const hasher = createTokenHasher()
  const batch = new BatchTokens({ random, incarnation })
  /** Entries parsed from these very bytes: a changed entry has other bytes, so nothing here can be stale. */
  const parsed = new BoundedLru<string, { readonly bytes: Uint8Array; readonly entry: TokenEntry }>({ weightMax: entriesCachedMax })

  /** Writes `next` over `entry`, and moves the time at which it ends. */
  function replace(transaction: Transaction, entry: TokenEntry, next: TokenEntry): void {
    const { namespaceId, path, idHash } = entry
    const [from, to] = [dueMs(entry), dueMs(next)]
    if (from === null && to !== null) leases.registerToken(transaction, namespaceId, path, idHash, to)
    if (from !== null && to !== null) leases.moveToken(transaction, namespaceId, path, idHash, from, to)
    put(transaction, next)
  }

  /** By namespace: the last mark of a dead parent that waits for a sealed namespace and was passed over. Begun from the first each time, a step might see none but those. */
  const waitingUpTo = new BoundedLru<string, string>({ weightMax: cursorsMax })

  const unlink = (transaction: Transaction, entry: TokenEntry): void => unlinkIn(leases, transaction, entry)

  async function load(view: ReadView, namespace: string, idHash: string): Promise<TokenEntry | null> {
    const bytes = await view.get(sectionOf(namespace), `id/${idHash}`)
    if (bytes === null) return null
    const known = parsed.get(idHash)
    if (known && (known.bytes === bytes || Buffer.compare(known.bytes, bytes) === 0)) return known.entry
    const entry = JSON.parse(textOf(bytes)) as TokenEntry
    // A copy of their own: these may be part of a larger piece of memory, which would be kept with them.
    parsed.set(idHash, { bytes: new Uint8Array(bytes), entry })
    return entry
  }

  /** Good by itself, and its login's mount is still there. */
  async function isGood(view: ReadView, entry: TokenEntry): Promise<boolean> {
    if (!isAlive(entry, view.nowMs)) return false
    if (!entry.login) return true
    // The mark of those that lie here goes with the last of them. By it alone a batch token would be good again ten seconds after its mount was disabled.
    const mark = entry.type === 'batch' ? goneMount(entry.login.mountUuid) : `dead/${mountName(entry.login.mountUuid)}`
    return (await view.get(sectionOf(entry.namespaceId), mark)) === null
  }

  /** The entry and the number of its parents; null when it or one of them is not good. */
  async function loadLine(view: ReadView, namespace: string, idHash: string): Promise<{ entry: TokenEntry; generation: number } | null> {
    const entry = await load(view, namespace, idHash)
    if (entry === null || !isAlive(entry, view.nowMs) || (entry.login && !(await isGood(view, entry)))) return null
    let generation = 0
    for (let child = entry; child.parentHash !== null; generation += 1) {
      const parent = generation < generationsMax ? await load(view, parentNamespace(child), child.parentHash) : null
      if (parent === null || !isAlive(parent, view.nowMs) || (parent.login && !(await isGood(view, parent)))) return null
      child = parent
    }
    return { entry, generation }
  }

  async function lookupHash(view: ReadView, idHash: string, namespace = 'root'): Promise<TokenEntry | null> {
    const line = await loadLine(view, namespace, idHash)
    return line === null ? null : line.entry
  }

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
    if (id !== undefined && namespace !== rootId) {
      throw new HoldfastError('ERR_BAD_REQUEST', 'token IDs can only be manually specified in the root namespace')
    }
    const suffix = namespace === rootId ? '' : `.${namespace}`
    const token = id ?? `s.${randomBase62(random, tokenRandomChars)}${suffix}`
    const idHash = hasher.hash(token)
    // Looked up, it would be looked for where its end says.
    if (id !== undefined && namespaceOfToken(id) !== rootId) {
      throw new HoldfastError('ERR_BAD_REQUEST', 'token id expected not to look like one of a namespace', {
        hint: 'leave out the second dot',
      })
    }
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

  /** Nothing is written: all of it is in the token. */
  function createBatch(transaction: Transaction, params: CreateToken): { token: string; entry: TokenEntry } {
    const { parent, namespaceId = 'root', meta = null, boundCidrs = [], login, role } = params
    const impossible = [
      ['explicit_max_ttl', params.explicitMaxTtlSeconds],
      ['num_uses', params.numUses],
      ['period', params.periodSeconds],
      ['id', params.id === undefined ? 0 : 1],
    ] as const
    for (const [name, value] of impossible) {
      if ((value ?? 0) !== 0) throw new HoldfastError('ERR_BAD_REQUEST', `batch tokens cannot have ${JSON.stringify(name)} set`)
    }
    assert(params.ttlSeconds > 0, 'a batch token expected to end: nobody could revoke it')
    const claims = {
      parentHash: parent?.idHash ?? null,
      ...(parent === null || parent.namespaceId === namespaceId ? {} : { parentNamespaceId: parent.namespaceId }),
      policies: [...params.policies],
      path: params.path,
      meta,
      displayName: params.displayName,
      entityId: params.entityId ?? '',
      ...(role === undefined ? {} : { role }),
      creationTimeMs: transaction.nowMs,
      creationTtlSeconds: params.ttlSeconds,
      ...longestGrant(params.givenBySeconds ?? 0, { creationTtlSeconds: params.ttlSeconds }),
      boundCidrs: [...boundCidrs],
      ...(login === undefined ? {} : { mountUuid: login.mountUuid }),
      namespaceId,
    }
    const token = batch.seal(claims)
    return { token, entry: batchEntryOf(hasher.hash(token) ?? '', claims) }
  }

  async function lookupBatch(view: ReadView, token: string, sealed: BatchEntry): Promise<TokenEntry | null> {
    const entry = batchEntryOf(hasher.hash(token) ?? '', sealed)
    if (!(await isGood(view, entry))) return null
    if (entry.parentHash === null) return entry
    return (await loadLine(view, parentNamespace(entry), entry.parentHash)) === null ? null : entry
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
      // Most have none, and end in thousands.
      if (!(await transaction.holds(section, `parent/${entry.idHash}`))) continue
      const children = await loadChildren(transaction, entry, budget)
      if (children.more || children.waiting) transaction.put(section, `dead/${entry.idHash}`, one)
      more ||= children.more
      for (const child of children.entries) {
        if (queued.has(child.idHash)) continue
        queued.add(child.idHash)
        queue.push(child)
        budget -= 1
      }
    }
    return { entries: queue, more }
  }

  /** As `load`; undefined where its namespace is sealed. */
  async function loadIfOpen(view: ReadView, namespace: string, idHash: string): Promise<TokenEntry | null | undefined> {
    try {
      return await load(view, namespace, idHash)
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) throw error
      return undefined
    }
  }

  /** At most `max` children of `parent`, in namespaces that are open. */
  async function loadChildren(
    transaction: Transaction,
    parent: Pick<TokenEntry, 'namespaceId' | 'idHash'>,
    max: number,
  ): Promise<Children> {
    const section = sectionOf(parent.namespaceId)
    const entries: TokenEntry[] = []
    const sealed = new Set<string>()
    let left = max
    for await (const name of inPages(transaction, section, `parent/${parent.idHash}`, max + 1)) {
      const { idHash, namespace } = childOf(parent.namespaceId, name)
      if (sealed.has(namespace)) continue
      if (left <= 0) return { entries, more: true, waiting: sealed.size > 0 }
      const entry = await loadIfOpen(transaction, namespace, idHash)
      if (entry === undefined) {
        sealed.add(namespace)
        continue
      }
      left -= 1
      if (entry) entries.push(entry)
      else transaction.delete(section, `parent/${parent.idHash}/${name}`)
    }
    return { entries, more: false, waiting: sealed.size > 0 }
  }

  /** Tokens whose parent was revoked and which are still to be deleted; takes away the marks of parents that have none left. */
  async function collectDead(transaction: Transaction, namespace: string, tokensMax: number): Promise<Revoked> {
    const section = sectionOf(namespace)
    const found: TokenEntry[] = []
    let after = waitingUpTo.get(namespace) ?? ''
    const marks = await transaction.list(section, 'dead', { limit: tokensMax, ...(after === '' ? {} : { after }) })
    let more = marks.length >= tokensMax
    for (const idHash of marks) {
      const children = await loadChildren(transaction, { namespaceId: namespace, idHash }, tokensMax - found.length)
      found.push(...children.entries)
      more ||= children.more
      if (children.more) break
      if (children.waiting) after = idHash
      else transaction.delete(section, `dead/${idHash}`)
    }
    if (more) waitingUpTo.set(namespace, after)
    else waitingUpTo.delete(namespace)
    return { entries: found, more }
  }

  return {
    setKey(key) {
      hasher.setKey(key)
      batch.setKey(key)
      parsed.clear()
    },
    forgetOpened() {
      hasher.forget()
      batch.forget()
      parsed.clear()
      waitingUpTo.clear()
    },
    hash: (token) => hasher.hash(token),
    lookupHash,
    stored: (view, idHash, namespace) => load(view, namespace, idHash),

    async create(transaction, params) {
      const { parent, meta = null, namespaceId = 'root', boundCidrs = [], numUses = 0, ttlSeconds } = params
      checkSizes(params)
      if (numUses < 0) throw new HoldfastError('ERR_BAD_REQUEST', 'number of uses cannot be negative')
      assert(ttlSeconds >= 0, 'a token expected to end some time after it was made')
      boundCidrs.forEach(parseCidr)
      await checkParent(transaction, parent)
      if (params.type === 'batch') return createBatch(transaction, params)
      const { token, idHash } = await newId(transaction, namespaceId, params.id)
      const entry: TokenEntry = {
        idHash,
        accessor: randomBase62(random, tokenRandomChars),
        parentHash: parent?.idHash ?? null,
        ...(parent === null || parent.namespaceId === namespaceId ? {} : { parentNamespaceId: parent.namespaceId }),
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
        ...longestGrant(params.givenBySeconds ?? 0, { creationTtlSeconds: ttlSeconds }),
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
      if (parent) transaction.put(sectionOf(parent.namespaceId), `parent/${parent.idHash}/${childName(entry)}`, one)
      if (entry.login) transaction.put(section, `parent/${mountName(entry.login.mountUuid)}/${idHash}`, one)
      if (entry.expireTimeMs !== null) leases.registerToken(transaction, namespaceId, entry.path, idHash, entry.expireTimeMs)
      return { token, entry }
    },

    async lookup(view, token, namespaceIds) {
      const sealed = batch.open(token)
      const namespaceId = sealed?.namespaceId ?? namespaceOfToken(token)
      if (namespaceIds && !namespaceIds.includes(namespaceId)) return null
      if (sealed !== null) return await lookupBatch(view, token, sealed)
      const idHash = hasher.hash(token)
      return idHash === null ? null : await lookupHash(view, idHash, namespaceId)
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
      const longestSeconds = Math.max(lifetimeSeconds(current) ?? 0, ttlSeconds)
      const next: TokenEntry = { ...current, ...longestGrant(longestSeconds, current), expireTimeMs, lastRenewalTimeMs: transaction.nowMs }
      replace(transaction, current, next)
      return { entry: next, warnings }
    },

    async revokeTree(transaction, { namespaceId, idHash }, tokensMax = revokedPerStepMax) {
      const entry = await load(transaction, namespaceId, idHash)
      return entry ? deleteTrees(transaction, [entry], tokensMax) : { entries: [], more: false }
    },

    async endDue(transaction, idHash, namespace) {
      const entry = await load(transaction, namespace, idHash)
      if (entry === null) return 'gone'
      return isAlive(entry, transaction.nowMs) ? 'alive' : deleteTrees(transaction, [entry], endedPerDueMax)
    },

    async revokeOrphan(transaction, { namespaceId, idHash }) {
      const entry = await load(transaction, namespaceId, idHash)
      if (!entry) return { entries: [], more: false }
      const section = sectionOf(entry.namespaceId)
      const hashes = await transaction.list(section, `parent/${entry.idHash}`, { limit: orphansMax + 1 })
      if (hashes.length > orphansMax) throw new HoldfastError('ERR_BUSY', `expected at most ${orphansMax} children, got more`)
      const children = await loadChildren(transaction, entry, orphansMax)
      for (const child of children.entries) {
        const { parentNamespaceId: _, ...rest } = child
        put(transaction, { ...rest, parentHash: null, orphan: true })
        transaction.delete(section, `parent/${entry.idHash}/${childName(child)}`)
      }
      // Nobody can write to them that they have no parent: the token must end all the same, and they have one that is gone.
      if (children.waiting) transaction.put(section, `dead/${entry.idHash}`, one)
      unlink(transaction, entry)
      return { entries: [entry], more: children.waiting }
    },

    mountGone(transaction, mountUuid, namespace) {
      transaction.put(sectionOf(namespace), `dead/${mountName(mountUuid)}`, one)
      transaction.put(sectionOf(namespace), goneMount(mountUuid), one)
    },

    async dropNamespaceStep(transaction, namespace, tokensMax = revokedPerStepMax) {
      const section = sectionOf(namespace)
      const hashes = await transaction.list(section, 'id', { limit: tokensMax })
      for (const idHash of hashes) {
        const entry = await load(transaction, namespace, idHash)
        // With its mark among the children of a parent elsewhere.
        if (entry) unlink(transaction, entry)
      }
      if (hashes.length > 0) return true
      for (const folder of ['accessor', 'parent', 'dead', 'gone']) {
        for (const name of await transaction.list(section, folder, { limit: tokensMax })) {
          if (!name.endsWith('/')) transaction.delete(section, `${folder}/${name}`)
          else await transaction.deleteTree(section, `${folder}/${name.slice(0, -1)}`, keysOfNamespaceMax)
          if (transaction.writes >= tokensMax) return true
        }
      }
      return false
    },

    async tidyStep(transaction, tokensMax = revokedPerStepMax, namespace = 'root') {
      const dead = await collectDead(transaction, namespace, tokensMax)
      const { entries, more } = await deleteTrees(transaction, dead.entries, tokensMax)
      return { entries, more: more || dead.more }
    },
  }
}
