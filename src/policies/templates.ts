/**
 * Templates in paths: `{{identity.entity.id}}` and its like, filled from who the token belongs to.
 *
 * A value that holds '+', '*' or '/' counts as none: whoever may set a name or metadata could otherwise widen the rule (GHSA-59w7-v8rr-pr4p).
 * A rule that can't be filled is left out, silently, as the peers do; `policy lint` says which templates can never be filled.
 */
import type { IdentityRecord } from './types.ts'

const template = /\{\{\s*(.*?)\s*\}\}/g

/** The different expressions in `path`; null when its braces do not pair. */
export function templatesOf(path: string): readonly string[] | null {
  const expressions = [...path.matchAll(template)].map((match) => match[1] ?? '')
  const rest = path.replaceAll(template, '')
  if (rest.includes('{{') || rest.includes('}}')) return null
  return [...new Set(expressions)]
}

type Fill = (expression: string) => string | null

/** The path with its templates filled; null when one of them has no value that is safe in a pattern. */
export function fillTemplates(path: string, fill: Fill): string | null {
  if (!path.includes('{{')) return path
  let failed = false
  const filled = path.replaceAll(template, (_, expression: string) => {
    const value = fill(expression)
    if (value === null || value === '' || /[+*/]/.test(value)) failed = true
    return value ?? ''
  })
  return failed || filled.includes('{{') ? null : filled
}

type Reader = (identity: IdentityRecord) => string | undefined

/**
 * What an expression reads: `identity.entity.id`, `.name`, `.metadata.K`, `.aliases.ACCESSOR.id|name|metadata.K|custom_metadata.K`;
 * `identity.groups.ids.ID.name|metadata.K`, `identity.groups.names.NAME.id|metadata.K`. Null for every other: it can never be filled.
 * Names and keys may hold dots; an accessor and a group's id may not.
 */
function readerOf(expression: string): Reader | null {
  const entity = after(expression, 'identity.entity.')
  if (entity !== null) return entityReader(entity)
  const byId = after(expression, 'identity.groups.ids.')
  if (byId !== null) return groupById(byId)
  const byName = after(expression, 'identity.groups.names.')
  return byName === null ? null : groupByName(byName)
}

const after = (text: string, head: string): string | null =>
  text.startsWith(head) && text.length > head.length ? text.slice(head.length) : null

const own = (map: Readonly<Record<string, string>>, key: string): string | undefined => (Object.hasOwn(map, key) ? map[key] : undefined)

function entityReader(rest: string): Reader | null {
  if (rest === 'id') return ({ entity }) => entity.id
  if (rest === 'name') return ({ entity }) => entity.name
  const key = after(rest, 'metadata.')
  if (key !== null) return ({ entity }) => own(entity.metadata, key)
  const [, accessor, what] = /^aliases\.([^.]+)\.(.+)$/s.exec(rest) ?? []
  return accessor === undefined || what === undefined ? null : aliasReader(accessor, what)
}

function aliasReader(accessor: string, what: string): Reader | null {
  type Alias = IdentityRecord['entity']['aliases'][number]
  const of =
    (read: (alias: Alias) => string | undefined): Reader =>
    ({ entity }) => {
      const alias = entity.aliases.find((candidate) => candidate.mountAccessor === accessor)
      return alias && read(alias)
    }
  if (what === 'id') return of((alias) => alias.id)
  if (what === 'name') return of((alias) => alias.name)
  const key = after(what, 'metadata.')
  if (key !== null) return of((alias) => own(alias.metadata, key))
  const custom = after(what, 'custom_metadata.')
  return custom === null ? null : of((alias) => own(alias.customMetadata, custom))
}

function groupById(rest: string): Reader | null {
  const [, id, what = '', key] = /^([^.]+)\.(name|metadata\.(.+))$/s.exec(rest) ?? []
  if (id === undefined) return null
  return ({ groups }) => {
    const group = groups.find((candidate) => candidate.id === id)
    return group && (what === 'name' ? group.name : own(group.metadata, key ?? ''))
  }
}

/** A group's name may hold dots: `.id` is at the end, `.metadata.` is looked for from the front. */
function groupByName(rest: string): Reader | null {
  const [, name, what = '', key] = /^(.+?)\.(id|metadata\.(.+))$/s.exec(rest) ?? []
  if (name === undefined) return null
  return ({ groups }) => {
    const group = groups.find((candidate) => candidate.name === name)
    return group && (what === 'id' ? group.id : own(group.metadata, key ?? ''))
  }
}

/** Whether an expression is one that can be filled for anybody. */
export const isKnownTemplate = (expression: string): boolean => readerOf(expression) !== null

/** The value of an expression for `identity`; null when there is none. */
export function templateValue(expression: string, identity: IdentityRecord | null): string | null {
  return identity === null ? null : (readerOf(expression)?.(identity) ?? null)
}
