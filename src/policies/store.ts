/**
 * Policies in the barrier: one value a policy, in the section {namespace, 'sys/policy'}; and their compiled form, cached.
 *
 * Every request reads its policies from its own view, so a change counts from the next linearizable request on, on every node. What is
 * cached is the work: a text is parsed again only when its bytes have changed (compared, which is cheaper than hashing them), and a
 * set of policies is compiled again only when one of its texts was parsed again.
 *
 * A policy with an end stands in {namespace, 'sys/policy-due'} too, as MINUTE/NAME: so what has ended is found without reading what has not.
 */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import { BoundedLru } from '#base/lru.ts'
import type { ListOptions, ReadView, Section, Transaction } from '#barrier/types.ts'
import { compileAcl } from './acl.ts'
import {
  defaultPolicyName,
  defaultPolicyText,
  immutablePolicyNames,
  responseWrappingPolicyName,
  responseWrappingPolicyText,
  rootPolicyName,
} from './builtin.ts'
import { decodeName, encodeName, storableName } from './names.ts'
import { parsePolicy } from './parse.ts'
import { createRoleStore, type RoleStore } from './roles.ts'
import { templateValue } from './templates.ts'
import type { CompiledAcl, IdentityRecord, IdentityResolver, Policy, PolicySubject } from './types.ts'

const parsedMax = 1_024
/** Rules in all compiled sets together; a set has at least one. */
const compiledRulesMax = 65_536
/** A set with more counts as so many: it is worth keeping all the more. */
const compiledRulesCountedMax = compiledRulesMax / 16
/** A token with more could make one request as dear as a thousand. */
const policiesPerTokenMax = 256

/** A policy with what is kept beside its text. */
export interface PolicyRecord {
  readonly name: string
  readonly text: string
  /** 1 for the first write; 0 for built-in ones that nobody has written. */
  readonly version: number
  readonly casRequired: boolean
  readonly modifiedMs: number
  /** From then on it does not exist; null: never. */
  readonly expirationMs: number | null
}

export interface PutPolicyOptions {
  /** The version that it must have now; -1: it must not exist. */
  readonly cas?: number
  /** Kept: from then on writes must name a version. Absent: unchanged. */
  readonly casRequired?: boolean
  readonly expirationMs?: number | null
}

export interface PolicyStore {
  readonly roles: RoleStore
  /** The policies of these names as they are in `view`, compiled. Names that do not exist grant nothing. @throws ERR_PERMISSION_DENIED: root beside others. */
  compile(view: ReadView, names: readonly string[], namespace?: string): Promise<CompiledAcl>
  /**
   * As `compile`, for a token: with the policies of its entity, groups and roles, and templates filled from them.
   * @throws ERR_PERMISSION_DENIED besides when its entity is gone or disabled.
   */
  compileFor(view: ReadView, subject: PolicySubject): Promise<CompiledAcl>
  /** The barrier sealed: nothing opened stays. */
  onSealed(): void
  /** Names of the policies that a token has through its entity, groups and roles. Never `root`. */
  identityPolicies(view: ReadView, subject: PolicySubject): Promise<string[]>
  /** One policy; null when there is none. `root` has an empty text, and is of the root namespace alone. */
  get(view: ReadView, name: string, namespace?: string): Promise<PolicyRecord | null>
  /** Names in order, `root` last in the root namespace; without `response-wrapping`, which nobody may assign. With `prefix` those that begin with it. */
  list(view: ReadView, options?: ListOptions & { readonly prefix?: string }, namespace?: string): Promise<string[]>
  /** Parses and writes. @throws ERR_POLICY_SYNTAX, ERR_CAS_MISMATCH, ERR_CAS_REQUIRED, ERR_BAD_REQUEST (a name that can't be written). */
  put(transaction: Transaction, name: string, text: string, options?: PutPolicyOptions, namespace?: string): Promise<PolicyRecord>
  /** Deletes; nothing happens when there is none. @throws ERR_BAD_REQUEST for root, default and response-wrapping. */
  delete(transaction: Transaction, name: string, namespace?: string): Promise<void>
  /** Deletes some of what has ended; true when more is left. For a job of the leader: what has ended counts for nothing before that too. */
  tidyStep(transaction: Transaction, namespace?: string): Promise<boolean>
}

interface Parsed {
  /** What was parsed; null for built-in texts. */
  readonly bytes: Uint8Array | null
  readonly policy: Policy
  readonly expirationMs: number | null
  /** Differs for every parsing: what compiled sets are keyed by. */
  readonly serial: number
}

const nobody: { readonly identity: IdentityRecord | null; readonly policies: readonly string[] } = { identity: null, policies: [] }

