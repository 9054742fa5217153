/**
 * A second factor for logins: time-based codes (TOTP, RFC 6238; the codes themselves are otpauth's), and which logins need one.
 *
 * An enforcement holds in its namespace and in all below it; its methods lie where it lies, and so do the secrets of those who log in below.
 *
 * In the section {namespace, 'sys/mfa'}: `methods` and `enforcements`, each one record, since every login asks for both; `secret/METHOD/ENTITY` what an
 * app was given, with how its codes were used; `pending/MINUTE/ID` logins whose first factor was right.
 *
 * A code is good once: the step of the last one that was taken is kept, and only later steps are taken (CVE-2025-6014); and six digits are a code, not
 * those with a space before them (CVE-2025-6015). Wrong ones count, also where nothing else of the request is kept.
 */
import { Secret, TOTP } from 'otpauth'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import { randomUuid, type RandomSource } from '#base/random.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import type { Namespace } from '#namespaces/record.ts'

const formatVersion = 1
const methodsMax = 256
const enforcementsMax = 256
/** How long the second factor is waited for. */
export const pendingMsMax = 300_000
const minuteMs = 60_000
/** Old ones that one new one takes away. */
const sweptPerLoginMax = 16
/** Within which wrong codes count together. */
const attemptsWindowMs = 300_000

const section = (namespace: string): Section => ({ namespace, mount: 'sys/mfa' })

export interface TotpMethod {
  readonly id: string
  /** '' or unique, in lower case. */
  readonly name: string
  readonly issuer: string
  readonly period: number
  readonly digits: 6 | 8
  readonly algorithm: 'SHA1' | 'SHA256' | 'SHA512'
  /** Steps before and after that are taken too. */
  readonly skew: 0 | 1
  readonly keySize: number
  readonly maxAttempts: number
}

/** A method, and where it lies: the secrets of its apps lie there as well, whatever the namespace of whom they were given to. */
export interface PlacedMethod extends TotpMethod {
  readonly namespaceId: string
}

export interface Enforcement {
  readonly name: string
  readonly id: string
  readonly methodIds: readonly string[]
  /** Logins of which any of these is true. */
  readonly accessors: readonly string[]
  readonly types: readonly string[]
  readonly groupIds: readonly string[]
  readonly entityIds: readonly string[]
}

/** What a login has to satisfy: of each enforcement one of its methods. No two are of one name: where namespaces share one, the inner says its path. */
export interface Requirement {
  readonly enforcement: string
  readonly methods: readonly PlacedMethod[]
}

/** A namespace of a login's line, from the root down to its own. */
type Level = Pick<Namespace, 'id' | 'path'>

export interface LoginFacts {
  readonly accessor: string
  readonly type: string
  readonly entityId: string
  readonly groupIds: readonly string[]
}

export interface MergedEntities {
  readonly into: string
  readonly from: readonly string[]
  readonly force: boolean
}

interface Enrolled {
  readonly version: number
  /** Base32. */
  readonly secret: string
  /** 0: no code was taken yet. */
  readonly lastStep: number
  readonly failures: number
  readonly firstFailureMs: number
}

/** A login that waits for its second factor: the token that it would get. */
export interface PendingLogin {
  readonly version: number
  readonly untilMs: number
  readonly entityId: string
  readonly clientAddress: string
  readonly requirements: readonly { readonly enforcement: string; readonly methodIds: readonly string[] }[]
  /** The core's own, as JSON: what it makes the token of. */
  readonly token: object
}

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

