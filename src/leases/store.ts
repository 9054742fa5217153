/**
 * Leases in the barrier, in the section {namespace, 'sys/lease'}:
 *
 *   id/LEASE_ID                      the lease: the path that was asked, then a key of its own
 *   due/CHUNK/BUCKET/SHARD/MS-KEY    by the time at which it ends (due.ts)
 *   of/TOKEN_HASH/KEY                NAMESPACE/LEASE_ID, in the section of the token that it belongs to: one of a namespace above may lend here
 *   bad/KEY                          the id of one that can't be taken back
 *   ending/tokens/TOKEN_HASH         a token that is gone, with leases that are still to be ended
 *   ending/below/MS-RANDOM           a prefix below which all leases up to then have ended, with leases that are still to be marked so
 *
 * A lease is registered, and ends, in the very transaction that makes or takes back what it stands for: one Raft entry, so that neither is
 * ever without the other. Pure storage over the caller's transaction; what has to be remembered in memory is told through the ledger.
 */
import { HoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import { randomBase62, type RandomSource } from '#base/random.ts'
import type { ListOptions, ReadView, Transaction } from '#barrier/types.ts'
import { deleteDue, leaseSection, putDue } from './due.ts'
import type { LeaseLedger } from './ledger.ts'
import {
  decodeLease,
  dueMsOf,
  encodeLease,
  isGood,
  isIrrevocable,
  leaseKey,
  type Lease,
  type LeaseEnding,
  type SecretLease,
} from './records.ts'

const keyChars = 24
/** What an engine may keep with a lease. */
const internalBytesMax = 64 * 1024
/** Prefixes that are being ended at a time. */
const prefixesMax = 64

export interface NewLease {
  readonly namespaceId: string
  /** The request's path: the lease's id begins with it. */
  readonly path: string
  readonly mountUuid: string
  readonly type: string
  readonly internal: Readonly<Record<string, unknown>>
  readonly tokenHash: string
  readonly tokenNamespaceId?: string
  readonly ttlSeconds: number
  readonly maxTtlSeconds: number
  /** Its token does not outlive this moment; null: it has no end of its own. */
  readonly tokenEndMs: number | null
  readonly renewable: boolean
}

/** Below `prefix` all leases that were issued up to `atMs` have ended. */
export interface EndingPrefix {
  readonly name: string
  readonly prefix: string
  readonly atMs: number
  readonly force: boolean
}

const ownerSection = ({ namespaceId, tokenNamespaceId }: SecretLease) => leaseSection(tokenNamespaceId ?? namespaceId)

/** What clients send as a lease's id may be anything: what can't be one is not there. */
const isStorable = (path: string): boolean =>
  path.length <= limits.pathBytesMax + 128 &&
  path
    .split('/')
    .every((segment) => segment !== '' && segment !== '.' && segment !== '..' && Buffer.byteLength(segment) <= limits.pathSegmentBytesMax)

/** Without slashes at its ends or twice in the middle. */
const clean = (path: string): string =>
  path
    .split('/')
    .filter((segment) => segment !== '')
    .join('/')

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
const one = Uint8Array.of(1)

/** One a process. Keeps nothing itself. */
export class LeaseStore {
  readonly #random: RandomSource
  readonly ledger: LeaseLedger

  constructor({ random, ledger }: { readonly random: RandomSource; readonly ledger: LeaseLedger }) {
    this.#random = random
    this.ledger = ledger
  }

  /** @throws ERR_BAD_REQUEST when the engine wants to keep too much with it. */
  register(transaction: Transaction, wanted: NewLease): SecretLease {
    const { namespaceId, mountUuid, type, internal, tokenHash, tokenNamespaceId, renewable } = wanted
    const nowMs = transaction.nowMs
    const endTimeMs = Math.min(nowMs + wanted.maxTtlSeconds * 1_000, wanted.tokenEndMs ?? Number.MAX_SAFE_INTEGER)
    const lease: SecretLease = {
      kind: 'secret',
      id: `${clean(wanted.path)}/${randomBase62(this.#random, keyChars)}`,
      namespaceId,
      mountUuid,
      type,
      internal,
      tokenHash,
      ...(tokenNamespaceId === undefined ? {} : { tokenNamespaceId }),
      issueTimeMs: nowMs,
      expireTimeMs: Math.min(nowMs + wanted.ttlSeconds * 1_000, endTimeMs),
      lastRenewalTimeMs: null,
      renewable,
      endTimeMs,
    }
    const bytes = encodeLease(lease)
    if (bytes.length > internalBytesMax) {
      throw new HoldfastError('ERR_BAD_REQUEST', `lease expected at most ${internalBytesMax} bytes, got ${bytes.length}`)
    }
    const section = leaseSection(namespaceId)
    const key = leaseKey(lease.id)
    transaction.put(section, `id/${lease.id}`, bytes)
    if (tokenHash !== '') transaction.put(ownerSection(lease), `of/${tokenHash}/${key}`, Buffer.from(`${namespaceId}/${lease.id}`))
    const due = { dueMs: lease.expireTimeMs, key }
    putDue(transaction, namespaceId, due, lease.id)
    this.ledger.note(transaction, { namespace: namespaceId, leaseId: lease.id, count: 1, due, mountUuid })
    return lease
  }

  /** A token that was made at `path` ends at `dueMs`. */
  registerToken(transaction: Transaction, namespaceId: string, path: string, idHash: string, dueMs: number): void {
    const id = `${clean(path)}/${idHash}`
    const due = { dueMs, key: idHash }
    transaction.put(leaseSection(namespaceId), `id/${id}`, encodeLease({ kind: 'token', id, namespaceId }))
    putDue(transaction, namespaceId, due, id)
    this.ledger.note(transaction, { namespace: namespaceId, leaseId: id, count: 1, due })
  }

  /** It ends at another time. */
  moveToken(transaction: Transaction, namespaceId: string, path: string, idHash: string, fromMs: number, toMs: number): void {
    if (fromMs === toMs) return
    const id = `${clean(path)}/${idHash}`
    const due = { dueMs: toMs, key: idHash }
    deleteDue(transaction, namespaceId, { dueMs: fromMs, key: idHash })
    putDue(transaction, namespaceId, due, id)
    this.ledger.note(transaction, { namespace: namespaceId, leaseId: id, count: 0, due })
  }

  /** It is gone, or going. `dueMs`: when it stood in the index of dues. */
  dropToken(transaction: Transaction, namespaceId: string, path: string, idHash: string, dueMs: number): void {
    this.dropLease(transaction, namespaceId, `${clean(path)}/${idHash}`, dueMs)
  }

  /** The same, by its lease's id. */
  dropLease(transaction: Transaction, namespaceId: string, id: string, dueMs: number): void {
    transaction.delete(leaseSection(namespaceId), `id/${id}`)
    deleteDue(transaction, namespaceId, { dueMs, key: leaseKey(id) })
    this.ledger.note(transaction, { namespace: namespaceId, leaseId: id, count: -1, due: null })
  }

  async load(view: ReadView, namespaceId: string, id: string): Promise<Lease | null> {
    const path = clean(id)
    if (path === '' || !isStorable(path)) return null
    const bytes = await view.get(leaseSection(namespaceId), `id/${path}`)
    return bytes === null ? null : decodeLease(namespaceId, path, bytes)
  }

  /** Whether it is good by itself, and below no prefix that was ended. Not whether its token is. */
  async isGood(view: ReadView, lease: SecretLease): Promise<boolean> {
    if (!isGood(lease, view.nowMs)) return false
    const ending = await this.endingPrefixes(view, lease.namespaceId)
    return !ending.some(({ prefix, atMs }) => lease.issueTimeMs <= atMs && isBelow(lease.id, prefix))
  }

  /** `lease` as it is from now on, in its place in the indexes. */
  put(transaction: Transaction, lease: SecretLease, next: SecretLease): void {
    const { namespaceId, id } = lease
    const section = leaseSection(namespaceId)
    const key = leaseKey(id)
    const [from, to] = [dueMsOf(lease), dueMsOf(next)]
    if (from !== null && from !== to) deleteDue(transaction, namespaceId, { dueMs: from, key })
    if (to !== null && from !== to) putDue(transaction, namespaceId, { dueMs: to, key }, id)
    if (isIrrevocable(next) && !isIrrevocable(lease)) transaction.put(section, `bad/${key}`, Buffer.from(id))
    if (!isIrrevocable(next) && isIrrevocable(lease)) transaction.delete(section, `bad/${key}`)
    transaction.put(section, `id/${id}`, encodeLease(next))
    const given = Number(isIrrevocable(next)) - Number(isIrrevocable(lease))
    this.ledger.note(transaction, {
      namespace: namespaceId,
      leaseId: id,
      count: 0,
      due: to === null ? null : { dueMs: to, key },
      ...(given === 0 ? {} : { irrevocable: given === 1 ? 1 : -1 }),
    })
  }

  /** Not good from here on, and due to be taken back at once. One that is ending already is tried again at once, from the beginning. */
  end(transaction: Transaction, lease: SecretLease, force = false): SecretLease {
    const ending: LeaseEnding = { dueMs: transaction.nowMs, attempts: 0, error: '', force: force || lease.ending?.force === true }
    const next: SecretLease = { ...lease, expireTimeMs: Math.min(lease.expireTimeMs, transaction.nowMs), ending }
    this.put(transaction, lease, next)
    return next
  }

  /** It was taken back: nothing is left of it. */
  remove(transaction: Transaction, lease: SecretLease): void {
    const { namespaceId, id, tokenHash } = lease
    const section = leaseSection(namespaceId)
    const key = leaseKey(id)
    const due = dueMsOf(lease)
    transaction.delete(section, `id/${id}`)
    if (tokenHash !== '') transaction.delete(ownerSection(lease), `of/${tokenHash}/${key}`)
    if (due !== null) deleteDue(transaction, namespaceId, { dueMs: due, key })
    if (isIrrevocable(lease)) transaction.delete(section, `bad/${key}`)
    this.ledger.note(transaction, {
      namespace: namespaceId,
      leaseId: id,
      count: -1,
      due: null,
      mountUuid: lease.mountUuid,
      ...(isIrrevocable(lease) ? { irrevocable: -1 } : {}),
    })
  }

  /** Children of `prefix` among the ids, in pages: leases, and folders that end in '/'. */
  async list(view: ReadView, namespaceId: string, prefix: string, options: ListOptions = {}): Promise<string[]> {
    const path = clean(prefix)
    if (path !== '' && !isStorable(path)) return []
    return view.list(leaseSection(namespaceId), path === '' ? 'id' : `id/${path}`, options)
  }

  /** Ids of leases below `prefix`, at most `idsMax`, in the order of a walk, from behind `after` (an id that it gave) on. Not `prefix` itself. */
  async idsBelow(view: ReadView, namespaceId: string, prefix: string, idsMax: number, after = ''): Promise<string[]> {
    const found: string[] = []
    const walk = async (folder: string, from: readonly string[]): Promise<void> => {
      const [first, ...rest] = from
      for (const name of await this.list(view, namespaceId, folder)) {
        if (found.length >= idsMax) return
        const inside = rest.length > 0 && name === `${first}/`
        if (first !== undefined && !inside && compareNames(name, rest.length > 0 ? `${first}/` : first) <= 0) continue
        const child = folder === '' ? name : `${folder}/${name}`
        if (name.endsWith('/')) await walk(child.slice(0, -1), inside ? rest : [])
        else found.push(child)
      }
    }
    const path = clean(prefix)
    const skipped = path === '' ? after : after.slice(path.length + 1)
    await walk(path, skipped === '' ? [] : skipped.split('/'))
    return found
  }

  /** Ids of those that can't be taken back. */
  async irrevocable(view: ReadView, namespaceId: string, idsMax: number): Promise<string[]> {
    const section = leaseSection(namespaceId)
    const ids: string[] = []
    for (const key of await view.list(section, 'bad', { limit: idsMax })) {
      const id = await view.get(section, `bad/${key}`)
      if (id !== null) ids.push(textOf(id))
    }
    return ids
  }

  async irrevocableCount(view: ReadView, namespaceId: string): Promise<number> {
    return (await view.list(leaseSection(namespaceId), 'bad')).length
  }

  /** Leases of a token, at most so many, and the namespaces that they lie in; from behind the key `after` on, '' for the first. */
  async idsOf(
    view: ReadView,
    namespaceId: string,
    tokenHash: string,
    idsMax: number,
    after = '',
  ): Promise<{ namespace: string; id: string }[]> {
    const section = leaseSection(namespaceId)
    const found: { namespace: string; id: string }[] = []
    for (const key of await view.list(section, `of/${tokenHash}`, { limit: idsMax, ...(after === '' ? {} : { after }) })) {
      const value = await view.get(section, `of/${tokenHash}/${key}`)
      if (value === null) continue
      const text = textOf(value)
      const at = text.indexOf('/')
      found.push({ namespace: text.slice(0, at), id: text.slice(at + 1) })
    }
    return found
  }

  /** Tokens that are gone, with leases that are still to be ended; at most so many, from behind `after` on. */
  async endingTokens(view: ReadView, namespaceId: string, max: number, after = ''): Promise<string[]> {
    return view.list(leaseSection(namespaceId), 'ending/tokens', { limit: max, ...(after === '' ? {} : { after }) })
  }

  /** All of its leases are ended. */
  tokenDone(transaction: Transaction, namespaceId: string, tokenHash: string): void {
    transaction.delete(leaseSection(namespaceId), `ending/tokens/${tokenHash}`)
  }

  /** From here on no lease below `prefix` that there is now is good. @throws ERR_BUSY while too many prefixes are being ended. */
  async endBelow(transaction: Transaction, namespaceId: string, prefix: string, force: boolean): Promise<void> {
    const section = leaseSection(namespaceId)
    if ((await transaction.list(section, 'ending/below')).length >= prefixesMax) {
      throw new HoldfastError('ERR_BUSY', `expected at most ${prefixesMax} prefixes to be revoked at a time, got more`, {
        hint: 'try again in a moment',
      })
    }
    const name = `${String(transaction.nowMs).padStart(14, '0')}-${randomBase62(this.#random, 8)}`
    const note = { prefix: clean(prefix), atMs: transaction.nowMs, force }
    this.ledger.note(transaction, { namespace: namespaceId, leaseId: `${note.prefix}/`, count: 0, due: null })
    transaction.put(section, `ending/below/${name}`, Buffer.from(JSON.stringify({ version: 1, ...note })))
  }

  async endingPrefixes(view: ReadView, namespaceId: string): Promise<EndingPrefix[]> {
    const section = leaseSection(namespaceId)
    const notes: EndingPrefix[] = []
    for (const name of await view.list(section, 'ending/below')) {
      const bytes = await view.get(section, `ending/below/${name}`)
      if (bytes !== null) notes.push({ ...(JSON.parse(textOf(bytes)) as Omit<EndingPrefix, 'name'>), name })
    }
    return notes
  }

  prefixDone(transaction: Transaction, namespaceId: string, name: string): void {
    transaction.delete(leaseSection(namespaceId), `ending/below/${name}`)
  }
}

/** A token is gone: its leases, if it has any, are ended in bounded steps. They are not good any more, since it is not. */
export async function tokenGone(transaction: Transaction, namespaceId: string, tokenHash: string): Promise<void> {
  const section = leaseSection(namespaceId)
  if (await transaction.holds(section, `of/${tokenHash}`)) transaction.put(section, `ending/tokens/${tokenHash}`, one)
}

/** As the barrier orders them. */
const compareNames = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** Whether `id` is `prefix`, or lies below it. Segment by segment: 'a/b' is not below 'a/bc', nor is 'a/bc' below 'a/b'. */
export const isBelow = (id: string, prefix: string): boolean => prefix === '' || id === prefix || id.startsWith(`${prefix}/`)
