/** Policies from files, and the request that they are asked about: what `policy test` and `policy explain` share. */
import { basename } from 'node:path'
import { HoldfastError } from '#base/errors.ts'
import { compileAcl } from '#policies/acl.ts'
import { defaultPolicyText, responseWrappingPolicyText } from '#policies/builtin.ts'
import { parsePolicy } from '#policies/parse.ts'
import { templateValue } from '#policies/templates.ts'
import type { AccessRequest, CompiledAcl, IdentityRecord, Policy } from '#policies/types.ts'
import { trimSlashes } from '../../cli/common.ts'
import type { Io } from '../../cli/io.ts'
import { UsageError } from '../../cli/types.ts'
import type { Explained } from './wording.ts'

export type Operation = Exclude<AccessRequest['operation'], 'help'>
export const operations: readonly Operation[] = ['create', 'read', 'update', 'patch', 'delete', 'list', 'scan']

/** What a request is besides its path and operation. */
export interface Situation {
  readonly sudo: boolean
  readonly parameters: Readonly<Record<string, unknown>>
  readonly limit: string | undefined
  readonly wrapTtlSeconds: number
  readonly nowMs: number
  readonly clientAddress: string | undefined
  /** null: a token that never ends. */
  readonly tokenTtlSeconds: number | null | undefined
}

/** `team.hcl` is `team`. */
export const policyNameOf = (path: string): string => basename(path).replace(/\.(hcl|json|policy)$/i, '')

/** The text of a policy that is there without being written; null for every other. */
export function builtinText(name: string): string | null {
  if (name === 'default') return defaultPolicyText
  if (name === 'response-wrapping') return responseWrappingPolicyText
  return name === 'root' ? '' : null
}

/** @throws UsageError as `io.readFile`; where there is no file, with the way to get a policy of the server into one: its name is what people type first. */
export function readPolicyFile(io: Io, path: string): string {
  try {
    return io.readFile(path)
  } catch (error) {
    if (!(error instanceof UsageError) || error.hint === undefined) throw error
    const name = policyNameOf(path)
    throw new UsageError(error.message, `${error.hint}; a policy of the server: holdfast policy read ${name} > ${name}.hcl`)
  }
}

/** Parses, naming the policy in what is wrong with it. */
export function parseNamed(name: string, text: string): Policy {
  try {
    return parsePolicy(name, text)
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
    throw new HoldfastError(error.code, `${name}: ${error.message}`, error.hint === undefined ? {} : { hint: error.hint })
  }
}

export const compileFor = (policies: readonly Policy[], identity: IdentityRecord | null, nowMs: number): CompiledAcl =>
  compileAcl(policies, { nowMs, fillTemplate: (expression) => templateValue(expression, identity) })

export function askedPath(path: string, operation: Operation): string {
  const bare = trimSlashes(path).replace(/^v1\//, '')
  const listing = operation === 'list' || operation === 'scan'
  return listing || path.endsWith('/') ? `${bare}/` : bare
}

export function explainHere(acl: CompiledAcl, path: string, operation: Operation, situation: Situation): Explained {
  const { sudo, parameters, limit, wrapTtlSeconds, ...caller } = situation
  const asked = askedPath(path, operation)
  const found = acl.explain({
    path: asked,
    operation,
    needsSudo: sudo,
    body: parameters,
    query: limit === undefined ? {} : { limit },
    wrapTtlSeconds,
    ...caller,
  })
  return {
    path: asked,
    operation,
    allowed: found.allowed,
    reason: found.reason,
    root: found.root,
    rule: found.rule,
    pagination_limit: found.paginationLimit,
    list_filter: found.listFilter,
    candidates: found.candidates.map(({ parts, ...rest }) => ({
      ...rest,
      parts: parts.map(({ policy, line, failed }) => ({ policy, line, failed_condition: failed })),
    })),
  }
}
