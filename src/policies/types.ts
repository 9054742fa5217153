import type { ReadView } from '#barrier/types.ts'
import type { CidrRange } from '#base/cidr.ts'

export type Capability = 'create' | 'read' | 'update' | 'patch' | 'delete' | 'list' | 'scan' | 'sudo' | 'deny'

export type Weekday = 'mon' | 'tue' | 'wed' | 'thu' | 'fri' | 'sat' | 'sun'

/** When, from where and for which tokens a rule is there at all. All of them must hold; a `deny` is there whatever they say. */
export interface RuleConditions {
  /** Minutes of the day [from, to); `to` below `from` goes over midnight; `to` may be 1440. null: all day. */
  readonly time: { readonly from: number; readonly to: number } | null
  /** Of the day that the range began on. Empty: all. */
  readonly weekdays: readonly Weekday[]
  /** An IANA name that Intl knows. */
  readonly timezone: string
  /** Empty: from anywhere. */
  readonly sourceCidrs: readonly CidrRange[]
  /** The lifetime that the token was given may not be longer; 0: any. */
  readonly maxTokenTtlSeconds: number
}

/** One path rule as written. Parameter lists: null when absent. */
export interface PathRule {
  readonly path: string
  readonly capabilities: readonly Capability[]
  readonly allowedParameters: Readonly<Record<string, readonly unknown[]>> | null
  readonly deniedParameters: Readonly<Record<string, readonly unknown[]>> | null
  readonly requiredParameters: readonly string[]
  readonly minWrappingTtlSeconds: number
  readonly maxWrappingTtlSeconds: number
  readonly paginationLimit: number
  readonly listFilter: string | null
  readonly expirationMs: number | null
  /** null: always. */
  readonly conditions: RuleConditions | null
  readonly comment: string
  /** Line in the source, for errors and `explain`. */
  readonly line: number
}

/** A policy, parsed once. */
export interface Policy {
  readonly name: string
  readonly text: string
  readonly rules: readonly PathRule[]
  /** The different templates in its paths: `identity.entity.id` ... */
  readonly templates: readonly string[]
}

interface IdentityNames {
  readonly id: string
  readonly name: string
  readonly metadata: Readonly<Record<string, string>>
}

interface IdentityAlias extends IdentityNames {
  /** Of the mount that the alias belongs to. */
  readonly mountAccessor: string
  readonly customMetadata: Readonly<Record<string, string>>
}

/** Who a token belongs to, resolved: what templates are filled from, and the policies that come with it. */
export interface IdentityRecord {
  readonly entity: IdentityNames & { readonly aliases: readonly IdentityAlias[]; readonly disabled?: boolean }
  /** The groups that the entity is in, directly or through others. */
  readonly groups: readonly IdentityNames[]
  /** Policies of the entity and of its groups. `root` among them is ignored: it comes from a token alone. */
  readonly policies: readonly string[]
}

/** Filled by the identity room. */
export interface IdentityResolver {
  /** null: there is no such entity (any more). */
  resolve(view: ReadView, entityId: string, namespaceId: string): Promise<IdentityRecord | null>
}

/** Whose request it is, as far as its policies go. A token's entry is one. */
export interface PolicySubject {
  readonly policies: readonly string[]
  /** '': none. */
  readonly entityId: string
  /** Where its policies are. */
  readonly namespaceId: string
  /** That namespace's path, 'team/', which stands before every path of its policies; absent or '' for the root. */
  readonly namespacePath?: string
}

/** What conditions ask about the caller. What is absent makes the conditions about it fail. */
export interface CallerFacts {
  readonly nowMs: number
  /** As the listener resolved it. */
  readonly clientAddress?: string | undefined
  /** The lifetime that the token was given (tokens/lifetime.ts); null: it never ends. */
  readonly tokenTtlSeconds?: number | null | undefined
}

export interface AccessRequest extends CallerFacts {
  /** Full path, without '/v1/': 'secret/data/foo'. Ends in '/' for list and scan. */
  readonly path: string
  readonly operation: 'create' | 'read' | 'update' | 'patch' | 'delete' | 'list' | 'scan' | 'help'
  readonly needsSudo: boolean
  readonly body: Readonly<Record<string, unknown>>
  readonly query: Readonly<Record<string, string>>
  /** Which fields the path reads from the query although it is written to. Absent: none. */
  readonly inQuery?: (name: string) => boolean
  /** What the path's handler makes of a field's value: `true` of "1", a list of "a,b"; undefined where it has no such field, or can't read it. Absent: nothing is known. */
  readonly readAs?: (name: string, value: unknown) => unknown
  readonly wrapTtlSeconds: number
}

/** Why it was decided so. */
export type DecisionReason =
  | 'allowed'
  | 'root'
  | 'help'
  | 'open'
  | 'no rule'
  | 'deny'
  | 'no capability'
  | 'no sudo'
  | 'wrapping ttl'
  | 'pagination limit'
  | 'parameters'

export interface Decision {
  readonly allowed: boolean
  /** Is the token root, so that every check passes. */
  readonly root: boolean
  /** The limit to enforce on a list, 0 for none. */
  readonly paginationLimit: number
  readonly listFilter: string | null
  /** The rule that decided, for `policy explain`; null when none matched. */
  readonly rule: { readonly pattern: string; readonly policies: readonly string[] } | null
}

/** One rule that matches the path, for `policy explain`. */
export interface Candidate {
  readonly pattern: string
  /** Where it is written, and which of its conditions fails (null: none). */
  readonly parts: readonly { readonly policy: string; readonly line: number; readonly failed: ConditionName | null }[]
  /** Whether any part is there. */
  readonly active: boolean
  readonly capabilities: readonly string[]
}

export type ConditionName = 'time' | 'weekdays' | 'source_cidrs' | 'max_token_ttl'

/** A decision with all that was weighed. */
export interface Explanation extends Decision {
  readonly reason: DecisionReason
  /** Every rule that matches, the one that is asked first first; those without an active part are passed over. */
  readonly candidates: readonly Candidate[]
}

/** What a token's policies grant, pattern by pattern, for `internal/ui/resultant-acl`. */
export interface AclEntry {
  readonly pattern: string
  readonly exact: boolean
  readonly capabilities: readonly string[]
}

/** Several policies compiled for one token. Pure. */
export interface CompiledAcl {
  decide(request: AccessRequest): Decision
  /** As `decide`, slowly, and with everything that was weighed. */
  explain(request: AccessRequest): Explanation
  /** For sys/capabilities: sorted as the peers answer; ['root'] for root; ['deny'] when none. */
  capabilities(path: string, caller: CallerFacts): readonly string[]
  /** Every rule whose conditions hold. Empty for root, which needs none. */
  entries(caller: CallerFacts): readonly AclEntry[]
}
