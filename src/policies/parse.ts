/**
 * Policies from their text, HCL or JSON, strictly: an unknown key or capability is an error that names its line, since a rule that
 * the author believes to be there and that is silently not is a hole.
 */
import { parseDurationSeconds } from '#base/duration.ts'
import { HoldfastError } from '#base/errors.ts'
import { blocksOf, parseHcl, refuseAt, toPlain } from '#base/hcl.ts'
import type { HclBlock, HclItem, HclNode, HclObject, HclPlace } from '#base/hcl.ts'
import type { Capability, PathRule, Policy } from './types.ts'

const policyCharsMax = 512 * 1024
const policyDepthMax = 16
const code = 'ERR_POLICY_SYNTAX'

const capabilityNames: ReadonlySet<string> = new Set<Capability>([
  'create',
  'read',
  'update',
  'patch',
  'delete',
  'list',
  'scan',
  'sudo',
  'deny',
])

/** The words that policies of 2015 used. */
const legacyPolicies: Readonly<Record<string, readonly Capability[]>> = {
  deny: ['deny'],
  read: ['read', 'list'],
  write: ['create', 'read', 'update', 'delete', 'list'],
  sudo: ['create', 'read', 'update', 'delete', 'list', 'sudo'],
}

/** Keys that other servers enforce and this one does not: taking them in silence would open what their author closed. */
const unenforced: ReadonlySet<string> = new Set(['mfa_methods', 'control_group'])

/**
 * Parses a policy. `name` is lower-cased; `text` is HCL or JSON, never base64 (the route decodes that).
 * @throws HoldfastError ERR_POLICY_SYNTAX: "failed to parse policy: line L, column C: expected X, got Y".
 */
export function parsePolicy(name: string, text: string): Policy {
  try {
    const root = parseHcl(text, { charsMax: policyCharsMax, depthMax: policyDepthMax, code })
    for (const item of root.items) {
      if (item.key === 'name') stringOf(item)
      else if (item.key !== 'path') refuseAt(item, '"path" or "name"', `key ${quoted(item.key)}`, code)
    }
    return { name: name.toLowerCase(), text, rules: blocksOf(root, 'path', 1, code).map(ruleOf) }
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
    throw new HoldfastError(code, `failed to parse policy: ${error.message}`, error.hint === undefined ? {} : { hint: error.hint })
  }
}

type Draft = { -readonly [K in keyof PathRule]: PathRule[K] }

function ruleOf(block: HclBlock): PathRule {
  const rule: Draft = {
    path: patternOf(block),
    capabilities: [],
    allowedParameters: null,
    deniedParameters: null,
    requiredParameters: [],
    minWrappingTtlSeconds: 0,
    maxWrappingTtlSeconds: 0,
    paginationLimit: 0,
    listFilter: null,
    expirationMs: null,
    comment: '',
    line: block.line,
  }
  const seen = new Set<string>()
  for (const item of block.body.items) {
    if (seen.has(item.key)) refuseAt(item, `${quoted(item.key)} once`, 'it a second time', code)
    seen.add(item.key)
    readKey(rule, item)
  }
  if (rule.capabilities.includes('deny')) rule.capabilities = ['deny']
  const { minWrappingTtlSeconds: min, maxWrappingTtlSeconds: max } = rule
  if (min > 0 && max > 0 && max < min) refuseAt(block, 'max_wrapping_ttl >= min_wrapping_ttl', `${max}s < ${min}s`, code)
  return rule
}

function patternOf(block: HclBlock): string {
  const written = block.labels[0] ?? ''
  const path = written.startsWith('/') ? written.slice(1) : written
  if (path.includes('+*')) {
    refuseAt(
      block,
      "'+' to stand for one whole segment",
      `'+*' in path ${quoted(path)}`,
      code,
      "write '+/*' for everything below one segment",
    )
  }
  return path
}

/** Sets on `rule` what one key of a path says. */
function readKey(rule: Draft, item: HclItem): void {
  switch (item.key) {
    case 'capabilities':
      rule.capabilities = union(
        rule.capabilities,
        stringsOf(item).map((entry) => capabilityOf(entry)),
      )
      break
    case 'policy':
      rule.capabilities = union(rule.capabilities, legacyOf(item))
      break
    case 'allowed_parameters':
      rule.allowedParameters = parametersOf(item)
      break
    case 'denied_parameters':
      rule.deniedParameters = parametersOf(item)
      break
    case 'required_parameters':
      rule.requiredParameters = stringsOf(item).map((entry) => entry.value.toLowerCase())
      break
    case 'min_wrapping_ttl':
      rule.minWrappingTtlSeconds = ttlOf(item)
      break
    case 'max_wrapping_ttl':
      rule.maxWrappingTtlSeconds = ttlOf(item)
      break
    case 'pagination_limit':
      rule.paginationLimit = limitOf(item)
      break
    case 'list_scan_response_keys_filter_path':
      rule.listFilter = filterOf(item)
      break
    case 'expiration':
      rule.expirationMs = timeOf(item)
      break
    case 'comment':
      rule.comment = stringOf(item)
      break
    default:
      refuseKey(item)
  }
}

