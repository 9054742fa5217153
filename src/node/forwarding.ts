/**
 * Carries a client's request from the node that took it to the leader, and the answer back. The leader runs the whole pipeline
 * itself (token, policy, audit); the follower is believed only in what the client was: its address and certificate.
 */
import { Packr } from 'msgpackr'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import type { CoreResponse, Request } from '#core/types.ts'
import type { Replica } from '#replica/types.ts'
import type { Transport } from '#transport/types.ts'

export const forwardKind = 'forward'
const formatVersion = 1
const packr = new Packr({ useRecords: false })

/** What crosses the wire: the request without what belongs to this process. */
export function encodeRequest(request: Request): Uint8Array {
  const { signal: _signal, ...rest } = request
  return packr.pack({ version: formatVersion, request: rest })
}

/** @throws ERR_FRAME for a version that this node does not know. */
export function decodeRequest(from: string, body: Uint8Array): Request {
  const { version, request } = unpack<{ version: number; request: Request }>(body)
  if (version !== formatVersion)
    throw new HoldfastError('ERR_FRAME', `forwarded request expected version ${formatVersion}, got ${String(version)}`)
  // Whatever the sender wrote there, it is the sender that forwarded it.
  return { ...request, forwardedFrom: from }
}

export function encodeResponse(response: CoreResponse): Uint8Array {
  return packr.pack({ version: formatVersion, ...response })
}

function unpack<T>(body: Uint8Array): T {
  return packr.unpack(body) as T
}

/**
 * Sends `request` to whoever leads now.
 * @throws ERR_NO_LEADER when nobody is known to lead; ERR_OUTCOME_UNKNOWN when the request may have reached a leader that did not answer.
 */
export async function forwardToLeader(request: Request, replica: Replica, transport: Transport | null): Promise<CoreResponse> {
  const { leader, nodeId } = replica.status()
  if (leader === null || leader === nodeId || transport === null) {
    throw new HoldfastError('ERR_NO_LEADER', 'local node not active but active cluster node not found', {
      hint: 'the cluster is electing a leader, or has lost its majority: retry; see `holdfast operator members`',
    })
  }
  try {
    const answer = await transport.request(leader, forwardKind, encodeRequest(request), limits.requestDurationMsMax)
    const { status, headers, body } = unpack<CoreResponse>(answer)
    return { status, headers, body }
  } catch (error) {
    // Only what surely never left may be called a failure; everything else may have been done by the leader before it fell silent.
    if (!isHoldfastError(error, 'ERR_UPSTREAM')) throw error
    const neverSent = (error.data as { sent?: boolean } | undefined)?.sent === false
    if (neverSent)
      throw new HoldfastError('ERR_NO_LEADER', 'the leader could not be reached', { cause: error, hint: 'retry: nothing was done' })
    throw new HoldfastError('ERR_OUTCOME_UNKNOWN', 'the leader did not answer: the request may or may not have been carried out', {
      cause: error,
      hint: 'read the value back before you repeat a write that must happen once',
    })
  }
}