/** What a list of names came to. */
interface LastCompiled {
  readonly namespaceId: string
  readonly namespacePath: string
  /** Those of the list that can be names, lower-case, once each, and what each was: null where there was none. */
  readonly names: readonly string[]
  readonly found: readonly (Parsed | null)[]
  readonly acl: CompiledAcl
}

/** Whose policies are compiled: where they are stored, what stands before their paths, what their templates are filled from. */
interface Owner {
  readonly namespaceId: string
  readonly namespacePath: string
  readonly identity: IdentityRecord | null
  /** The list of names will come again: it is that of an entry which is cached. */
  readonly kept: boolean
}

const sectionOf = (namespace: string): Section => ({ namespace, mount: 'sys/policy' })
const dueSection = (namespace: string): Section => ({ namespace, mount: 'sys/policy-due' })
const minuteMs = 60_000
const tidiedPerStepMax = 128
/** As many digits for every time that can be written down: the list is in the order of the text. */
const minuteDigits = 10
const dueFolder = (expirationMs: number): string => String(Math.floor(expirationMs / minuteMs)).padStart(minuteDigits, '0')

export interface PolicyStoreOptions {
  /** Absent: nobody has an identity. */
  readonly identity?: IdentityResolver
}

/** One a process (or thread): it keeps caches and nothing else. */
export function createPolicyStore({ identity: resolver }: PolicyStoreOptions = {}): PolicyStore {
  const roles = createRoleStore()
  const parsed = new BoundedLru<string, Parsed>({ weightMax: parsedMax })
  const compiled = new BoundedLru<string, CompiledAcl>({ weightMax: compiledRulesMax })
  const builtin = new Map<string, Parsed>()
  /** By the list of names itself, a token's, which lives as long as its entry is cached; emptied on sealing. */
  let lastOf = new WeakMap<readonly string[], LastCompiled>()
  let serial = 0

  function parse(name: string, bytes: Uint8Array): Parsed {
    const record = decode(name, bytes)
    // A copy of their own: these may be part of a larger piece of memory, which would be kept with them.
    return {
      bytes: new Uint8Array(bytes),
      policy: parsePolicy(name, record.text),
      expirationMs: record.expirationMs,
      serial: (serial += 1),
    }
  }

  function builtinParsed(name: string): Parsed | null {
    const present = builtin.get(name)
    const text = builtinText(name)
    if (present || text === null) return present ?? null
    const made: Parsed = { bytes: null, policy: parsePolicy(name, text), expirationMs: null, serial: (serial += 1) }
    builtin.set(name, made)
    return made
  }

  async function load(view: ReadView, namespace: string, name: string): Promise<Parsed | null> {
    if (immutablePolicyNames.has(name)) return name === rootPolicyName && namespace !== 'root' ? null : builtinParsed(name)
    const bytes = await view.get(sectionOf(namespace), encodeName(name))
    if (bytes === null) return builtinParsed(name)
    const key = `${namespace}\0${name}`
    let found = parsed.get(key)
    if (!found?.bytes || (found.bytes !== bytes && Buffer.compare(found.bytes, bytes) !== 0)) {
      found = parse(name, bytes)
      parsed.set(key, found)
    }
    return expired(found, view.nowMs) ? builtinParsed(name) : found
  }

  /** As `compileAnew`; what it found for this very list of names stands while each of its policies is the text that it was. */
  async function compile(view: ReadView, names: readonly string[], of: Owner): Promise<CompiledAcl> {
    const last = lastOf.get(names)
    if (last === undefined || last.namespaceId !== of.namespaceId || last.namespacePath !== of.namespacePath)
      return compileAnew(view, names, of)
    for (const [at, name] of last.names.entries()) {
      if ((await load(view, of.namespaceId, name)) !== last.found[at]) return compileAnew(view, names, of)
    }
    return last.acl
  }

  async function compileAnew(view: ReadView, names: readonly string[], of: Owner): Promise<CompiledAcl> {
    const unique = [...new Set(names.map((name) => name.toLowerCase()))]
    if (unique.length > policiesPerTokenMax) {
      throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied, {
        hint: `expected at most ${policiesPerTokenMax} policies on a token, got ${unique.length}`,
      })
    }
    const loaded = unique.filter(storableName)
    const found = await Promise.all(loaded.map((name) => load(view, of.namespaceId, name)))
    const present = found.filter((entry) => entry !== null)
    // With the values that its templates take: two entities share what does not depend on them.
    const templates = new Set(present.flatMap((entry) => entry.policy.templates))
    const values = new Map([...templates].map((expression) => [expression, templateValue(expression, of.identity)]))
    const key = JSON.stringify([of.namespacePath, present.map((entry) => entry.serial), [...values.values()]])
    const acl = compiled.get(key) ?? compileSet(key, present, values, view.nowMs, of)
    // Values of templates are the identity's, which may be another next time; of a list that is made for each request nothing need be kept.
    if (templates.size === 0 && of.kept) {
      const { namespaceId, namespacePath } = of
      lastOf.set(names, { namespaceId, namespacePath, names: loaded, found, acl })
    }
    return acl
  }

  function compileSet(
    key: string,
    present: readonly Parsed[],
    values: ReadonlyMap<string, string | null>,
    nowMs: number,
    of: Owner,
  ): CompiledAcl {
    const policies = present.map((entry) => entry.policy)
    const acl = compileAcl(policies, { nowMs, prefix: of.namespacePath, fillTemplate: (expression) => values.get(expression) ?? null })
    const rules = policies.reduce((sum, policy) => sum + policy.rules.length, 1)
    compiled.set(key, acl, Math.min(rules, compiledRulesCountedMax))
    return acl
  }

  async function identityOf(view: ReadView, { entityId, namespaceId }: PolicySubject) {
    if (entityId === '') return nobody
    const identity = resolver ? await resolver.resolve(view, entityId, namespaceId) : null
    // The tokens of an entity that is gone or disabled are good for nothing.
    if (resolver && (identity === null || identity.entity.disabled === true)) {
      throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
    }
    const groupIds = identity?.groups.map((group) => group.id) ?? []
    // The entity that a merged one has become is what roles are bound to.
    const byRoles = await roles.policiesOf(view, identity?.entity.id ?? entityId, groupIds, namespaceId)
    // `root` in any spelling comes from a token alone (CVE-2024-9180, CVE-2025-5999).
    const policies = [...(identity?.policies ?? []), ...byRoles].map((name) => name.trim().toLowerCase())
    return { identity, policies: [...new Set(policies)].filter((name) => !immutablePolicyNames.has(name)).toSorted() }
  }

  return {
    roles,

    compile: (view, names, namespace = 'root') =>
      compile(view, names, { namespaceId: namespace, namespacePath: '', identity: null, kept: false }),

    async compileFor(view, subject) {
      // Most tokens are nobody's: they need not wait for what nobody has.
      const { identity, policies } = subject.entityId === '' ? nobody : await identityOf(view, subject)
      // A root token is root whoever it belongs to.
      const isRoot = subject.policies.length === 1 && subject.policies[0] === rootPolicyName && subject.namespaceId === 'root'
      const { namespaceId, namespacePath = '' } = subject
      const kept = isRoot || policies.length === 0
      return await compile(view, kept ? subject.policies : [...subject.policies, ...policies], {
        namespaceId,
        namespacePath,
        identity,
        kept,
      })
    },

    onSealed() {
      parsed.clear()
      compiled.clear()
      lastOf = new WeakMap()
      roles.onSealed()
    },

    async identityPolicies(view, subject) {
      return [...(await identityOf(view, subject)).policies]
    },

    async get(view, name, namespace = 'root') {
      return readRecord(view, namespace, name.toLowerCase())
    },

    async list(view, options = {}, namespace = 'root') {
      const stored = (await view.list(sectionOf(namespace), '')).map(decodeName)
      const names = [...new Set([...stored, defaultPolicyName])].toSorted()
      const { after, limit = 0, prefix = '' } = options
      const rest = names.filter((name) => name.startsWith(prefix) && (after === undefined || (name > after && after !== rootPolicyName)))
      // Last, whatever comes before it.
      if (prefix === '' && after !== rootPolicyName && namespace === 'root') rest.push(rootPolicyName)
      return limit > 0 ? rest.slice(0, limit) : rest
    },

    async put(transaction, name, text, options = {}, namespace = 'root') {
      const stored = writableName(name, 'update')
      parsePolicy(stored, text)
      const present = await readRecord(transaction, namespace, stored)
      checkCas(present, options)
      const record: PolicyRecord = {
        name: stored,
        text,
        version: (present?.version ?? 0) + 1,
        casRequired: options.casRequired ?? present?.casRequired ?? false,
        modifiedMs: transaction.nowMs,
        expirationMs: options.expirationMs ?? null,
      }
      await undue(transaction, namespace, stored)
      transaction.put(sectionOf(namespace), encodeName(stored), encode(record))
      if (record.expirationMs !== null) {
        transaction.put(dueSection(namespace), `${dueFolder(record.expirationMs)}/${encodeName(stored)}`, Buffer.of(recordFormat))
      }
      return record
    },

    async delete(transaction, name, namespace = 'root') {
      const stored = writableName(name, 'delete')
      if (stored === defaultPolicyName) throw new HoldfastError('ERR_BAD_REQUEST', 'cannot delete default policy')
      const path = encodeName(stored)
      // Read first: a delete of nothing must not cost a log entry.
      if ((await transaction.get(sectionOf(namespace), path)) === null) return
      await undue(transaction, namespace, stored)
      transaction.delete(sectionOf(namespace), path)
    },

    async tidyStep(transaction, namespace = 'root') {
      const section = dueSection(namespace)
      const [oldest] = await transaction.list(section, '', { limit: 1 })
      const minute = Number(oldest?.slice(0, -1))
      // All of the minute is over, or none of it is looked at yet.
      if (oldest === undefined || !((minute + 1) * minuteMs <= transaction.nowMs)) return false
      const folder = oldest.slice(0, -1)
      for (const name of await transaction.list(section, folder, { limit: tidiedPerStepMax })) {
        const record = await storedRecord(transaction, namespace, decodeName(name))
        if (record !== null && expired(record, transaction.nowMs)) transaction.delete(sectionOf(namespace), name)
        transaction.delete(section, `${folder}/${name}`)
      }
      return true
    },
  }
}

