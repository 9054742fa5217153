/** A configuration while it is being put together from files, environment and flags: values are typed, but nothing is complete yet. */
import type { HclNode } from '#base/hcl.ts'
import { convert } from './convert.ts'
import type { KeyDef, KeyTable, ValuesOf } from './key.ts'
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
} from './keys.ts'
import type { AuditType, SealKind, UserLockoutType } from './keys.ts'
import { nearest } from './problems.ts'
import type { Problems } from './problems.ts'
import type { Origin } from './types.ts'

/** One block: the values that were given for its keys, and where. */
export class Section<T extends KeyTable = KeyTable> {
  readonly table: T
  /** Dotted, for messages: 'listener.tcp'; '' at the top. */
  readonly path: string
  readonly origin: Origin
  readonly #given = new Map<string, { readonly value: unknown; readonly origin: Origin }>()

  constructor(table: T, path: string, origin: Origin) {
    this.table = table
    this.path = path
    this.origin = origin
  }

  keyPath(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`
  }

  originOf(name: string): Origin {
    return this.#given.get(name)?.origin ?? this.origin
  }

  has(name: string): boolean {
    return this.#given.has(name)
  }

  /** Takes one value, or says what is wrong with the key or the value. */
  set(name: string, node: HclNode, origin: Origin, problems: Problems): void {
    const def = this.definition(name)
    if (def === null) return problems.add(origin, this.keyPath(name), 'a known key', 'another', this.suggestion(name))
    if (def.refused !== undefined) return problems.add(origin, this.keyPath(name), 'nothing here', 'a value', def.refused)
    if (def.ignored !== undefined) problems.warn(origin, this.keyPath(name), `has no effect: ${def.ignored}`)
    const converted = convert(node, def)
    if (!('value' in converted)) return problems.add(origin, this.keyPath(name), converted.expected, converted.got)
    if (converted.value !== null && def.kind !== 'any') this.#given.set(name, { value: converted.value, origin })
  }

  definition(name: string): KeyDef<unknown> | null {
    return Object.hasOwn(this.table, name) ? (this.table[name] as KeyDef<unknown>) : null
  }

  suggestion(name: string): string | undefined {
    const near = nearest(name, Object.keys(this.table))
    return near === null ? undefined : `did you mean "${near}"?`
  }

  /** All keys, given or default. Says which required ones are missing. */
  finish(problems: Problems): ValuesOf<T> {
    const values: Record<string, unknown> = {}
    for (const [name, def] of Object.entries<KeyDef<unknown>>(this.table)) {
      const given = this.#given.get(name)
      if (given === undefined && def.required === true) problems.add(this.origin, this.keyPath(name), 'a value', 'none')
      values[name] = given === undefined ? def.default : given.value
    }
    return values as ValuesOf<T>
  }

  /** What was given, as texts, in the table's order. */
  givenTexts(): Record<string, string> {
    const texts: Record<string, string> = {}
    for (const name of Object.keys(this.table)) {
      const given = this.#given.get(name)
      if (given !== undefined) texts[name] = String(given.value)
    }
    return texts
  }
}

export interface AuditDraft {
  readonly type: AuditType
  readonly name: string
  readonly section: Section<typeof auditKeys>
  readonly options: Section
}

export interface SealDraft {
  readonly kind: SealKind
  readonly section: Section
}

export class Draft {
  readonly top = new Section(topKeys, '', 'configuration')
  readonly telemetry = new Section(telemetryKeys, 'telemetry', 'configuration')
  readonly listeners: Section<typeof listenerKeys>[] = []
  raft: Section<typeof raftKeys> | null = null
  readonly retryJoins: Section<typeof retryJoinKeys>[] = []
  readonly seals: SealDraft[] = []
  readonly audits: AuditDraft[] = []
  readonly userLockouts = new Map<UserLockoutType, Section<typeof userLockoutKeys>>()

  addListener(origin: Origin): Section<typeof listenerKeys> {
    const section = new Section(listenerKeys, 'listener.tcp', origin)
    this.listeners.push(section)
    return section
  }

  raftSection(origin: Origin): Section<typeof raftKeys> {
    this.raft ??= new Section(raftKeys, 'storage.raft', origin)
    return this.raft
  }

  addRetryJoin(origin: Origin): Section<typeof retryJoinKeys> {
    const section = new Section(retryJoinKeys, 'storage.raft.retry_join', origin)
    this.retryJoins.push(section)
    return section
  }

  addSeal(kind: SealKind, origin: Origin): Section {
    const section: Section = new Section<KeyTable>(sealKeys[kind], `seal.${kind}`, origin)
    this.seals.push({ kind, section })
    return section
  }

  /** The block of a type; blocks of the same type in several files are one, of which the later keys win. */
  userLockout(type: UserLockoutType, origin: Origin): Section<typeof userLockoutKeys> {
    const section = this.userLockouts.get(type) ?? new Section(userLockoutKeys, `user_lockout.${type}`, origin)
    this.userLockouts.set(type, section)
    return section
  }

  addAudit(type: AuditType, name: string, origin: Origin): AuditDraft {
    const path = `audit.${type}.${name}`
    const draft: AuditDraft = {
      type,
      name,
      section: new Section(auditKeys, path, origin),
      options: new Section<KeyTable>(auditOptionKeys[type], `${path}.options`, origin),
    }
    this.audits.push(draft)
    return draft
  }
}
