/**
 * Policies from their text, HCL or JSON, strictly: an unknown key or capability is an error that names its line, since a rule that
 * the author believes to be there and that is silently not is a hole.
 */
import { HoldfastError } from '#base/errors.ts'
import { blocksOf, parseHcl, refuseAt } from '#base/hcl.ts'
import type { HclBlock, HclItem } from '#base/hcl.ts'
import { conditionsOf } from './parse-conditions.ts'
import {
  attempt,
  code,
  durationOf,
  hintFor,
  limitOf,
  parametersOf,
  quoted,
  readKeys,
  stringOf,
  stringsOf,
  textOf,
  timeOf,
  type Report,
  type Text,
} from './parse-values.ts'
import { templatesOf } from './templates.ts'
import type { Capability, PathRule, Policy } from './types.ts'

const policyCharsMax = 512 * 1024
const policyDepthMax = 16

/** In the order in which `policy fmt` writes them. */
export const capabilityNames: readonly Capability[] = ['create', 'read', 'update', 'patch', 'delete', 'list', 'scan', 'sudo', 'deny']

/** The words that policies of 2015 used. */
const legacyPolicies: Readonly<Record<string, readonly Capability[]>> = {
  deny: ['deny'],
  read: ['read', 'list'],
  write: ['create', 'read', 'update', 'delete', 'list'],
  sudo: ['create', 'read', 'update', 'delete', 'list', 'sudo'],
}

/**
 * Parses a policy. `name` is lower-cased; `text` is HCL or JSON, never base64 (the route decodes that).
 * With `report`, faults of a key or capability are told to it and the rest is read: for `policy lint`.
 * @throws HoldfastError ERR_POLICY_SYNTAX: "failed to parse policy: line L, column C: expected X, got Y".
 */
export function parsePolicy(name: string, text: string, report?: Report): Policy {
  try {
    const root = parseHcl(text, { charsMax: policyCharsMax, depthMax: policyDepthMax, code })
    for (const item of root.items) {
      attempt(report, () => {
        if (item.key === 'name') stringOf(item)
        else if (item.key !== 'path')
          refuseAt(item, '"path" or "name"', `key ${quoted(item.key)}`, code, hintFor(item.key, ['path', 'name']))
      })
    }
    const rules = blocksOf(root, 'path', 1, code).flatMap((block) => ruleOf(block, report))
    const templates = new Set(rules.flatMap((rule) => templatesOf(rule.path) ?? []))
    return { name: name.toLowerCase(), text, rules, templates: [...templates] }
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
    throw new HoldfastError(code, `failed to parse policy: ${error.message}`, error.hint === undefined ? {} : { hint: error.hint })
  }
}

type Draft = { -readonly [K in keyof PathRule]: PathRule[K] }
type Reader = (rule: Draft, item: HclItem, report?: Report) => void

/** Keys that other servers enforce and this one does not: taking them in silence would open what their author closed. */
const unenforced: ReadonlySet<string> = new Set(['mfa_methods', 'control_group'])

const refuseUnenforced = (item: HclItem): never =>
  refuseAt(
    item,
    'only keys that this server enforces',
    quoted(item.key),
    code,
    'leave the key out: it would look like a protection and be none',
  )

/** What each key of a path sets. */
const readers: Readonly<Record<string, Reader>> = {
  capabilities: (rule, item, report) => {
    for (const entry of stringsOf(item)) attempt(report, () => (rule.capabilities = union(rule.capabilities, [capabilityOf(entry)])))
  },
  policy: (rule, item) => (rule.capabilities = union(rule.capabilities, legacyOf(item))),
  allowed_parameters: (rule, item) => (rule.allowedParameters = parametersOf(item)),
  denied_parameters: (rule, item) => (rule.deniedParameters = parametersOf(item)),
  required_parameters: (rule, item) => (rule.requiredParameters = stringsOf(item).map((entry) => entry.value.toLowerCase())),
  min_wrapping_ttl: (rule, item) => (rule.minWrappingTtlSeconds = durationOf(item)),
  max_wrapping_ttl: (rule, item) => (rule.maxWrappingTtlSeconds = durationOf(item)),
  pagination_limit: (rule, item) => (rule.paginationLimit = limitOf(item)),
  list_scan_response_keys_filter_path: (rule, item) => (rule.listFilter = filterOf(item)),
  expiration: (rule, item) => (rule.expirationMs = timeOf(item)),
  conditions: (rule, item, report) => (rule.conditions = conditionsOf(item, report)),
  comment: (rule, item) => (rule.comment = stringOf(item)),
}

/** One rule; none when its path is at fault and that was reported. */
function ruleOf(block: HclBlock, report?: Report): PathRule[] {
  const rule: Draft = {
    path: (block.labels[0] ?? '').replace(/^\//, ''),
    capabilities: [],
    allowedParameters: null,
    deniedParameters: null,
    requiredParameters: [],
    minWrappingTtlSeconds: 0,
    maxWrappingTtlSeconds: 0,
    paginationLimit: 0,
    listFilter: null,
    expirationMs: null,
    conditions: null,
    comment: '',
    line: block.line,
  }
  let sound = false
  attempt(report, () => {
    checkPath(block, rule.path)
    sound = true
  })
  for (const item of block.body.items) if (unenforced.has(item.key)) attempt(report, () => refuseUnenforced(item))
  const items = block.body.items.filter(({ key }) => !unenforced.has(key))
  readKeys(rule, { ...block.body, items }, readers, 'a key that a path can have', report)
  if (rule.capabilities.includes('deny')) rule.capabilities = ['deny']
  attempt(report, () => checkWrapping(block, rule))
  return sound ? [rule] : []
}

function checkPath(block: HclBlock, path: string): void {
  if (path.includes('+*')) {
    refuseAt(
      block,
      "'+' to stand for one whole segment",
      `'+*' in path ${quoted(path)}`,
      code,
      "write '+/*' for everything below one segment",
    )
  }
  if (templatesOf(path) === null) refuseAt(block, "'{{' and '}}' in pairs", `path ${quoted(path)}`, code)
}

function checkWrapping(block: HclBlock, { minWrappingTtlSeconds: min, maxWrappingTtlSeconds: max }: PathRule): void {
  if (min > 0 && max > 0 && max < min) refuseAt(block, 'max_wrapping_ttl >= min_wrapping_ttl', `${max}s < ${min}s`, code)
}

const union = (a: readonly Capability[], b: readonly Capability[]): Capability[] => [...new Set([...a, ...b])]

function capabilityOf({ value, ...place }: Text): Capability {
  if (!(capabilityNames as readonly string[]).includes(value)) {
    refuseAt(place, `one of ${capabilityNames.join(', ')}`, `capability ${quoted(value)}`, code, hintFor(value, capabilityNames))
  }
  return value as Capability
}

function legacyOf(item: HclItem): readonly Capability[] {
  const word = textOf(item)
  const capabilities = Object.hasOwn(legacyPolicies, word.value) ? legacyPolicies[word.value] : undefined
  return capabilities ?? refuseAt(word, 'policy "deny", "read", "write" or "sudo"', quoted(word.value), code)
}

/** A path with `{{ .path }}` and `{{ .key }}` and no other template: what can't be evaluated would keep nothing, and surprise. */
function filterOf(item: HclItem): string {
  const text = textOf(item)
  if (text.value.replaceAll(/\{\{-?\s*\.(path|key)\s*-?\}\}/g, '').includes('{{')) {
    refuseAt(text, '{{ .path }} and {{ .key }} as the only templates', 'another', code)
  }
  return text.value
}
