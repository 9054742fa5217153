/**
 * The matcher's slow twin: the rule of api.md section 2 written down once more, with regular expressions and sorting at each question.
 * Shares no code with src/policies, on purpose.
 */
export interface TwinRule {
  readonly path: string
  readonly capabilities: readonly string[]
  /** What its conditions ask of the caller. */
  readonly needs: readonly TwinFact[]
}

/** What a caller can be. */
export type TwinFact = 'near' | 'short-lived' | 'early'

/** A rule whose conditions fail is not there, unless it denies. */
export const twinPresent = (rules: readonly TwinRule[], caller: readonly TwinFact[]): TwinRule[] =>
  rules.filter((rule) => rule.capabilities.includes('deny') || rule.needs.every((fact) => caller.includes(fact)))

const isGlob = (path: string): boolean => path.endsWith('*')
const stem = (path: string): string => path.replace(/\*$/, '')
const plusCount = (path: string): number =>
  stem(path)
    .split('/')
    .filter((part) => part === '+').length
const isExact = (path: string): boolean => !isGlob(path) && plusCount(path) === 0

const expressions = new Map<string, RegExp>()

function expression(path: string): RegExp {
  let made = expressions.get(path)
  if (!made) expressions.set(path, (made = newExpression(path)))
  return made
}

function newExpression(path: string): RegExp {
  const parts = stem(path)
    .split('/')
    .map((part) => (part === '+' ? '[^/]*' : part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')))
  return new RegExp(`^${parts.join('/')}${isGlob(path) ? '.*' : ''}$`, 's')
}

function firstWildcard(path: string): number {
  const plus = /(?:^|\/)\+(?:\/|$)/.exec(stem(path))
  return plus ? plus.index + (plus[0].startsWith('/') ? 1 : 0) : stem(path).length
}

/** What a comparison sorts by: the first difference decides, the greater wins. */
const rank = (path: string): (number | string)[] => [
  firstWildcard(path),
  isGlob(path) ? 0 : 1,
  -plusCount(path),
  stem(path).length,
  stem(path),
]

function better(a: string, b: string): string {
  const [ra, rb] = [rank(a), rank(b)]
  const at = ra.findIndex((value, i) => value !== rb[i])
  return at < 0 || ra[at]! > rb[at]! ? a : b
}

function bestWildcard(patterns: readonly string[], path: string): string | undefined {
  const matching = patterns.filter((pattern) => !isExact(pattern) && expression(pattern).test(path))
  return matching.length === 0 ? undefined : matching.reduce(better)
}

/** The pattern that decides, and all its capabilities; undefined when none matches. */
export function twinWinner(
  rules: readonly TwinRule[],
  path: string,
  listing: boolean,
): { pattern: string; capabilities: Set<string> } | undefined {
  const patterns = rules.map((rule) => rule.path)
  const bare = path.replace(/\/$/, '')
  const wild = [path, ...(listing ? [bare] : [])].map((one) => bestWildcard(patterns, one)).filter((one) => one !== undefined)
  const found =
    patterns.find((pattern) => isExact(pattern) && pattern === path) ??
    (listing ? patterns.find((pattern) => isExact(pattern) && pattern === bare) : undefined) ??
    (wild.length === 0 ? undefined : wild.reduce(better))
  if (found === undefined) return undefined
  return { pattern: found, capabilities: new Set(rules.filter((rule) => rule.path === found).flatMap((rule) => rule.capabilities)) }
}

export function twinAllows(rules: readonly TwinRule[], path: string, operation: string): boolean {
  const capabilities = twinWinner(rules, path, operation === 'list' || operation === 'scan')?.capabilities
  return capabilities !== undefined && !capabilities.has('deny') && capabilities.has(operation)
}

/** How the winner of `path` came about: alone, before others by its first wildcard or star, or in a tie that only the later rules of order broke. */
export function twinTie(rules: readonly TwinRule[], path: string, listing: boolean): { readonly matching: number; readonly tied: number } {
  const winner = twinWinner(rules, path, listing)
  if (!winner || isExact(winner.pattern)) return { matching: winner ? 1 : 0, tied: 0 }
  const bare = path.replace(/\/$/, '')
  const matching = [...new Set(rules.map((rule) => rule.path))].filter(
    (pattern) => !isExact(pattern) && (expression(pattern).test(path) || (listing && expression(pattern).test(bare))),
  )
  const [first, star] = rank(winner.pattern)
  const tied = matching.filter((pattern) => rank(pattern)[0] === first && rank(pattern)[1] === star)
  return { matching: matching.length, tied: tied.length }
}
