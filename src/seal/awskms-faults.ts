/** What the AWS client throws, as a fault. Only names and codes are kept: its sentences hold account numbers and names of principals. */
import { SealFault, type SealFaultKind } from './faults.ts'

const kinds: Readonly<Record<string, SealFaultKind>> = {
  CredentialsProviderError: 'credentials',
  TokenProviderError: 'credentials',
  UnrecognizedClientException: 'credentials',
  InvalidClientTokenId: 'credentials',
  InvalidSignatureException: 'credentials',
  SignatureDoesNotMatch: 'credentials',
  IncompleteSignature: 'credentials',
  MissingAuthenticationToken: 'credentials',
  ExpiredTokenException: 'credentials',
  ExpiredToken: 'credentials',
  AccessDeniedException: 'credentials',
  AccessDenied: 'credentials',
  OptInRequired: 'credentials',
  ThrottlingException: 'throttled',
  Throttling: 'throttled',
  TooManyRequestsException: 'throttled',
  RequestLimitExceeded: 'throttled',
  LimitExceededException: 'throttled',
  NotFoundException: 'key',
  IncorrectKeyException: 'key',
  InvalidCiphertextException: 'key',
  DisabledException: 'key',
  InvalidKeyUsageException: 'key',
  KMSInvalidStateException: 'key',
  InvalidArnException: 'key',
  TimeoutError: 'timeout',
  AbortError: 'timeout',
  KMSInternalException: 'network',
  DependencyTimeoutException: 'network',
  KeyUnavailableException: 'network',
}

const words: Readonly<Record<SealFaultKind, string>> = {
  credentials: 'credentials that may use the key',
  throttled: 'fewer calls or a higher quota',
  key: 'the enabled key that wrapped it',
  timeout: 'an answer in time',
  network: 'an answer',
  missing: 'a part that is installed',
  other: 'success',
}

const hints: Partial<Readonly<Record<SealFaultKind, string>>> = {
  credentials: 'kms:Encrypt and kms:Decrypt for the key, from environment, profile, web identity, container or instance role',
  key: 'is kms_key_id the key, alias or ARN of this cluster, enabled, symmetric, and in this region?',
  network: 'is KMS reached from here: endpoint, region, DNS, proxy, firewall?',
  timeout: 'is KMS reached from here: endpoint, region, DNS, proxy, firewall?',
}

/** The fault that `error`, thrown by the AWS client when it asked KMS in `region`, stands for. */
export function awsFault(error: unknown, region: string): SealFault {
  if (error instanceof SealFault) return error
  const name = error instanceof Error ? error.name : 'unknown'
  const code = codeOf(error)
  const status = statusOf(error)
  const fault = code === null ? (kinds[name] ?? kindOf(status)) : /TIMEDOUT|TIMEOUT/.test(code) ? 'timeout' : 'network'
  const hint = hints[fault]
  const got = code ?? (status > 0 && kinds[name] === undefined ? `status ${status}` : /^[A-Za-z]{1,64}$/.test(name) ? name : 'an error')
  return new SealFault(fault, `seal awskms expected ${words[fault]} from KMS in ${region}, got ${got}`, hint === undefined ? {} : { hint })
}

/** For an answer that names no error: a proxy's page, say. */
function kindOf(status: number): SealFaultKind {
  if (status === 401 || status === 403) return 'credentials'
  if (status === 429) return 'throttled'
  return status >= 500 ? 'network' : 'other'
}

/** ECONNREFUSED and its like, however deep. */
function codeOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null
  const { code } = error as NodeJS.ErrnoException
  if (typeof code === 'string' && /^(?:E[A-Z]{2,}|[A-Z]+(?:_[A-Z]+)+)$/.test(code)) return code
  if (error instanceof AggregateError) for (const inner of error.errors) if (codeOf(inner) !== null) return codeOf(inner)
  return codeOf(error.cause)
}

function statusOf(error: unknown): number {
  const { $response, $metadata } = (error ?? {}) as { $response?: { statusCode?: unknown }; $metadata?: { httpStatusCode?: unknown } }
  const status = $response?.statusCode ?? $metadata?.httpStatusCode
  return typeof status === 'number' ? status : 0
}
