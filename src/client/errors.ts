/** What a call can end in besides an answer. No message carries a token, a body or a key: methods, addresses, statuses and the server's own words. */
import { HoldfastError } from '#base/errors.ts'

export interface Failure {
  readonly method: string
  /** The whole URL that was asked, without query. */
  readonly url: string
}

/** The server answered, and refused. `status` is the answer's, `errors` are its words. */
export class ApiError extends HoldfastError implements Failure {
  readonly method: string
  readonly url: string
  readonly #status: number
  constructor(failure: Failure, status: number, errors: readonly string[], hint: string | undefined, data: unknown) {
    const words = errors.map((error) => error.trim()).join('; ')
    super('ERR_UPSTREAM', `${failure.method} ${failure.url} answered ${status}${words === '' ? '' : `: ${words}`}`, {
      errors,
      data,
      ...(hint === undefined ? {} : { hint }),
    })
    this.name = 'ApiError'
    this.method = failure.method
    this.url = failure.url
    this.#status = status
  }
  override get status(): number {
    return this.#status
  }
}

/** No server answered. `mayHaveRun`: the request had been sent, so a write may or may not have happened. */
export class UnreachableError extends HoldfastError implements Failure {
  readonly method: string
  readonly url: string
  readonly mayHaveRun: boolean
  constructor(failure: Failure, reason: string, mayHaveRun: boolean, cause: unknown) {
    super('ERR_UPSTREAM', `${failure.method} ${failure.url}: ${reason}`, {
      cause,
      hint: mayHaveRun ? 'the request was sent and its outcome is not known: read before you repeat it' : hintFor(reason),
    })
    this.name = 'UnreachableError'
    this.method = failure.method
    this.url = failure.url
    this.mayHaveRun = mayHaveRun
  }
}

function hintFor(reason: string): string {
  if (/wrong version number|http response|packet length/i.test(reason))
    return 'the server speaks plain HTTP there: try an address that begins with http://'
  if (/certificate|self.signed|issuer/i.test(reason)) return "give the certificate authority's file: -ca-cert or HOLDFAST_CACERT"
  if (/other side closed|ECONNRESET|socket hang up|Parse Error/i.test(reason))
    return 'if the server speaks TLS there, the address must begin with https://'
  return 'is the server running there, and is the address right? (-address or HOLDFAST_ADDR, several separated by commas)'
}
