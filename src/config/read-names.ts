/**
 * Keys by name: environment variables (HOLDFAST_LISTENER_TCP_ADDRESS) and flags (listener.tcp.address). Of repeated blocks a name means
 * the first, and NAME_1_ the second: HOLDFAST_LISTENER_TCP_1_ADDRESS. A block that no file has is made.
 */
import type { HclString } from '#base/hcl.ts'
import type { AuditDraft, Draft, Section } from './draft.ts'
import type { KeyTable } from './key.ts'
import {
  auditKeys,
  auditOptionKeys,
  listenerKeys,
  raftKeys,
  retryJoinKeys,
  sealKeys,
  telemetryKeys,
  topKeys,
  userLockoutKeys,
  userLockoutTypes,
} from './keys.ts'
import type { AuditType, SealKind } from './keys.ts'
import { nearest } from './problems.ts'
import type { Problems } from './problems.ts'
import type { Origin } from './types.ts'

const prefix = 'HOLDFAST_'
const blockNames = ['listener', 'storage', 'seal', 'audit', 'telemetry', 'user_lockout']
/** Blocks of one kind that names may make. */
const blocksMax = 64

const stringNode = (value: string): HclString => ({ kind: 'string', value, line: 0, column: 0 })

/** The variable that means a key at this dotted path. */
export const variableOf = (path: string): string => prefix + path.replaceAll('.', '_').toUpperCase()

/** Takes every HOLDFAST_* variable that names a key, and the aliases of the field where ours is not set. */
export function readEnvironment(draft: Draft, env: Readonly<Record<string, string | undefined>>, problems: Problems): void {
  readAliases(draft, env, problems)
  for (const [variable, value] of Object.entries(env).toSorted(([a], [b]) => numberIn(a) - numberIn(b) || (a < b ? -1 : 1))) {
    if (!variable.startsWith(prefix) || value === undefined) continue
    const name = variable.slice(prefix.length).toLowerCase()
    if (setByName(draft, name, value, variable, problems)) continue
    // The client's own variables (HOLDFAST_ADDR, HOLDFAST_TOKEN ...) share the prefix: only a name inside a block is surely ours.
    const near = nearest(name, Object.keys(topKeys))
    if (blockNames.some((block) => name.startsWith(`${block}_`))) {
      problems.add(variable, '', 'the name of a key', 'another', suggestion(name))
    } else if (near !== null) problems.warn(variable, near, `is no key; did you mean ${variableOf(near)}?`)
  }
}

/** The second block must be made after the first. */
function numberIn(variable: string): number {
  return Number(/_(\d{1,2})_/.exec(variable)?.[1] ?? 0)
}

/** Takes flags by dotted path. */
export function readFlags(draft: Draft, flags: Readonly<Record<string, string>>, problems: Problems): void {
  for (const [path, value] of Object.entries(flags)) {
    const origin = `-${path}`
    if (!setByName(draft, path.replaceAll('.', '_'), value, origin, problems)) problems.add(origin, '', 'the path of a key', 'another')
  }
}

/** VAULT_API_ADDR and the like; only for tables whose section stands without a label of its own. */
function readAliases(draft: Draft, env: Readonly<Record<string, string | undefined>>, problems: Problems): void {
  const take = (table: KeyTable, section: () => Section): void => {
    for (const [name, def] of Object.entries(table)) {
      const variable = def.aliases?.find((alias) => (env[alias] ?? '') !== '')
      if (variable !== undefined) section().set(name, stringNode(env[variable] ?? ''), variable, problems)
    }
  }
  take(topKeys, () => draft.top)
  take(raftKeys, () => draft.raftSection('environment'))
  for (const { section } of draft.seals) take(section.table, () => section)
}

/** False when `name` (lower case, joined by '_') means no key. */
function setByName(draft: Draft, name: string, value: string, origin: Origin, problems: Problems): boolean {
  const target = locate(draft, name, origin)
  if (target === null) return false
  target.section.set(target.key, stringNode(value), origin, problems)
  return true
}

interface Target {
  readonly section: Section
  readonly key: string
}

