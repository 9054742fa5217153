/**
 * Claims of a role: JSON with `{{...}}` where a value is to stand.
 *
 * Each `{{...}}` is a JSON value by itself, never a part of a string: the template is parsed once with a marker in each of these places, and values are
 * put into the tree that came of it. Text is never pasted into text, so no name and no metadata can add a claim, end a string or hide another one.
 */
import { HoldfastError } from '#base/errors.ts'
import { parseDurationSeconds } from '#base/duration.ts'
import type { ResolvedIdentity } from '#identity/types.ts'
import { isKnownTemplate, templateValue } from '#policies/templates.ts'

const templateCharsMax = 16_384
const depthMax = 32

/** What the token says by itself; a template may not. */
const reserved = ['iat', 'aud', 'exp', 'iss', 'sub', 'namespace', 'nonce', 'nbf', 'jti', 'auth_time', 'at_hash', 'c_hash', 'azp'] as const

export interface TemplateFacts {
  readonly identity: ResolvedIdentity
  readonly nowMs: number
}

type Fill = (facts: TemplateFacts) => unknown

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

export type Claims = Readonly<Record<string, unknown>>

/**
 * The claims that `template` gives for somebody; '' gives none. What somebody has not is '' where it is text, and empty where it is a map or a list.
 * @throws ERR_BAD_REQUEST for a template that no one can be put into.
 */
export function compileTemplate(template: string): (facts: TemplateFacts) => Claims {
  if (template.trim() === '') return () => ({})
  if (template.length > templateCharsMax) throw bad(`error parsing template JSON: expected at most ${templateCharsMax} characters`)
  const fills: Fill[] = []
  const marker = markerFor(template)
  const text = template.replaceAll(/\{\{\s*(.*?)\s*\}\}/g, (_, expression: string) => {
    fills.push(fillOf(expression))
    return JSON.stringify(`${marker}${fills.length - 1}`)
  })
  const tree = parse(text)
  if (typeof tree !== 'object' || tree === null || Array.isArray(tree)) throw bad('error parsing template JSON: expected an object')
  for (const key of Object.keys(tree)) {
    if ((reserved as readonly string[]).includes(key))
      throw bad(`top level key ${JSON.stringify(key)} not allowed. Restricted keys: ${reserved.join(', ')}`)
  }
  const build = builderOf(tree, marker, fills, 0)
  return (facts) => build(facts) as Claims
}

/** The names of the claims that `template` gives, whoever it is filled for. @throws as `compileTemplate`. */
export function claimNamesOf(template: string): readonly string[] {
  if (template.trim() === '') return []
  return Object.keys(parse(template.replaceAll(/\{\{\s*(.*?)\s*\}\}/g, 'null')) as object)
}

/** A text that stands nowhere in the template, so that no string of its own is taken for a place. */
function markerFor(template: string): string {
  for (let serial = 0; ; serial += 1) if (!template.includes(`place-${serial}-`)) return `place-${serial}-`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw bad('error parsing template JSON: expected JSON, with each {{...}} a value by itself and outside of quotes')
  }
}

/** @throws ERR_BAD_REQUEST where a place stands as a key, or within a string. */
function builderOf(node: unknown, marker: string, fills: readonly Fill[], depth: number): Fill {
  if (depth > depthMax) throw bad(`error parsing template JSON: expected at most ${depthMax} levels`)
  if (typeof node === 'string' && node.startsWith(marker)) return fills[Number(node.slice(marker.length))] ?? (() => node)
  if (Array.isArray(node)) {
    const items = node.map((item) => builderOf(item, marker, fills, depth + 1))
    return (facts) => items.map((item) => item(facts))
  }
  if (typeof node !== 'object' || node === null) return () => node
  const pairs = Object.entries(node).map(([key, value]) => {
    if (key.includes(marker)) throw bad('error parsing template JSON: expected {{...}} as a value, got one as a key')
    return [key, builderOf(value, marker, fills, depth + 1)] as const
  })
  return (facts) => Object.fromEntries(pairs.map(([key, value]) => [key, value(facts)]))
}

const after = (text: string, head: string): string | null =>
  text.startsWith(head) && text.length > head.length ? text.slice(head.length) : null

/** @throws ERR_BAD_REQUEST for an expression that can be filled for nobody. */
function fillOf(expression: string): Fill {
  const listed = lists[expression]
  if (listed !== undefined) return listed
  if (expression === 'time.now') return ({ nowMs }) => secondsOf(nowMs)
  const plus = after(expression, 'time.now.plus.')
  if (plus !== null) return shifted(plus, 1)
  const minus = after(expression, 'time.now.minus.')
  if (minus !== null) return shifted(minus, -1)
  const [, accessor, which] = /^identity\.entity\.aliases\.([^.]+)\.(metadata|custom_metadata)$/.exec(expression) ?? []
  if (accessor !== undefined) return aliasMap(accessor, which === 'metadata' ? 'metadata' : 'customMetadata')
  if (!isKnownTemplate(expression)) throw bad(`error parsing template JSON: unknown template ${JSON.stringify(expression.slice(0, 128))}`)
  return ({ identity }) => templateValue(expression, identity) ?? ''
}

const lists: Readonly<Record<string, Fill | undefined>> = {
  // Not by the prototype's: 'constructor' is no list.
  __proto__: null as never,
  'identity.entity.metadata': ({ identity }) => identity.entity.metadata,
  'identity.entity.groups.ids': ({ identity }) => identity.groups.map(({ id }) => id),
  'identity.entity.groups.names': ({ identity }) => identity.groups.map(({ name }) => name),
}

const secondsOf = (ms: number): number => Math.floor(ms / 1_000)

function shifted(duration: string, sign: 1 | -1): Fill {
  const seconds = parseDurationSeconds(duration, { what: 'a time of the template' })
  return ({ nowMs }) => secondsOf(nowMs) + sign * seconds
}

const aliasMap =
  (accessor: string, which: 'metadata' | 'customMetadata'): Fill =>
  ({ identity }) =>
    identity.entity.aliases.find(({ mountAccessor }) => mountAccessor === accessor)?.[which] ?? {}
