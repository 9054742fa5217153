/**
 * Roles: a set of policies under a name, bound to entities and groups. Whoever logs in as one of them has the policies at their next request.
 *
 * Intuition: a request knows its entity and groups and asks for their roles, thousands of times for each change of a role. So a role writes
 * its name under each of its members, in the same transaction; no list is walked. What they come to is kept beside a mark that changes with
 * every role, and each request reads the mark: one read, whatever the number of groups.
 *
 * A role never gives `root`, nor `response-wrapping`: those come from a token alone (CVE-2024-9180, CVE-2025-5999).
 */
import { createHash } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import { BoundedLru } from '#base/lru.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { immutablePolicyNames } from './builtin.ts'
import { encodeName, decodeName, storableName } from './names.ts'

const policiesPerRoleMax = 64
/** Bounds the values that one change writes. */
const membersPerRoleMax = 1_000
const rolesPerMemberMax = 64
const memberIdCharsMax = 256
const recordVersion = 1

export interface Role {
  readonly name: string
  readonly description: string
  /** Lower-case, sorted. */
  readonly policies: readonly string[]
  readonly entityIds: readonly string[]
  readonly groupIds: readonly string[]
  readonly modifiedMs: number
}

export type RoleFields = Pick<Role, 'description' | 'policies' | 'entityIds' | 'groupIds'>

type MemberKind = 'entity' | 'group'

export interface RoleStore {
  /** @throws ERR_BAD_REQUEST: a name, policy or member that can't be, too many of them. */
  put(transaction: Transaction, name: string, fields: RoleFields, namespace?: string): Promise<Role>
  get(view: ReadView, name: string, namespace?: string): Promise<Role | null>
  /** Names in order. */
  list(view: ReadView, namespace?: string): Promise<string[]>
  /** Nothing happens when there is none. */
  delete(transaction: Transaction, name: string, namespace?: string): Promise<void>
  /** Policies of all roles that one of these ids is bound to. */
  policiesOf(view: ReadView, entityId: string, groupIds: readonly string[], namespace?: string): Promise<readonly string[]>
  /** For the identity room: an entity or group is gone, and its roles forget it. */
  forget(transaction: Transaction, kind: MemberKind, id: string, namespace?: string): Promise<void>
  /** The barrier sealed: nothing opened stays. */
  onSealed(): void
}

const sectionOf = (namespace: string): Section => ({ namespace, mount: 'sys/role' })
const roleKey = (name: string): string => `role/${encodeName(name)}`
/** A digest of every change so far: two states with the same mark have the same roles, also after a restore. */
const markKey = 'mark'
const markOf = (before: Uint8Array | null, change: unknown): Uint8Array =>
  createHash('sha256')
    .update(before ?? '')
    .update(JSON.stringify(change))
    .digest()
/** Ids and policies kept, summed. */
const keptMax = 65_536
const memberKey = (kind: MemberKind, id: string): string => `member/${kind}/${encodeName(id)}`

