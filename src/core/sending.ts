/** How the sendings of one request to the leader ended, and what its client may be told of it. */
import { isHoldfastError } from '#base/errors.ts'
import type { CoreResponse, Request } from './types.ts'

/** One sending: an answer, or why there is none. */
export interface Sending {
  readonly answer: CoreResponse | null
  readonly failure: unknown
}

/** A request's way to whoever leads. */
export interface Journey {
  readonly startedMs: number
  /** The last sending after which it may have been carried out: what its client is told unless a leader knows better. */
  lost: Sending | null
}

/** Notes that `sending` may have been carried out, or may be yet: what comes after it is a repetition. */
export function lose(request: Request, journey: Journey, sending: Sending): void {
  journey.lost = sending
  request.repeated = true
  request.undone = false
}

/** Notes that nothing was done of what was sent last. What an earlier one did stays unknown. */
export function undo(request: Request, journey: Journey): void {
  if (journey.lost === null) request.undone = true
}

/** 'undone': there was no leader, so surely nothing was done; 'unknown': it may have been; 'answered': by the leader, or refused for good. */
export function fateOf({ answer, failure }: Sending): 'answered' | 'undone' | 'unknown' {
  const code = isHoldfastError(failure) ? failure.code : answer === null ? null : codeOf(answer)
  if (code === 'ERR_OUTCOME_UNKNOWN') return 'unknown'
  return code === 'ERR_NO_LEADER' || (code === 'ERR_NOT_LEADER' && failure === null) ? 'undone' : 'answered'
}

/** A refusal by whoever was asked says nothing of an earlier sending. */
export const refused = ({ answer, failure }: Sending): boolean => failure !== null || answer?.status === 503

/** The code of an answer that nobody was there to give, or to give in time. */
function codeOf({ status, body }: CoreResponse): unknown {
  if (status !== 503 && status !== 500) return null
  try {
    return (JSON.parse(Buffer.from(body).toString()) as { code?: unknown }).code
  } catch {
    return null
  }
}