function refuseKey(item: HclItem): never {
  if (unenforced.has(item.key)) {
    return refuseAt(
      item,
      'only keys that this server enforces',
      quoted(item.key),
      code,
      'leave the key out: it would look like a protection and be none',
    )
  }
  return refuseAt(
    item,
    'a key that a path can have',
    quoted(item.key),
    code,
    'capabilities, policy, allowed_parameters, denied_parameters, required_parameters, min_wrapping_ttl, max_wrapping_ttl, pagination_limit, list_scan_response_keys_filter_path, expiration, comment',
  )
}

const quoted = (text: string): string => JSON.stringify(text.length > 128 ? `${text.slice(0, 128)}...` : text)

const union = (a: readonly Capability[], b: readonly Capability[]): Capability[] => [...new Set([...a, ...b])]

/** The value of `key = value`; a label between them is a mistake. */
function valueOf(item: HclItem): HclNode {
  if (item.labels.length > 0) refuseAt(item, `'=' after ${quoted(item.key)}`, 'a label', code)
  return item.value
}

function stringOf(item: HclItem): string {
  const value = valueOf(item)
  return value.kind === 'string' ? value.value : refuseAt(value, `a string for ${quoted(item.key)}`, `a ${value.kind}`, code)
}

interface Text extends HclPlace {
  readonly value: string
}

function stringsOf(item: HclItem): Text[] {
  const value = valueOf(item)
  if (value.kind !== 'list') return refuseAt(value, `a list of strings for ${quoted(item.key)}`, `a ${value.kind}`, code)
  return value.elements.map((element) =>
    element.kind === 'string' ? element : refuseAt(element, `a string in ${quoted(item.key)}`, `a ${element.kind}`, code),
  )
}

function capabilityOf({ value, ...place }: Text): Capability {
  if (!capabilityNames.has(value)) refuseAt(place, `one of ${[...capabilityNames].join(', ')}`, `capability ${quoted(value)}`, code)
  return value as Capability
}

function legacyOf(item: HclItem): readonly Capability[] {
  const word = stringOf(item)
  const capabilities = Object.hasOwn(legacyPolicies, word) ? legacyPolicies[word] : undefined
  return capabilities ?? refuseAt(item.value, 'policy "deny", "read", "write" or "sudo"', quoted(word), code)
}

/** Names lower-cased; a value that is not a list is a list of one. */
function parametersOf(item: HclItem): Readonly<Record<string, readonly unknown[]>> {
  const value = valueOf(item)
  if (value.kind !== 'object') return refuseAt(value, `an object for ${quoted(item.key)}`, `a ${value.kind}`, code)
  return Object.fromEntries(uniqueItems(value).map((entry) => [entry.key.toLowerCase(), valuesOf(entry)]))
}

function valuesOf(item: HclItem): readonly unknown[] {
  const plain = toPlain(valueOf(item))
  return Array.isArray(plain) ? plain : [plain]
}

function uniqueItems(object: HclObject): readonly HclItem[] {
  const seen = new Set<string>()
  for (const item of object.items) {
    if (seen.has(item.key.toLowerCase())) refuseAt(item, `parameter ${quoted(item.key)} once`, 'it a second time', code)
    seen.add(item.key.toLowerCase())
  }
  return object.items
}

function ttlOf(item: HclItem): number {
  const value = valueOf(item)
  try {
    return parseDurationSeconds(value.kind === 'string' || value.kind === 'number' ? value.value : null)
  } catch {
    return refuseAt(
      value,
      `a duration for ${quoted(item.key)}`,
      `a ${value.kind} that is none`,
      code,
      'write seconds or "90s", "30m", "24h"',
    )
  }
}

function limitOf(item: HclItem): number {
  const value = valueOf(item)
  if (value.kind === 'number' && Number.isSafeInteger(value.value) && value.value >= 0) return value.value
  return refuseAt(value, `a whole number >= 0 for ${quoted(item.key)}`, `a ${value.kind} that is none`, code)
}

/** A path with `{{ .path }}` and `{{ .key }}` and no other template: what can't be evaluated would keep nothing, and surprise. */
function filterOf(item: HclItem): string {
  const text = stringOf(item)
  if (text.replaceAll(/\{\{-?\s*\.(path|key)\s*-?\}\}/g, '').includes('{{')) {
    refuseAt(item.value, '{{ .path }} and {{ .key }} as the only templates', 'another', code)
  }
  return text
}

/** RFC 3339, or seconds since the epoch. */
function timeOf(item: HclItem): number {
  const value = valueOf(item)
  const seconds = value.kind === 'number' ? value.value : value.kind === 'string' && /^\d+$/.test(value.value) ? Number(value.value) : null
  if (seconds !== null && seconds >= 0 && seconds < 8.64e12) return seconds * 1_000
  const text = value.kind === 'string' ? value.value : ''
  const timeMs = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[-+]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(timeMs))
    refuseAt(value, `an RFC 3339 time for ${quoted(item.key)}`, `a ${value.kind} that is none`, code, '2026-12-31T23:59:59Z')
  return timeMs
}