/** Keeps what members' roles come to, and nothing else. */
export function createRoleStore(): RoleStore {
  const kept = new BoundedLru<string, { readonly mark: Uint8Array; readonly policies: readonly string[] }>({ weightMax: keptMax })
  const read = async <T>(view: ReadView, namespace: string, key: string): Promise<T | null> => {
    const bytes = await view.get(sectionOf(namespace), key)
    return bytes === null ? null : (decode(bytes) as T)
  }
  const get = async (view: ReadView, name: string, namespace = 'root'): Promise<Role | null> => {
    if (!storableName(name.toLowerCase())) return null
    const found = await read<Omit<Role, 'name'>>(view, namespace, roleKey(name.toLowerCase()))
    return found && { ...found, name: name.toLowerCase() }
  }
  const rolesOf = async (view: ReadView, namespace: string, kind: MemberKind, id: string): Promise<readonly string[]> =>
    (await read<{ roles: readonly string[] }>(view, namespace, memberKey(kind, id)))?.roles ?? []

  /** Takes the role's name off `gone` and puts it on `come`. */
  async function bind(
    transaction: Transaction,
    namespace: string,
    kind: MemberKind,
    name: string,
    gone: readonly string[],
    come: readonly string[],
  ) {
    const move = async (id: string, present: boolean): Promise<void> => {
      const others = (await rolesOf(transaction, namespace, kind, id)).filter((role) => role !== name)
      const roles = present ? [...others, name].toSorted() : others
      if (roles.length > rolesPerMemberMax) {
        throw new HoldfastError('ERR_BAD_REQUEST', `${kind} expected to have at most ${rolesPerMemberMax} roles, got another`)
      }
      if (roles.length > 0) transaction.put(sectionOf(namespace), memberKey(kind, id), encode({ roles }))
      else transaction.delete(sectionOf(namespace), memberKey(kind, id))
    }
    for (const id of gone) if (!come.includes(id)) await move(id, false)
    for (const id of come) if (!gone.includes(id)) await move(id, true)
  }

  async function write(transaction: Transaction, namespace: string, name: string, before: Role | null, after: Omit<Role, 'name'> | null) {
    const mark = await transaction.get(sectionOf(namespace), markKey)
    transaction.put(sectionOf(namespace), markKey, markOf(mark, [name, after]))
    await bind(transaction, namespace, 'entity', name, before?.entityIds ?? [], after?.entityIds ?? [])
    await bind(transaction, namespace, 'group', name, before?.groupIds ?? [], after?.groupIds ?? [])
    if (after === null) return transaction.delete(sectionOf(namespace), roleKey(name))
    const { description, policies, entityIds, groupIds, modifiedMs } = after
    transaction.put(sectionOf(namespace), roleKey(name), encode({ description, policies, entityIds, groupIds, modifiedMs }))
  }

  return {
    get,

    onSealed: () => kept.clear(),

    async list(view, namespace = 'root') {
      return (await view.list(sectionOf(namespace), 'role')).map(decodeName)
    },

    async put(transaction, name, fields, namespace = 'root') {
      const stored = checkName(name)
      const role = { ...checkFields(fields), modifiedMs: transaction.nowMs }
      await write(transaction, namespace, stored, await get(transaction, stored, namespace), role)
      return { name: stored, ...role }
    },

    async delete(transaction, name, namespace = 'root') {
      const present = await get(transaction, checkName(name), namespace)
      // A delete of nothing must not cost a log entry.
      if (present) await write(transaction, namespace, present.name, present, null)
    },

    async policiesOf(view, entityId, groupIds, namespace = 'root') {
      const mark = await view.get(sectionOf(namespace), markKey)
      // No role was ever written.
      if (mark === null) return []
      const key = [namespace, entityId, ...groupIds].join('\0')
      const known = kept.get(key)
      if (known && Buffer.compare(known.mark, mark) === 0) return known.policies
      const policies = await findPolicies(view, namespace, entityId, groupIds)
      kept.set(key, { mark: new Uint8Array(mark), policies }, 1 + groupIds.length + policies.length)
      return policies
    },

    async forget(transaction, kind, id, namespace = 'root') {
      for (const name of await rolesOf(transaction, namespace, kind, id)) {
        const role = await get(transaction, name, namespace)
        if (role === null) continue
        const key = kind === 'entity' ? 'entityIds' : 'groupIds'
        await write(transaction, namespace, name, role, { ...role, [key]: role[key].filter((member) => member !== id) })
      }
    },
  }

  async function findPolicies(view: ReadView, namespace: string, entityId: string, groupIds: readonly string[]): Promise<string[]> {
    const asked: [MemberKind, string][] = groupIds.map((id) => ['group', id])
    if (entityId !== '') asked.push(['entity', entityId])
    const names = new Set((await Promise.all(asked.map(([kind, id]) => rolesOf(view, namespace, kind, id)))).flat())
    const roles = await Promise.all([...names].map((name) => get(view, name, namespace)))
    return [...new Set(roles.flatMap((role) => role?.policies ?? []))].toSorted()
  }
}

function checkName(name: string): string {
  const stored = name.toLowerCase()
  if (storableName(stored)) return stored
  throw new HoldfastError(
    'ERR_BAD_REQUEST',
    `role name expected 1 to 1024 bytes without control characters, got ${Buffer.byteLength(name)}`,
  )
}

function checkFields({ description, ...lists }: RoleFields): RoleFields {
  const policies = [...new Set(lists.policies.map((name) => name.trim().toLowerCase()))].toSorted()
  const refused = policies.find((name) => immutablePolicyNames.has(name) || !storableName(name))
  if (refused !== undefined) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'policies expected names that a role may give, got another', {
      hint: `${[...immutablePolicyNames].join(' and ')} come from a token alone`,
    })
  }
  checkCount('policies', policies.length, 1, policiesPerRoleMax)
  const entityIds = membersOf('entity_ids', lists.entityIds)
  const groupIds = membersOf('group_ids', lists.groupIds)
  checkCount('entity_ids and group_ids together', entityIds.length + groupIds.length, 0, membersPerRoleMax)
  return { description, policies, entityIds, groupIds }
}

function membersOf(what: string, ids: readonly string[]): string[] {
  const clean = [...new Set(ids.map((id) => id.trim()))].toSorted()
  if (clean.every((id) => id.length <= memberIdCharsMax && storableName(id))) return clean
  throw new HoldfastError('ERR_BAD_REQUEST', `${what} expected ids of 1 to ${memberIdCharsMax} characters, got another`)
}

function checkCount(what: string, count: number, min: number, max: number): void {
  if (count < min || count > max) throw new HoldfastError('ERR_BAD_REQUEST', `${what} expected ${min} to ${max}, got ${count}`)
}

const encode = (record: object): Uint8Array => Buffer.from(JSON.stringify({ version: recordVersion, ...record }))

function decode(bytes: Uint8Array): unknown {
  const { version, ...record } = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'))
  if (version === recordVersion) return record
  throw new HoldfastError('ERR_UPGRADE_REQUIRED', `role record: expected version ${recordVersion}, got ${String(version)}`)
}
