/** The second step of a login that needs a second factor. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { CommitAndThrow } from '#barrier/types.ts'
import { orCommit } from '#core/mfa.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { satisfies, type MfaStore, type PendingLogin, type Requirement } from '#identity/mfa.ts'
import type { CreateToken } from '#tokens/store.ts'
import { field, optional, path, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

export function mfaValidatePath({ identity }: SystemServices): PathDef {
  return path(
    'mfa/validate',
    'Finish a login that needs a second factor.',
    {
      unauthenticated: true,
      fields: {
        mfa_request_id: field('string', "The id in the login's answer (auth.mfa_requirement)."),
        mfa_payload: field('map', 'Ids of methods, each with a list of one code.', { sensitive: true }),
      },
    },
    { update: writes('Finish', (context) => validate(identity.mfa, context)) },
    'A login waits five minutes, and ends once. Of each enforcement one method must be met; wrong codes count for the method and the entity.',
  )
}

async function validate(store: MfaStore, context: HandlerContext): Promise<LogicalResponse> {
  const id = text(context, 'mfa_request_id')
  const payload = optional<Readonly<Record<string, unknown>>>(context, 'mfa_payload')
  if (id === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing request ID')
  if (payload === undefined) throw new HoldfastError('ERR_BAD_REQUEST', 'missing mfa payload')
  const transaction = transactionOf(context)
  const namespace = context.mount.namespaceId
  const pending = await store.pending(transaction, namespace, id)
  if (pending === null) throw new HoldfastError('ERR_BAD_REQUEST', 'invalid request ID')
  // Somebody else's address: what was asked for here is answered here.
  if (pending.clientAddress !== context.request.clientAddress) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  const token = pending.token as Omit<CreateToken, 'parent'>
  await stillThere(context, token)
  const requirements = await requirementsOf(store, context, pending)
  const codes = new Map(Object.entries(payload).map(([method, given]) => [method, codeOf(given)]))
  if (!(await orCommit(() => satisfies(store, transaction, pending.entityId, requirements, codes)))) {
    throw new CommitAndThrow(
      new HoldfastError(
        'ERR_PERMISSION_DENIED',
        `login MFA validation failed for methodID: [${[...codes.keys()].join(' ').slice(0, 256)}]`,
      ),
    )
  }
  store.drop(transaction, namespace, id)
  return { granted: { ...token, parent: null } }
}

const codeOf = (given: unknown): string => {
  const first: unknown = Array.isArray(given) ? given[0] : given
  return typeof first === 'string' ? first : ''
}

/** The methods as they are now; one that is gone can be met by nobody. */
async function requirementsOf(store: MfaStore, context: HandlerContext, { requirements }: PendingLogin): Promise<Requirement[]> {
  const { view, line } = scopeOf(context)
  const methods = await store.methodsOn(view, line)
  return requirements.map(({ enforcement, methodIds }) => ({ enforcement, methods: methods.filter(({ id }) => methodIds.includes(id)) }))
}

/** @throws ERR_BAD_REQUEST when its method was unmounted meanwhile: that has ended all of its logins. */
async function stillThere(context: HandlerContext, { login }: Pick<CreateToken, 'login'>): Promise<void> {
  const { entries } = await scopeOf(context).mountsOf(context.mount.namespaceId)
  if (!entries.some(({ uuid }) => uuid === login?.mountUuid)) throw new HoldfastError('ERR_BAD_REQUEST', 'invalid request ID')
}