async function readJson<T extends { version: number }>(view: ReadView, namespace: string, path: string, what: string): Promise<T | null> {
  const bytes = await view.get(section(namespace), path)
  if (bytes === null) return null
  const record = JSON.parse(Buffer.from(bytes).toString()) as T
  if (!checkVersion(what, formatVersion, record.version)) throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to have a version`)
  return record
}

const writeJson = (transaction: Transaction, namespace: string, path: string, record: object): void =>
  transaction.put(section(namespace), path, Buffer.from(JSON.stringify({ ...record, version: formatVersion })))

/** Codes of a method for somebody. */
const totpOf = (method: TotpMethod, secret: string, label: string): TOTP =>
  new TOTP({
    issuer: method.issuer,
    label,
    algorithm: method.algorithm,
    digits: method.digits,
    period: method.period,
    secret: Secret.fromBase32(secret),
  })

export class MfaStore {
  readonly #random: RandomSource

  constructor(random: RandomSource) {
    this.#random = random
  }

  async methods(view: ReadView, namespace: string): Promise<readonly TotpMethod[]> {
    return (await readJson<{ version: number; list: TotpMethod[] }>(view, namespace, 'methods', "a namespace's MFA methods"))?.list ?? []
  }

  async method(view: ReadView, namespace: string, id: string): Promise<TotpMethod | null> {
    return (await this.methods(view, namespace)).find((each) => each.id === id) ?? null
  }

  /** Those of all namespaces of `line`. */
  async methodsOn(view: ReadView, line: readonly Level[]): Promise<PlacedMethod[]> {
    const found: PlacedMethod[] = []
    for (const { id: namespaceId } of line) {
      for (const method of await this.methods(view, namespaceId)) found.push({ ...method, namespaceId })
    }
    return found
  }

  /** @throws ERR_BAD_REQUEST: the name is another's, or there are too many. */
  async putMethod(transaction: Transaction, namespace: string, method: TotpMethod): Promise<void> {
    const others = (await this.methods(transaction, namespace)).filter(({ id }) => id !== method.id)
    if (method.name !== '' && others.some(({ name }) => name === method.name)) throw bad('expected a method name that no other method has')
    if (others.length >= methodsMax) throw bad(`expected at most ${methodsMax} MFA methods in a namespace`)
    writeJson(transaction, namespace, 'methods', { list: [...others, method] })
  }

  newId(): string {
    return randomUuid(this.#random)
  }

  /** Gives back where what its apps were given lies, for the caller to sweep: nothing reads it any more. @throws ERR_BAD_REQUEST while an enforcement names it. */
  async deleteMethod(
    transaction: Transaction,
    namespace: string,
    id: string,
  ): Promise<{ readonly section: Section; readonly prefix: string } | null> {
    const holder = (await this.enforcements(transaction, namespace)).find(({ methodIds }) => methodIds.includes(id))
    if (holder !== undefined) throw bad(`methodID is still used by an enforcement configuration with name: ${holder.name}`)
    const methods = await this.methods(transaction, namespace)
    if (!methods.some((each) => each.id === id)) return null
    writeJson(transaction, namespace, 'methods', { list: methods.filter((each) => each.id !== id) })
    return { section: section(namespace), prefix: `secret/${id}` }
  }

  async enforcements(view: ReadView, namespace: string): Promise<readonly Enforcement[]> {
    const found = await readJson<{ version: number; list: Enforcement[] }>(
      view,
      namespace,
      'enforcements',
      "a namespace's MFA enforcements",
    )
    return found?.list ?? []
  }

  /** @throws ERR_BAD_REQUEST: a method that is not there, nothing that it is about, or too many. */
  async putEnforcement(transaction: Transaction, namespace: string, wanted: Omit<Enforcement, 'id'>): Promise<void> {
    const all = await this.enforcements(transaction, namespace)
    const others = all.filter(({ name }) => name !== wanted.name)
    if (others.length >= enforcementsMax) throw bad(`expected at most ${enforcementsMax} login enforcements in a namespace`)
    const known = new Set((await this.methods(transaction, namespace)).map(({ id }) => id))
    if (wanted.methodIds.length === 0) throw bad('missing method ids')
    const unknown = wanted.methodIds.find((id) => !known.has(id))
    if (unknown !== undefined) throw bad(`one of the provided method ids doesn't exist: ${JSON.stringify(unknown.slice(0, 64))}`)
    if ([wanted.accessors, wanted.types, wanted.groupIds, wanted.entityIds].every(({ length }) => length === 0)) {
      throw bad('One of auth_method_accessors, auth_method_types, identity_group_ids, identity_entity_ids must be specified')
    }
    const id = all.find(({ name }) => name === wanted.name)?.id ?? this.newId()
    writeJson(transaction, namespace, 'enforcements', { list: [...others, { ...wanted, id }] })
  }

  async deleteEnforcement(transaction: Transaction, namespace: string, name: string): Promise<void> {
    const list = (await this.enforcements(transaction, namespace)).filter((each) => each.name !== name)
    writeJson(transaction, namespace, 'enforcements', { list })
  }

  /** Whether any login of a namespace may need a second factor, for its own enforcements or those of one above. */
  async anyEnforced(view: ReadView, line: readonly Level[]): Promise<boolean> {
    for (const { id } of line) if ((await this.enforcements(view, id)).length > 0) return true
    return false
  }

  /** What the login must show besides. Methods that are gone can be satisfied by nobody: the enforcement holds all the same. */
  async required(view: ReadView, line: readonly Level[], facts: LoginFacts): Promise<Requirement[]> {
    const required = new Map<string, Requirement>()
    for (const { id: namespaceId, path } of line) {
      const enforcements = (await this.enforcements(view, namespaceId)).filter((each) => isAbout(each, facts))
      const methods = enforcements.length === 0 ? [] : await this.methodsOn(view, [{ id: namespaceId, path }])
      for (const { name, methodIds } of enforcements) {
        const enforcement = required.has(name) ? `${path}${name}` : name
        required.set(enforcement, { enforcement, methods: methods.filter(({ id }) => methodIds.includes(id)) })
      }
    }
    return [...required.values()]
  }

  /** Gives an entity a secret of the method; null when it has one already, and `force` does not say to replace it. The address is for an app. */
  async enrol(
    transaction: Transaction,
    namespace: string,
    method: TotpMethod,
    entity: { readonly id: string; readonly name: string },
    force: boolean,
  ): Promise<string | null> {
    if (!force && (await this.#enrolled(transaction, namespace, method.id, entity.id)) !== null) return null
    const bytes = this.#random.bytes(method.keySize)
    const secret = new Secret({ buffer: new Uint8Array(bytes).buffer }).base32
    const fresh = { secret, lastStep: 0, failures: 0, firstFailureMs: 0 }
    writeJson(transaction, namespace, `secret/${method.id}/${entity.id}`, fresh)
    return totpOf(method, secret, entity.name).toString()
  }

  forget(transaction: Transaction, namespace: string, methodId: string, entityId: string): void {
    transaction.delete(section(namespace), `secret/${methodId}/${entityId}`)
  }

  /** Entities were deleted: what their apps were given goes with them, by whichever methods of `line`. */
  async forgetEntities(transaction: Transaction, line: readonly Level[], entityIds: readonly string[]): Promise<void> {
    for (const { id, namespaceId } of await this.methodsOn(transaction, line)) {
      if (!(await transaction.holds(section(namespaceId), `secret/${id}`))) continue
      for (const entityId of entityIds) {
        // Not read: a secret of a format that nobody knows must go as well.
        if ((await transaction.get(section(namespaceId), `secret/${id}/${entityId}`)) !== null)
          this.forget(transaction, namespaceId, id, entityId)
      }
    }
  }

  /**
   * Entities were merged into one: it gets what their apps were given, as far as it has none of the method itself, and enforcements that name them name it.
   * @throws ERR_BAD_REQUEST where several have a secret of one method; with `force` that of `into` stays, else the first one's.
   */
  async merge(transaction: Transaction, line: readonly Level[], { into, from, force }: MergedEntities): Promise<void> {
    for (const method of await this.methodsOn(transaction, line)) await this.#mergeSecrets(transaction, method, { into, from, force })
    for (const { id } of line) {
      const list = await this.enforcements(transaction, id)
      if (!list.some(({ entityIds }) => entityIds.some((each) => from.includes(each)))) continue
      const renamed = list.map((each) => ({
        ...each,
        entityIds: [...new Set(each.entityIds.map((entityId) => (from.includes(entityId) ? into : entityId)))],
      }))
      writeJson(transaction, id, 'enforcements', { list: renamed })
    }
  }

  async #mergeSecrets(transaction: Transaction, { id, namespaceId }: PlacedMethod, { into, from, force }: MergedEntities): Promise<void> {
    let own = await this.#enrolled(transaction, namespaceId, id, into)
    for (const entityId of from) {
      const theirs = await this.#enrolled(transaction, namespaceId, id, entityId)
      if (theirs === null) continue
      if (own !== null && !force) {
        throw new HoldfastError(
          'ERR_BAD_REQUEST',
          `conflicting MFA config ID ${JSON.stringify(id)} in entity ID ${JSON.stringify(entityId)}`,
          {
            hint: 'with "force" the entity that stays keeps its own secret; or destroy one of them: identity/mfa/method/totp/admin-destroy',
          },
        )
      }
      if (own === null) writeJson(transaction, namespaceId, `secret/${id}/${into}`, theirs)
      own ??= theirs
      this.forget(transaction, namespaceId, id, entityId)
    }
  }

  #enrolled(view: ReadView, namespace: string, methodId: string, entityId: string): Promise<Enrolled | null> {
    return readJson<Enrolled>(view, namespace, `secret/${methodId}/${entityId}`, 'a TOTP secret')
  }

  /**
   * Whether `code` is one of the entity's now; what comes of it is written, and must be committed whatever else the request comes to.
   * @throws ERR_PERMISSION_DENIED after too many wrong ones.
   */
  async tryCode(transaction: Transaction, namespace: string, method: TotpMethod, entityId: string, code: string): Promise<boolean> {
    const enrolled = await this.#enrolled(transaction, namespace, method.id, entityId)
    if (enrolled === null) return false
    const { nowMs } = transaction
    const counting = enrolled.failures > 0 && nowMs - enrolled.firstFailureMs < attemptsWindowMs
    const failures = counting ? enrolled.failures : 0
    if (failures >= method.maxAttempts) {
      const seconds = Math.ceil((enrolled.firstFailureMs + attemptsWindowMs - nowMs) / 1_000)
      throw new HoldfastError(
        'ERR_PERMISSION_DENIED',
        `maximum TOTP validation attempts ${method.maxAttempts} exceeded the allowed attempts. Please try again in ${seconds} seconds`,
      )
    }
    const place = `secret/${method.id}/${entityId}`
    const step = stepOf(method, enrolled, code, nowMs)
    if (step !== null) {
      writeJson(transaction, namespace, place, { ...enrolled, lastStep: step, failures: 0, firstFailureMs: 0 })
      return true
    }
    const firstFailureMs = failures === 0 ? nowMs : enrolled.firstFailureMs
    writeJson(transaction, namespace, place, { ...enrolled, failures: failures + 1, firstFailureMs })
    return false
  }

  /** Lays a login down until its second factor comes. Its id names its minute, so that old ones are found without an index. */
  async hold(transaction: Transaction, namespace: string, pending: Omit<PendingLogin, 'version' | 'untilMs'>): Promise<string> {
    await this.#sweep(transaction, namespace)
    const untilMs = transaction.nowMs + pendingMsMax
    const id = `${Math.floor(untilMs / minuteMs)}-${this.newId()}`
    writeJson(transaction, namespace, pendingPath(id) ?? '', { ...pending, untilMs })
    return id
  }

  /** null: there is none, it was used, or it is too old. */
  async pending(view: ReadView, namespace: string, id: string): Promise<PendingLogin | null> {
    const path = pendingPath(id)
    const found = path === null ? null : await readJson<PendingLogin>(view, namespace, path, 'a login that waits')
    return found !== null && found.untilMs > view.nowMs ? found : null
  }

  drop(transaction: Transaction, namespace: string, id: string): void {
    const path = pendingPath(id)
    if (path !== null) transaction.delete(section(namespace), path)
  }

  async #sweep(transaction: Transaction, namespace: string): Promise<void> {
    const [oldest] = await transaction.list(section(namespace), 'pending', { limit: 1 })
    const minute = Number(oldest?.slice(0, -1))
    if (oldest === undefined || !((minute + 1) * minuteMs < transaction.nowMs)) return
    const folder = `pending/${oldest.slice(0, -1)}`
    for (const name of await transaction.list(section(namespace), folder, { limit: sweptPerLoginMax })) {
      transaction.delete(section(namespace), `${folder}/${name}`)
    }
  }
}

