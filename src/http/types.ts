import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { Tracer } from '#base/tracing.ts'
import type { HttpSettings } from '#core/cors.ts'
import type { RequestBounds } from '#core/quota-gate.ts'
import type { CoreResponse, OpenRoutes, Request } from '#core/types.ts'
import type { InFlightRegistry } from './in-flight.ts'
import type { RequestMetrics } from './request-metrics.ts'
import type { HttpLimits } from './limits.ts'

/** What HTTP needs of the core. */
export interface HttpCore {
  /** Asked before the body is read: the refusal of a request that comes too often; null or absent: `handle` is asked. */
  admit?(request: Request): Promise<CoreResponse> | null
  /** What this request may be, where less than the listener allows. */
  readonly quotas?: { bounds(request: Request): RequestBounds | null } | null
  /** Answers one request. Should not throw; what it throws is answered as an error all the same. */
  handle(request: Request): Promise<CoreResponse>
  /** For a path whose body is not JSON: how large it may be. null or absent: JSON or form, under the listener's limit. */
  rawBody?(method: string, path: string, contentType: string): { readonly bytesMax: number } | null
  /** For a path whose body the core reads as it arrives (`request.upload`), of any type: how large it may be. null or absent: it is read whole first. */
  uploadBytesMax?(path: string): number | null
}

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3'

/** PEM files, read at `listen` and again at `reloadTls`. */
export interface TlsOptions {
  readonly certFile: string
  readonly keyFile: string
  /** Authorities for client certificates. */
  readonly clientCaFile?: string
  readonly minVersion?: TlsVersion
  readonly maxVersion?: TlsVersion
  /** OpenSSL names, for TLS 1.2 only. */
  readonly cipherSuites?: readonly string[]
  /** Default true: ask, take what comes, verify nothing (the cert login method verifies). */
  readonly requestClientCert?: boolean
  /** Refuse the handshake without a certificate of `clientCaFile`. */
  readonly requireClientCert?: boolean
}

export type ProxyProtocolBehavior = 'off' | 'use_always' | 'allow_authorized' | 'deny_unauthorized'

export interface ProxyOptions {
  /** CIDRs or addresses whose X-Forwarded-For is believed. */
  readonly forwardedForFrom: readonly string[]
  /** Addresses to skip from the end of X-Forwarded-For before looking. Default 0. */
  readonly forwardedForHopSkips?: number
  /** 400 for a request from a trusted proxy without the header. Default false. */
  readonly rejectForwardedForAbsent?: boolean
  /** 400 for a request with the header from anyone else. Default false: the header is ignored. */
  readonly rejectForwardedForUnauthorized?: boolean
  /** Header in which those of `forwardedForFrom` tell the client's certificate. Default: none does. */
  readonly clientCertificateHeader?: string
  readonly proxyProtocol?: ProxyProtocolBehavior
  /** CIDRs or addresses whose PROXY header is believed. */
  readonly proxyProtocolFrom?: readonly string[]
}

export interface HttpListenerOptions {
  readonly core: HttpCore
  /** Host without brackets; '' or absent: every interface. */
  readonly host?: string
  /** 0: a free one, told by `address` after `listen`. */
  readonly port: number
  readonly tls?: TlsOptions
  readonly proxies?: ProxyOptions
  readonly limits?: Partial<HttpLimits>
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  /** Shared between listeners where the node has several. */
  readonly inFlight?: InFlightRegistry
  /** Sent with every answer (X-Vault-Hostname ...). */
  readonly responseHeaders?: Readonly<Record<string, string>>
  /** Routes that need no token where they come in here. Default: none. */
  readonly openRoutes?: readonly OpenRoutes[]
  /** What the API has set for every listener of the cluster. Absent: no cross-origin rules. */
  readonly settings?: Pick<HttpSettings, 'cors'>
  /** Where answers are counted. Shared between listeners where the node has several. Absent: nowhere. */
  readonly metrics?: RequestMetrics
  /** Absent: no request is traced. */
  readonly tracer?: Tracer
  /** Several processes or threads on one port. */
  readonly reusePort?: boolean
}

export interface HttpListener {
  /** Binds the port. @throws HoldfastError ERR_CONFIG: taken, not allowed, or unreadable certificates. */
  listen(): Promise<void>
  /** Where it listens; null before `listen`. */
  readonly address: { readonly host: string; readonly port: number } | null
  /** Answers of requests that come from now on carry `Connection: close`; new connections are still accepted. */
  drain(): void
  /** Accepts nothing more, lets requests in flight finish for at most `graceMs`, then cuts. Resolves when all connections are gone. */
  close(graceMs: number): Promise<void>
  /** Reads the certificates again; kept connections keep the old one. @throws ERR_CONFIG, and the old ones stay in use. */
  reloadTls(): void
  readonly inFlight: InFlightRegistry
  readonly connections: number
}
