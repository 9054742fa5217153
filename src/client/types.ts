/** The `/v1` envelope as clients see it. */
export interface Secret {
  readonly request_id?: string
  readonly lease_id?: string
  readonly renewable?: boolean
  readonly lease_duration?: number
  readonly data?: Readonly<Record<string, unknown>> | null
  readonly warnings?: readonly string[] | null
  readonly wrap_info?: Readonly<Record<string, unknown>> | null
  readonly auth?: Readonly<Record<string, unknown>> | null
  /** Bare answers (sys/init, sys/seal-status ...) have keys of their own. */
  readonly [key: string]: unknown
}

export interface TlsOptions {
  /** PEM of the authorities to trust instead of the system's. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly serverName?: string
  /** Accepts any certificate: whoever sits on the wire then reads the token. */
  readonly skipVerify?: boolean
}

export interface ClientOptions {
  /** URLs, tried in turn; at least one. */
  readonly addresses: readonly string[]
  /** A function is asked before each call: so a token that was renewed or replaced is used from then on. */
  readonly token?: string | (() => string | undefined)
  readonly namespace?: string
  /** Ask for the answers wrapped, for so long ('60s'). */
  readonly wrapTtl?: string
  /** Sent with every call; those of the client itself go before them. */
  readonly headers?: Readonly<Record<string, string>>
  readonly tls?: TlsOptions
  /** Over all attempts of one call. Default 60 s. */
  readonly timeoutMs?: number
  /** Rounds over all addresses after the first, default 5; 0: none. */
  readonly retriesMax?: number
  /**
   * Numbers of answers that no double holds keep their digits: as objects that JSON.stringify writes out again (#base/exact-json.ts). For programs that hand answers on,
   * or write back what they read. Needs Node 22. Default false.
   */
  readonly exactNumbers?: boolean
}

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

export interface Call {
  readonly method: Method
  /** Below `/v1/`; leading slashes are taken off. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** Overrides the client's; null: none. */
  readonly token?: string | null
  /** Overrides the client's; '': not wrapped. */
  readonly wrapTtl?: string
  /** False: one attempt at one address, whatever it answers (sys/health, whose statuses mean something else). */
  readonly retry?: boolean
  /** Repeating it does no harm: a write that the caller knows to be so. GET and HEAD always are. */
  readonly idempotent?: boolean
  /**
   * Under this id the cluster applies the write once, however often it is sent (docs/retries.md). Default: a fresh one for each call; '': none,
   * for a server that is no Holdfast: then a write that was sent and got no answer is not sent again.
   */
  readonly requestId?: string
  readonly signal?: AbortSignal
}

/** An answer of any status. */
export interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  /** The body when it is a JSON object, else null. */
  readonly json: Secret | null
  /** Which of the addresses answered. */
  readonly address: string
  /** Of a streamed answer of status 200, unread; then `text` is empty. */
  readonly body?: AsyncIterable<Uint8Array>
}

/** A streamed answer. */
export interface Download {
  readonly headers: Readonly<Record<string, string>>
  /** Read once, to its end or not. @throws UnreachableError when it breaks off, or nothing more comes. */
  readonly body: AsyncIterable<Uint8Array>
  readonly address: string
}
