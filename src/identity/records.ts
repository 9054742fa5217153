/**
 * Identity in the barrier, in the section {namespace, 'sys/identity'}. Each record is JSON with a version; each index holds an id.
 *
 *   entity/ID                        the entity, its aliases in it
 *   entity-name/NAME                 ID; NAME in lower case
 *   entity-listed/NAME               the name as it was written, for lists
 *   alias/ALIAS                      the entity's ID
 *   alias-of/ACCESSOR/NAME           the entity's ID; NAME in lower case
 *   merged/ID                        the entity that ID was merged into
 *   group/ID                         the group
 *   group-name/NAME, group-listed/NAME, group-alias/ALIAS, group-alias-of/ACCESSOR/NAME    as of entities
 *   member/GROUP/STAMP/ENTITY        who is a member; STAMP is '-' for internal groups, else the stamp of the alias
 *   graph                            random, another one with each change of a group
 *   gone/ACCESSOR                    a mount that was disabled, whose aliases are still to be deleted
 *
 * Whatever a request looks for is one read away. Which groups an entity is in stands in the entity, and in `member` only so that it can
 * be listed: so a group of a hundred thousand costs no more to join or to look at than one of two.
 */
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { ReadView, Section } from '#barrier/types.ts'
import { foldName, isStorableName, nameSegment } from './names.ts'
import type { EntityRecord, GroupRecord } from './types.ts'

const formatVersion = 1

export const identitySection = (namespace: string): Section => ({ namespace, mount: 'sys/identity' })

export type Kind = 'entity' | 'group'

export const paths = {
  record: (kind: Kind, id: string): string => `${kind}/${id}`,
  name: (kind: Kind, name: string): string => `${kind}-name/${nameSegment(foldName(name))}`,
  listed: (kind: Kind, name: string): string => `${kind}-listed/${nameSegment(name)}`,
  alias: (kind: Kind, id: string): string => `${aliasFolder(kind)}/${id}`,
  aliasOf: (kind: Kind, accessor: string, name: string): string => `${aliasesOf(kind, accessor)}/${nameSegment(foldName(name))}`,
  merged: (id: string): string => `merged/${id}`,
  member: (group: string, stamp: string, entity: string): string => `${members(group, stamp)}/${entity}`,
  graph: 'graph',
  gone: (accessor: string): string => `gone/${accessor}`,
} as const

export const aliasFolder = (kind: Kind): string => (kind === 'entity' ? 'alias' : 'group-alias')
export const aliasesOf = (kind: Kind, accessor: string): string => `${aliasFolder(kind)}-of/${nameSegment(accessor)}`
export const members = (group: string, stamp: string): string => `member/${group}/${stamp}`
/** The stamp of members of internal groups. */
export const byHand = '-'

/** What clients send as an id and the like may be anything: what can't be one is not there. */
const isId = (id: string): boolean => /^[0-9A-Za-z][0-9A-Za-z._-]{0,127}$/.test(id)

export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')

export const encodeRecord = (record: EntityRecord | GroupRecord): Uint8Array =>
  Buffer.from(JSON.stringify({ version: formatVersion, ...record }))

/** @throws ERR_UPGRADE_REQUIRED for a later format; ERR_STORE_CORRUPT for what is none. */
export function decodeRecord<T extends EntityRecord | GroupRecord>(kind: Kind, bytes: Uint8Array): T {
  let parsed: { version?: unknown } & T
  try {
    parsed = JSON.parse(textOf(bytes)) as typeof parsed
  } catch {
    throw new HoldfastError('ERR_STORE_CORRUPT', `expected an ${kind} record to be JSON`)
  }
  const { version, ...record } = parsed
  if (!checkVersion(`${kind} record`, formatVersion, version)) {
    throw new HoldfastError('ERR_STORE_CORRUPT', `expected a version in an ${kind} record, got none`)
  }
  return record as unknown as T
}

/** Reads identity in one view or transaction. */
export class IdentityReader {
  readonly section: Section
  readonly view: ReadView

  constructor(view: ReadView, namespace: string) {
    this.view = view
    this.section = identitySection(namespace)
  }

  get nowMs(): number {
    return this.view.nowMs
  }

  async text(path: string): Promise<string | null> {
    const bytes = await this.view.get(this.section, path)
    return bytes === null ? null : textOf(bytes)
  }

  async #record<T extends EntityRecord | GroupRecord>(kind: Kind, id: string): Promise<T | null> {
    const bytes = isId(id) ? await this.view.get(this.section, paths.record(kind, id)) : null
    return bytes === null ? null : decodeRecord<T>(kind, bytes)
  }

  entity(id: string): Promise<EntityRecord | null> {
    return this.#record<EntityRecord>('entity', id)
  }

  group(id: string): Promise<GroupRecord | null> {
    return this.#record<GroupRecord>('group', id)
  }

  async idByName(kind: Kind, name: string): Promise<string | null> {
    return isStorableName(name) ? this.text(paths.name(kind, name)) : null
  }

  async idByAlias(kind: Kind, id: string): Promise<string | null> {
    return isId(id) ? this.text(paths.alias(kind, id)) : null
  }

  async idByFactors(kind: Kind, accessor: string, name: string): Promise<string | null> {
    return isId(accessor) && isStorableName(name) ? this.text(paths.aliasOf(kind, accessor, name)) : null
  }

  /** The entity that `id` was merged into; null when it was not. */
  async mergedInto(id: string): Promise<string | null> {
    return isId(id) ? this.text(paths.merged(id)) : null
  }
}
