/**
 * What is probably wrong with policies, beyond what `parsePolicy` refuses: rules that never match or never decide, words that do nothing.
 * Several texts are looked at together, as the policies of one token. Pure.
 */
import { isHoldfastError } from '#base/errors.ts'
import { nearest } from '#base/suggest.ts'
import { globMatches } from './parameters.ts'
import { parsePolicy } from './parse.ts'
import { comparePatterns, covers, matches, parsePattern, type Pattern } from './pattern.ts'
import { isKnownTemplate, templatesOf } from './templates.ts'
import type { PathRule } from './types.ts'

export interface PolicyText {
  readonly name: string
  readonly text: string
}

export interface Finding {
  readonly policy: string
  readonly line: number
  /** `error`: it is refused, or never does what it says; `warning`: it is probably not what was meant. */
  readonly level: 'error' | 'warning'
  readonly message: string
  readonly hint: string | undefined
}

interface Placed {
  readonly policy: string
  readonly rule: PathRule
  readonly pattern: Pattern
  /** Something in it was refused already. */
  readonly faulty: boolean
}

type Say = (at: Placed, level: Finding['level'], message: string, hint?: string) => void

/** Findings by text and line. `nowMs` tells what has expired. */
export function lintPolicies(texts: readonly PolicyText[], nowMs: number): Finding[] {
  const findings: Finding[] = []
  const rules = texts.flatMap((text) => parseLeniently(text, findings))
  const say: Say = ({ policy, rule }, level, message, hint) =>
    void findings.push({ policy, line: rule.line, level, message: `path ${JSON.stringify(rule.path)} ${message}`, hint })
  for (const placed of rules) {
    checkPath(placed, say)
    checkWords(placed, nowMs, say)
    checkParameters(placed, say)
    checkAgainstOthers(placed, rules, say)
  }
  const order = texts.map(({ name }) => name)
  return findings.toSorted((a, b) => order.indexOf(a.policy) - order.indexOf(b.policy) || a.line - b.line)
}

function parseLeniently({ name, text }: PolicyText, findings: Finding[]): Placed[] {
  const report = (error: unknown): void => {
    if (!isHoldfastError(error)) throw error
    const [, line, message] = /^(?:failed to parse policy: )?line (\d+), column \d+: ([^]*)$/.exec(error.message) ?? [
      null,
      '1',
      error.message,
    ]
    findings.push({ policy: name, line: Number(line), level: 'error', message: message!, hint: error.hint })
  }
  try {
    const { rules } = parsePolicy(name, text, report)
    const faults = findings.filter(({ policy }) => policy === name).map(({ line }) => line)
    return rules.map((rule) => {
      const end = Math.min(...rules.map(({ line }) => line).filter((line) => line > rule.line), Number.POSITIVE_INFINITY)
      const faulty = faults.some((line) => line >= rule.line && line < end)
      return { policy: name, rule, pattern: parsePattern(rule.path), faulty }
    })
  } catch (error) {
    report(error)
    return []
  }
}

function checkPath(placed: Placed, say: Say): void {
  const { rule, pattern } = placed
  const never = (message: string, hint?: string): void => say(placed, 'error', `can never match: ${message}`, hint)
  const segments = pattern.stem.split('/')
  if (rule.path.startsWith('v1/')) never('requests are matched without /v1/', `write ${JSON.stringify(rule.path.slice(3))}`)
  if (rule.path === '') never('no request has an empty path')
  if (rule.path.length > 1 && segments.slice(0, -1).includes('')) never("no request has an empty segment ('//')")
  if (segments.includes('.') || segments.includes('..')) never("requests with '.' or '..' as a segment are refused")
  for (const expression of templatesOf(rule.path) ?? []) {
    if (!isKnownTemplate(expression)) {
      const near = nearest(expression, ['identity.entity.id', 'identity.entity.name'])
      never(`{{${expression}}} is no template`, near === null ? undefined : `did you mean {{${near}}}?`)
    }
  }
  const lists = rule.capabilities.some((capability) => ['list', 'scan', 'sudo', 'deny'].includes(capability))
  if (pattern.kind === 'exact' && rule.path.endsWith('/') && !lists && rule.capabilities.length > 0) {
    never('only lists and scans end in a slash', 'leave the slash out, or end the path in "/*"')
  }
  if (pattern.stem.includes('*'))
    say(placed, 'warning', "has a '*' that is not its last character: it stands for itself", "'+' stands for one segment")
  if (segments.some((segment) => segment.includes('+') && segment !== '+' && !segment.includes('{{'))) {
    say(placed, 'warning', "has a '+' that is not a whole segment: it stands for itself")
  }
}

