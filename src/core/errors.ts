/** From any thrown value to the answer that a client gets: `{"errors":[...]}` with the code's status. */
import { isHoldfastError, type HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { CoreResponse } from './types.ts'

export const jsonHeaders: Readonly<Record<string, string>> = Object.freeze({ 'content-type': 'application/json' })

/** Headers of an error answer. */
export const errorHeaders = ({ retryAfterSeconds }: HoldfastError): Readonly<Record<string, string>> =>
  retryAfterSeconds === undefined ? jsonHeaders : { ...jsonHeaders, 'retry-after': String(Math.max(1, Math.ceil(retryAfterSeconds))) }

/** Body of an error answer. `hint` and `code` are ours, and stand there only when there is a hint to give. */
export function errorBody(error: HoldfastError): Record<string, unknown> {
  const body: Record<string, unknown> = { errors: error.errors }
  if (error.data !== undefined) body.data = error.data
  if (error.hint !== undefined) {
    body.hint = error.hint
    body.code = error.code
  }
  return body
}

/**
 * Never throws. What is not a HoldfastError is a bug: logged with its stack under the request's id, and answered
 * as "internal error" only, since its message could carry anything.
 */
export function errorResponse(error: unknown, requestId: string, log: Logger): CoreResponse {
  if (isHoldfastError(error)) {
    return { status: error.status, headers: errorHeaders(error), body: Buffer.from(`${JSON.stringify(errorBody(error))}\n`) }
  }
  log.error({ request_id: requestId, ...describe(error) }, 'a request failed in a way that no error code names')
  return { status: 500, headers: jsonHeaders, body: Buffer.from('{"errors":["internal error"]}\n') }
}

/** Name and stack frames only: an unexpected error's message may quote what it failed on. */
function describe(error: unknown): object {
  if (!(error instanceof Error)) return { thrown: typeof error }
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
  return { error_name: error.name, stack: frames.slice(0, 12) }
}

/** The text of an error for the audit record. */
export function errorText(error: unknown): string {
  return isHoldfastError(error) ? (error.errors[0] ?? error.message) : 'internal error'
}