function locate(draft: Draft, name: string, origin: Origin): Target | null {
  const top = keyIn(topKeys, name)
  if (top !== null) return { section: draft.top, key: top }
  const at = (start: string): string | null => (name.startsWith(start) ? name.slice(start.length) : null)
  const telemetry = at('telemetry_')
  if (telemetry !== null) return targetIn(telemetryKeys, telemetry, () => draft.telemetry)
  const listener = at('listener_tcp_')
  if (listener !== null) return repeated(listenerKeys, listener, draft.listeners, () => draft.addListener(origin))
  const join = at('storage_raft_retry_join_')
  if (join !== null) {
    const target = repeated(retryJoinKeys, join, draft.retryJoins, () => draft.addRetryJoin(origin))
    if (target !== null) return target
  }
  const raft = at('storage_raft_')
  if (raft !== null) return targetIn(raftKeys, raft, () => draft.raftSection(origin))
  return locateSeal(draft, name, origin) ?? locateUserLockout(draft, name, origin) ?? locateAudit(draft, name, origin)
}

/** The key of `table` whose path in variables is `name`: dots become underscores there. */
function keyIn(table: KeyTable, name: string): string | null {
  return Object.keys(table).find((key) => key.replaceAll('.', '_') === name) ?? null
}

function targetIn(table: KeyTable, name: string, section: () => Section): Target | null {
  const key = keyIn(table, name)
  return key === null ? null : { section: section(), key }
}

function repeated(table: KeyTable, name: string, sections: readonly Section[], add: () => Section): Target | null {
  const numbered = /^(\d{1,2})_(.+)$/.exec(name)
  const index = numbered === null ? 0 : Number(numbered[1])
  const key = keyIn(table, numbered?.[2] ?? name)
  // A gap would be a block that nobody wrote: the second needs the first.
  if (key === null || index > sections.length || index >= blocksMax) return null
  return { section: sections[index] ?? add(), key }
}

function locateSeal(draft: Draft, name: string, origin: Origin): Target | null {
  for (const kind of Object.keys(sealKeys) as SealKind[]) {
    if (!name.startsWith(`seal_${kind}_`)) continue
    const key = keyIn(sealKeys[kind], name.slice(`seal_${kind}_`.length))
    if (key === null) return null
    const section = draft.seals.find((seal) => seal.kind === kind)?.section ?? draft.addSeal(kind, origin)
    return { section, key }
  }
  return null
}

function locateUserLockout(draft: Draft, name: string, origin: Origin): Target | null {
  const type = userLockoutTypes.find((known) => name.startsWith(`user_lockout_${known}_`))
  if (type === undefined) return null
  return targetIn(userLockoutKeys, name.slice(`user_lockout_${type}_`.length), () => draft.userLockout(type, origin))
}

/** audit_TYPE_NAME_KEY and audit_TYPE_NAME_options_KEY: the name may hold underscores, so keys are looked for at the end. */
function locateAudit(draft: Draft, name: string, origin: Origin): Target | null {
  for (const type of Object.keys(auditOptionKeys) as AuditType[]) {
    if (!name.startsWith(`audit_${type}_`)) continue
    const rest = name.slice(`audit_${type}_`.length)
    for (const key of Object.keys(auditOptionKeys[type])) {
      const device = deviceBefore(rest, `_options_${key}`)
      if (device !== null) return { section: auditOf(draft, type, device, origin).options, key }
    }
    for (const key of Object.keys(auditKeys)) {
      const device = deviceBefore(rest, `_${key}`)
      if (device !== null) return { section: auditOf(draft, type, device, origin).section, key }
    }
  }
  return null
}

function deviceBefore(rest: string, ending: string): string | null {
  return rest.endsWith(ending) && rest.length > ending.length ? rest.slice(0, -ending.length) : null
}

function auditOf(draft: Draft, type: AuditType, device: string, origin: Origin): AuditDraft {
  const known = draft.audits.find((audit) => audit.type === type && variableName(audit.name) === device)
  return known ?? draft.addAudit(type, device, origin)
}

const variableName = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '_')

function suggestion(name: string): string | undefined {
  const all: string[] = []
  const from = (path: string, table: KeyTable): void => {
    for (const key of Object.keys(table)) all.push(`${path}_${key}`.replaceAll('.', '_'))
  }
  from('listener_tcp', listenerKeys)
  from('storage_raft', raftKeys)
  from('storage_raft_retry_join', retryJoinKeys)
  from('telemetry', telemetryKeys)
  for (const kind of Object.keys(sealKeys) as SealKind[]) from(`seal_${kind}`, sealKeys[kind])
  const near = nearest(name, all)
  return near === null ? undefined : `did you mean ${variableOf(near)}?`
}
