/**
 * What several policies say about one pattern, merged: capabilities, required parameters and values add up, a `deny` sticks, wrapping
 * TTLs and page limits take the lowest, the first list filter wins.
 *
 * With conditions the merger depends on the request: of the parts of a rule only those count whose conditions hold. Rules without any
 * (nearly all) are merged once; the others keep the last merger, since callers in a row mostly meet the same conditions.
 */
import { failedCondition } from './conditions.ts'
import type { ParameterLists } from './parameters.ts'
import type { Pattern } from './pattern.ts'
import type { CallerFacts, Candidate, Capability, PathRule } from './types.ts'

/** What a rule says once it is known which of its parts count. */
export interface Merged {
  readonly policies: readonly string[]
  readonly capabilities: ReadonlySet<Capability>
  /** Lower-case names. null: everything is allowed. */
  readonly allowed: ParameterLists | null
  readonly denied: ParameterLists | null
  readonly required: ReadonlySet<string>
  readonly minWrappingTtlSeconds: number
  readonly maxWrappingTtlSeconds: number
  readonly paginationLimit: number
  readonly listFilter: string | null
}

interface Part {
  readonly policy: string
  readonly written: PathRule
}

/** A `deny` is there whatever its conditions say. */
const failedOf = ({ written }: Part, caller: CallerFacts) =>
  written.conditions === null || written.capabilities.includes('deny') ? null : failedCondition(written.conditions, caller)

/** One pattern with everything that a token's policies say about it. */
export class Rule {
  readonly pattern: Pattern
  /** In the order of the policies. */
  readonly #parts: Part[] = []
  #conditional = false
  #merged: Merged | null = null
  /** Which parts `#merged` was made of, a letter each; only with conditions. */
  #mergedOf = ''

  constructor(pattern: Pattern) {
    this.pattern = pattern
  }

  /** Before the first question only. */
  add(policy: string, written: PathRule): void {
    this.#parts.push({ policy, written })
    if (written.conditions !== null && !written.capabilities.includes('deny')) this.#conditional = true
  }

  /** What it says to this caller; null when no part of it is there: then it does not match. */
  for(caller: CallerFacts): Merged | null {
    if (!this.#conditional) return (this.#merged ??= merge(this.#parts))
    const holds = this.#parts.map((part) => failedOf(part, caller) === null)
    const made = holds.map((one) => (one ? '1' : '0')).join('')
    if (this.#merged === null || this.#mergedOf !== made) {
      this.#merged = merge(this.#parts.filter((_, i) => holds[i]))
      this.#mergedOf = made
    }
    return made.includes('1') ? this.#merged : null
  }

  explain(caller: CallerFacts): Candidate {
    const merged = this.for(caller)
    return {
      pattern: this.pattern.text,
      parts: this.#parts.map((part) => ({ policy: part.policy, line: part.written.line, failed: failedOf(part, caller) })),
      active: merged !== null,
      capabilities: capabilitiesOf(merged),
    }
  }
}

/** Sorted, as capabilities are answered; ['deny'] when there are none. */
export function capabilitiesOf(merged: Merged | null): readonly string[] {
  if (merged === null || merged.capabilities.size === 0 || merged.capabilities.has('deny')) return ['deny']
  return [...merged.capabilities].toSorted()
}

function merge(parts: readonly Part[]): Merged {
  let allowed: ParameterLists | null = null
  let denied: ParameterLists | null = null
  let [min, max, page] = [0, 0, 0]
  let listFilter: string | null = null
  for (const { written } of parts) {
    allowed = mergeLists(allowed, written.allowedParameters)
    denied = mergeLists(denied, written.deniedParameters)
    min = lowest(min, written.minWrappingTtlSeconds)
    max = lowest(max, written.maxWrappingTtlSeconds)
    page = lowest(page, written.paginationLimit)
    listFilter ||= written.listFilter
  }
  return {
    policies: [...new Set(parts.map((part) => part.policy))],
    capabilities: new Set(parts.flatMap((part) => part.written.capabilities)),
    allowed,
    denied,
    required: new Set(parts.flatMap((part) => part.written.requiredParameters)),
    minWrappingTtlSeconds: min,
    maxWrappingTtlSeconds: max,
    paginationLimit: page,
    listFilter,
  }
}

/** The lower of two limits, 0 being none. */
const lowest = (a: number, b: number): number => (a > 0 && b > 0 ? Math.min(a, b) : Math.max(a, b))

/** An empty object says nothing, as if it were absent. */
function mergeLists(a: ParameterLists | null, written: PathRule['allowedParameters']): ParameterLists | null {
  const entries = written === null ? [] : Object.entries(written)
  if (entries.length === 0) return a
  const merged = new Map(a)
  for (const [name, values] of entries) {
    const present = merged.get(name)
    // An empty list means any value, and stays so beside a list of some.
    merged.set(name, present && (present.length === 0 || values.length === 0) ? [] : [...(present ?? []), ...values])
  }
  return merged
}
