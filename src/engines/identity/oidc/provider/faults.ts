/** Answers of the OpenID provider as OAuth says them (RFC 6749, 4.1.2.1 and 5.2): `error` and `error_description`, bare, never kept by anything between. */
import type { HandlerContext, LogicalResponse } from '#core/types.ts'
import { HoldfastError } from '#base/errors.ts'

/** Those of the specifications, and three that user interfaces of the field tell apart. */
type FaultCode =
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'invalid_scope'
  | 'invalid_token'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'unsupported_response_type'
  | 'request_not_supported'
  | 'request_uri_not_supported'
  | 'access_denied'
  | 'temporarily_unavailable'
  | 'invalid_client_id'
  | 'invalid_redirect_uri'
  | 'max_age_violation'

/** Ends a handler with such an answer. What it has written is kept: a code that was shown is spent, whatever else was wrong. */
export class Fault extends Error {
  readonly code: FaultCode
  /** For 401: how to come again. */
  readonly challenge: string | null
  constructor(code: FaultCode, description: string, challenge: string | null = null) {
    super(description)
    this.code = code
    this.challenge = challenge
  }
}

const unkept = { 'cache-control': 'no-store', pragma: 'no-cache' }

export const told = (body: Readonly<Record<string, unknown>>): LogicalResponse => ({ bareBody: body, headers: unkept })

/** `handler`, its faults answered; those of the house (an unreadable field, a disabled caller) go the house's way. */
export const faultsAnswered =
  (handler: (context: HandlerContext) => Promise<LogicalResponse>) =>
  async (context: HandlerContext): Promise<LogicalResponse> => {
    try {
      return await handler(context)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      const { code, message, challenge } = error
      return {
        status: challenge === null ? 400 : 401,
        bareBody: { error: code, error_description: message },
        headers: challenge === null ? unkept : { ...unkept, 'www-authenticate': challenge },
      }
    }
  }

/** What `work` refuses as the house does is a fault of `code`. */
export async function asFault<T>(code: FaultCode, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'ERR_BAD_REQUEST') throw new Fault(code, error.message)
    throw error
  }
}
