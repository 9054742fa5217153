/** The second factor of logins, between the method's word and the token: what is required, what came with the request, what is waited for. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { CommitAndThrow, type Transaction } from '#barrier/types.ts'
import type { Namespace } from '#namespaces/record.ts'
import { satisfies, type MfaStore, type Requirement } from '#identity/mfa.ts'
import type { CreateToken } from '#tokens/store.ts'
import type { AuthResponse, MountEntry, Request } from './types.ts'

/** `X-Vault-MFA: METHOD:CODE`, by id or name, with commas between several. */
export function codesOf(header: string | undefined): ReadonlyMap<string, string> {
  const pairs = (header ?? '').split(',', 16).map((each) => {
    const at = each.indexOf(':')
    return at < 0 ? null : ([each.slice(0, at).trim(), each.slice(at + 1).trim()] as const)
  })
  return new Map(pairs.filter((pair) => pair !== null))
}

export interface Waiting {
  readonly store: MfaStore
  readonly mount: MountEntry
  /** From the root namespace down to the mount's. */
  readonly line: readonly Namespace[]
  readonly request: Request
  readonly entityId: string
  readonly groupIds: readonly string[]
}

/**
 * null: the token may be made. Else what is answered in its place, with the login laid down for `sys/mfa/validate`.
 * @throws CommitAndThrow of ERR_PERMISSION_DENIED for a code that came with the request and is wrong: it has counted.
 */
export async function secondFactor(transaction: Transaction, waiting: Waiting, token: CreateToken): Promise<AuthResponse | null> {
  const { store, mount, line, request, entityId, groupIds } = waiting
  const facts = { accessor: mount.accessor, type: mount.type, entityId, groupIds }
  const requirements = await store.required(transaction, line, facts)
  if (requirements.length === 0) return null
  const header = request.headers['x-vault-mfa']
  if (header !== undefined) {
    const met = await orCommit(() => satisfies(store, transaction, entityId, requirements, codesOf(header)))
    if (!met) throw new CommitAndThrow(new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied))
    return null
  }
  const { parent: _, ...kept } = token
  const id = await store.hold(transaction, mount.namespaceId, {
    entityId,
    clientAddress: request.clientAddress,
    requirements: requirements.map(({ enforcement, methods }) => ({ enforcement, methodIds: methods.map((method) => method.id) })),
    token: kept,
  })
  return waitingAnswer(id, requirements, entityId)
}

/** What `work` has written counts although it throws. */
export async function orCommit<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof HoldfastError && error.code === 'ERR_PERMISSION_DENIED' ? new CommitAndThrow(error) : error
  }
}

function waitingAnswer(id: string, requirements: readonly Requirement[], entityId: string): AuthResponse {
  const constraints = requirements.map(({ enforcement, methods }) => [
    enforcement,
    { any: methods.map((method) => ({ type: 'totp', id: method.id, uses_passcode: true, name: method.name })) },
  ])
  return {
    client_token: '',
    accessor: '',
    policies: [],
    token_policies: [],
    metadata: null,
    lease_duration: 0,
    renewable: false,
    entity_id: entityId,
    token_type: 'default',
    orphan: true,
    mfa_requirement: { mfa_request_id: id, mfa_constraints: Object.fromEntries(constraints) },
    num_uses: 0,
  }
}
