/** Wraps an answer when the client asked for it with X-Vault-Wrap-TTL. */
import { HoldfastError } from '#base/errors.ts'
import { lifetimes } from '#base/lifetimes.ts'
import type { Section, Transaction } from '#barrier/types.ts'
import type { Wrapping } from '#wrapping/wrapping.ts'
import { envelopeText } from './envelope.ts'
import type { MountTable } from './mounts.ts'
import type { LogicalResponse, PathDef, Request } from './types.ts'

/** Where cubbyholes lie. */
export function cubbyholeSection(mounts: MountTable): Section {
  const mount = mounts.find('secret', 'cubbyhole/')
  if (!mount) throw new HoldfastError('ERR_INTERNAL', 'expected a cubbyhole mount, got none')
  return { namespace: mount.namespaceId, mount: mount.uuid }
}

/** Before the handler runs, so that nothing is done whose answer can't be delivered as asked. @throws ERR_BAD_REQUEST. */
export function checkWrappable(request: Request, def: PathDef, outside: boolean, wrapping: Wrapping | undefined): void {
  if (request.wrapTtlSeconds <= 0) return
  if (!wrapping || outside || def.bare) {
    throw new HoldfastError('ERR_BAD_REQUEST', 'response wrapping is not supported on this path', { hint: 'leave X-Vault-Wrap-TTL out' })
  }
  if (request.wrapTtlSeconds > lifetimes.maxSeconds) {
    throw new HoldfastError('ERR_BAD_REQUEST', `wrap TTL expected at most ${lifetimes.maxSeconds} seconds, got ${request.wrapTtlSeconds}`)
  }
}

/** The answer in a wrapping token; as it is when there is nothing to wrap, or it is wrapped already. */
export async function wrapResponse(
  wrapping: Wrapping,
  transaction: Transaction,
  mounts: MountTable,
  request: Request,
  def: PathDef,
  response: LogicalResponse | null,
): Promise<LogicalResponse | null> {
  if (response === null || response.raw || response.wrapInfo || (response.status ?? 200) >= 400) return response
  const wrapInfo = await wrapping.wrap(transaction, cubbyholeSection(mounts), {
    text: envelopeText(request.id, response, def.injected === true),
    ttlSeconds: request.wrapTtlSeconds,
    creationPath: request.path,
    ...(response.auth ? { wrappedAccessor: response.auth.accessor } : {}),
  })
  return { wrapInfo }
}