const expired = (entry: { readonly expirationMs: number | null }, nowMs: number): boolean =>
  entry.expirationMs !== null && entry.expirationMs <= nowMs

function builtinText(name: string): string | null {
  if (name === rootPolicyName) return ''
  if (name === defaultPolicyName) return defaultPolicyText
  return name === responseWrappingPolicyName ? responseWrappingPolicyText : null
}

/** As it was written, whether or not it has ended. */
async function storedRecord(view: ReadView, namespace: string, name: string): Promise<PolicyRecord | null> {
  const bytes = await view.get(sectionOf(namespace), encodeName(name))
  return bytes === null ? null : decode(name, bytes)
}

/** What is about to be replaced or deleted falls due no more. */
async function undue(transaction: Transaction, namespace: string, name: string): Promise<void> {
  const { expirationMs } = (await storedRecord(transaction, namespace, name)) ?? { expirationMs: null }
  if (expirationMs !== null) transaction.delete(dueSection(namespace), `${dueFolder(expirationMs)}/${encodeName(name)}`)
}

async function readRecord(view: ReadView, namespace: string, name: string): Promise<PolicyRecord | null> {
  if (!storableName(name) || (name === rootPolicyName && namespace !== 'root')) return null
  const record = immutablePolicyNames.has(name) ? null : await storedRecord(view, namespace, name)
  if (record !== null && !expired(record, view.nowMs)) return record
  const text = builtinText(name)
  return text === null ? null : { name, text, version: 0, casRequired: false, modifiedMs: 0, expirationMs: null }
}