function checkWords(placed: Placed, nowMs: number, say: Say): void {
  const { rule } = placed
  if (rule.expirationMs !== null && rule.expirationMs <= nowMs) say(placed, 'error', 'can never match: it has expired')
  if (rule.capabilities.length === 0 && !placed.faulty)
    say(placed, 'warning', 'grants nothing: it has no capabilities', 'write "deny" to close it')
  if (rule.conditions !== null && rule.capabilities.includes('deny')) {
    say(placed, 'warning', 'has conditions that do nothing: a deny is there whatever they say')
  }
  const paged = rule.capabilities.includes('list') || rule.capabilities.includes('scan')
  if (rule.paginationLimit > 0 && !paged) say(placed, 'warning', 'has a pagination_limit, and neither list nor scan')
  if (rule.listFilter !== null && !paged) say(placed, 'warning', 'has a list filter, and neither list nor scan')
}

const takesParameters: ReadonlySet<string> = new Set(['create', 'read', 'update', 'patch'])

function checkParameters(placed: Placed, say: Say): void {
  const { rule } = placed
  const { allowedParameters: allowed, deniedParameters: denied, requiredParameters: required } = rule
  const said = allowed !== null || denied !== null || required.length > 0
  const usable = rule.capabilities.some((capability) => takesParameters.has(capability))
  if (said && !usable && !required.includes('limit')) say(placed, 'warning', 'has parameters, and none of create, read, update, patch')
  const refused = (name: string): boolean =>
    denied?.['*'] !== undefined ||
    denied?.[name]?.length === 0 ||
    (allowed !== null && allowed[name] === undefined && allowed['*'] === undefined)
  for (const name of usable ? required : []) {
    if (refused(name)) say(placed, 'error', `can never be used: it requires the parameter ${JSON.stringify(name)} and refuses it`)
  }
  for (const [name, values] of Object.entries(allowed ?? {})) {
    const out = denied?.[name]
    if (!out || values.length === 0) continue
    const gone = (value: unknown): boolean =>
      out.length === 0 ||
      out.some((one) => (typeof one === 'string' && typeof value === 'string' ? globMatches(one, value) : one === value))
    if (values.every(gone)) say(placed, 'warning', `allows values of ${JSON.stringify(name)} that it denies`)
  }
}

function checkAgainstOthers(placed: Placed, all: readonly Placed[], say: Say): void {
  const { rule, pattern } = placed
  const here = (other: Placed): string =>
    other.policy === placed.policy ? `line ${other.rule.line}` : `${other.policy}, line ${other.rule.line}`
  const others = all.filter((other) => other !== placed)
  for (const other of others.filter(({ pattern: { text } }) => text === pattern.text)) {
    const [denied, deniedThere] = [rule.capabilities.includes('deny'), other.rule.capabilities.includes('deny')]
    if (deniedThere && !denied) {
      say(placed, 'warning', `is shadowed: the same path is denied (${here(other)})`)
    } else if (denied === deniedThere && other.policy === placed.policy && other.rule.line < rule.line) {
      say(placed, 'warning', `is there a second time (${here(other)}): both are merged into one rule`)
    }
  }
  const shadow = others.find(
    (other) =>
      pattern.kind !== 'exact' &&
      other.rule.conditions === null &&
      other.rule.expirationMs === null &&
      other.pattern.kind !== 'exact' &&
      other.pattern.text !== pattern.text &&
      comparePatterns(other.pattern, pattern) < 0 &&
      covers(other.pattern, pattern),
  )
  if (shadow) {
    say(placed, 'error', `is shadowed: ${JSON.stringify(shadow.rule.path)} (${here(shadow)}) matches all that it matches, and goes first`)
  }
  if (rule.conditions !== null && !rule.capabilities.includes('deny')) checkFallback(placed, others, here, say)
}

/** When its conditions fail the next best rule decides. If that one grants the same, the conditions protect nothing. */
function checkFallback(placed: Placed, others: readonly Placed[], here: (other: Placed) => string, say: Say): void {
  const wider = others
    .filter(({ rule, pattern }) => rule.conditions === null && pattern.kind !== 'exact' && reaches(pattern, placed.pattern))
    .toSorted((a, b) => comparePatterns(a.pattern, b.pattern))[0]
  const same = placed.rule.capabilities.filter((capability) => wider?.rule.capabilities.includes(capability))
  if (wider && same.length > 0) {
    const grants = `when its conditions fail, ${JSON.stringify(wider.rule.path)} (${here(wider)}) decides and grants ${same.join(', ')}`
    say(placed, 'warning', grants, 'a rule that should be closed otherwise needs a narrower one beside it')
  }
}

/** Whether `wide` matches what `narrow` matches, as far as its shape tells. */
const reaches = (wide: Pattern, narrow: Pattern): boolean =>
  wide.text !== narrow.text && (narrow.kind === 'exact' ? matches(wide, narrow.stem) : covers(wide, narrow))