const isAbout = (enforcement: Enforcement, facts: LoginFacts): boolean =>
  enforcement.accessors.includes(facts.accessor) ||
  enforcement.types.includes(facts.type) ||
  enforcement.groupIds.some((id) => facts.groupIds.includes(id)) ||
  enforcement.entityIds.includes(facts.entityId)

function pendingPath(id: string): string | null {
  const parts = /^(\d{1,10})-([0-9a-f-]{36})$/.exec(id)
  return parts === null ? null : `pending/${parts[1]!}/${parts[2]!}`
}

/** The step that `code` is of, if that may be taken; null otherwise. */
function stepOf(method: TotpMethod, enrolled: Enrolled, code: string, nowMs: number): number | null {
  if (!/^\d+$/.test(code) || code.length !== method.digits) return null
  const delta = totpOf(method, enrolled.secret, '').validate({ token: code, timestamp: nowMs, window: method.skew })
  if (delta === null) return null
  const step = Math.floor(nowMs / 1_000 / method.period) + delta
  return step > enrolled.lastStep ? step : null
}

/** Tries what was shown for each requirement; false when one of them is not met. @throws as `tryCode`. */
export async function satisfies(
  store: MfaStore,
  transaction: Transaction,
  entityId: string,
  requirements: readonly Requirement[],
  codes: ReadonlyMap<string, string>,
): Promise<boolean> {
  const tried = new Map<string, boolean>()
  for (const { methods } of requirements) {
    let met = false
    for (const method of methods) {
      const code = codes.get(method.id) ?? (method.name === '' ? undefined : codes.get(method.name))
      if (code === undefined) continue
      // One code may serve several enforcements of the same request, and is used once.
      if (!tried.has(method.id)) tried.set(method.id, await store.tryCode(transaction, method.namespaceId, method, entityId, code))
      met ||= tried.get(method.id) === true
    }
    if (!met) return false
  }
  return true
}