function checkCas(present: PolicyRecord | null, { cas, casRequired }: PutPolicyOptions): void {
  if (cas === undefined) {
    if (present?.casRequired === true || casRequired === true) throw new HoldfastError('ERR_CAS_REQUIRED', wellKnown.casRequired)
    return
  }
  const version = present?.version ?? 0
  if (cas === -1 && version > 0) throw new HoldfastError('ERR_CAS_MISMATCH', 'check-and-set parameter set to -1 on existing entry')
  if (cas !== -1 && cas !== version) throw new HoldfastError('ERR_CAS_MISMATCH', wellKnown.casMismatch)
}

function writableName(name: string, verb: 'update' | 'delete'): string {
  const stored = name.toLowerCase()
  if (immutablePolicyNames.has(stored)) throw new HoldfastError('ERR_BAD_REQUEST', `cannot ${verb} "${stored}" policy`)
  if (!storableName(stored)) {
    throw new HoldfastError(
      'ERR_BAD_REQUEST',
      `policy name expected 1 to ${limits.pathSegmentBytesMax} bytes without control characters, got ${Buffer.byteLength(name)}`,
    )
  }
  return stored
}

const recordFormat = 1

/** The name is where it lies, and is not repeated inside. */
const encode = ({ text, version, casRequired, modifiedMs, expirationMs }: PolicyRecord): Uint8Array =>
  Buffer.from(JSON.stringify({ format: recordFormat, text, version, casRequired, modifiedMs, expirationMs }))

function decode(name: string, bytes: Uint8Array): PolicyRecord {
  const { format, ...record } = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'))
  if (format === recordFormat) return { ...record, name }
  throw new HoldfastError('ERR_UPGRADE_REQUIRED', `policy record: expected version ${recordFormat}, got ${String(format)}`)
}
