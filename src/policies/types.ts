export type Capability = 'create' | 'read' | 'update' | 'patch' | 'delete' | 'list' | 'scan' | 'sudo' | 'deny'

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
  readonly comment: string
  /** Line in the source, for errors and `explain`. */
  readonly line: number
}

/** A policy, parsed once. */
export interface Policy {
  readonly name: string
  readonly text: string
  readonly rules: readonly PathRule[]
}

export interface AccessRequest {
  /** Full path, without '/v1/': 'secret/data/foo'. Ends in '/' for list and scan. */
  readonly path: string
  readonly operation: 'create' | 'read' | 'update' | 'patch' | 'delete' | 'list' | 'scan' | 'help'
  readonly needsSudo: boolean
  readonly body: Readonly<Record<string, unknown>>
  readonly query: Readonly<Record<string, string>>
  readonly wrapTtlSeconds: number
  readonly nowMs: number
}

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

/** Several policies compiled for one token. Pure. */
export interface CompiledAcl {
  decide(request: AccessRequest): Decision
  /** For sys/capabilities: sorted as the peers answer; ['root'] for root; ['deny'] when none. */
  capabilities(path: string, nowMs: number): readonly string[]
}
