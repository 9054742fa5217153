/** The audit records of one request, in the field's own names. Hashing and chaining are the broker's. */
import type { AuditAuth, AuditRecord, AuditRequest, AuditResponse, NonHmacKeys } from '#audit/types.ts'
import { parseOwnJson } from '#base/exact-json.ts'
import { rootNamespace, type Namespace } from '#namespaces/record.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { errorText } from './errors.ts'
import type { CoreResponse, LogicalResponse, MountEntry, Operation, PathDef, Request } from './types.ts'
import { fullPath } from './mounts.ts'

/** What is known of a request by the time a record is written. */
export interface AuditFacts {
  readonly request: Request
  readonly operation: Operation
  /** null: it was not looked for (the leader does), or not found out before the request failed. */
  readonly namespace: Namespace | null
  readonly mount: MountEntry | null
  readonly token: TokenEntry | null
  readonly nowMs: number
  /** Of this request: what its records say alike is made once, and a device that has written it once remembers its text. */
  readonly told: Told
}

/** What a request's last record said of it. */
export interface Told {
  facts: AuditFacts | null
  auth: AuditAuth | null
  request: AuditRequest | null
}

export const newTold = (): Told => ({ facts: null, auth: null, request: null })

/** What the mount's tuning lets through, but for what the path's table calls sensitive: no tuning shows that. */
export function nonHmacKeys(mount: MountEntry | null, def: PathDef | null): NonHmacKeys {
  const request = mount?.config.audit_non_hmac_request_keys ?? noKeys
  const isSensitive = (key: string): boolean => def !== null && Object.hasOwn(def.fields, key) && def.fields[key]!.sensitive === true
  return {
    request: request.length === 0 ? request : request.filter((key) => !isSensitive(key)),
    response: mount?.config.audit_non_hmac_response_keys ?? noKeys,
  }
}

const noKeys: readonly string[] = []

export function requestRecord(facts: AuditFacts, error: unknown): AuditRecord {
  return {
    type: 'request',
    time: new Date(facts.nowMs).toISOString(),
    ...told(facts),
    ...(error === null ? {} : { error: errorText(error) }),
  }
}

export function responseRecord(facts: AuditFacts, status: number, response: LogicalResponse | null, error: unknown): AuditRecord {
  return {
    type: 'response',
    time: new Date(facts.nowMs).toISOString(),
    ...told(facts),
    response: responseOf(facts, status, response),
    ...(error === null ? {} : { error: errorText(error) }),
  }
}

/** The response of a repetition: what the first one's answer says, and whose answer it is. */
export function replayRecord(facts: AuditFacts, firstId: string, { status, body }: CoreResponse): AuditRecord {
  const answered = parseAnswer(body)
  const [error] = Array.isArray(answered.errors) ? (answered.errors as readonly unknown[]) : []
  return {
    type: 'response',
    time: new Date(facts.nowMs).toISOString(),
    ...told(facts),
    response: {
      status,
      ...mountFacts(facts.mount),
      ...(answered.auth ? { auth: answered.auth } : {}),
      ...(answered.data ? { data: answered.data } : {}),
      ...(answered.wrap_info ? { wrap_info: answered.wrap_info } : {}),
      replay_of: firstId,
    },
    ...(typeof error === 'string' ? { error } : {}),
  }
}

/** What a raw answer of an engine may be: then the record has its status only. */
function parseAnswer(body: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const answered = parseOwnJson(Buffer.from(body).toString()) as unknown
    return typeof answered === 'object' && answered !== null ? (answered as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {}
  }
}

/** A follower's one record of a request that it sent to the leader and of what came back. */
export function forwardRecord(facts: AuditFacts, leader: string | null, status: number | null, error: unknown): AuditRecord {
  return {
    type: 'forward',
    time: new Date(facts.nowMs).toISOString(),
    auth: null,
    // No data: the leader records the request in full, under the same id.
    request: { ...requestOf({ ...facts, mount: null }, false), ...(leader === null ? {} : { forwarded_to: leader }) },
    ...(status === null ? {} : { response: { status } }),
    ...(error === null ? {} : { error: errorText(error) }),
  }
}

/** As the record before said it, where nothing of that is another now. */
function told(facts: AuditFacts): { auth: AuditAuth | null; request: AuditRequest } {
  const before = facts.told
  const { request, auth } = before
  if (request !== null && before.facts !== null && isAlike(before.facts, facts)) return { auth, request }
  before.facts = facts
  before.auth = authOf(facts)
  before.request = requestOf(facts)
  return { auth: before.auth, request: before.request }
}

const isAlike = (a: AuditFacts, b: AuditFacts): boolean =>
  a.request === b.request && a.operation === b.operation && a.namespace === b.namespace && a.mount === b.mount && a.token === b.token

interface KnownAuth {
  readonly clientToken: string | null
  readonly auth: AuditAuth
}

/** By the token's entry as it is cached: requests of one token come in crowds, and tell the same of it for a second. */
const knownAuths = new WeakMap<TokenEntry, KnownAuth>()

function authOf({ token, request, nowMs }: AuditFacts): AuditAuth | null {
  if (!token) return request.token === null ? null : { client_token: request.token }
  const ttl = token.expireTimeMs === null ? undefined : Math.max(0, Math.ceil((token.expireTimeMs - nowMs) / 1_000))
  const known = knownAuths.get(token)
  if (known !== undefined && known.clientToken === request.token && known.auth.token_ttl === ttl) return known.auth
  const auth: AuditAuth = {
    ...(request.token === null ? {} : { client_token: request.token }),
    accessor: token.accessor,
    display_name: token.displayName,
    policies: token.policies,
    token_policies: token.policies,
    metadata: token.meta,
    entity_id: token.entityId,
    token_type: token.type,
    ...(ttl === undefined ? {} : { token_ttl: ttl }),
  }
  knownAuths.set(token, { clientToken: request.token, auth })
  return auth
}

function requestOf({ request, operation, namespace, mount, token }: AuditFacts, withData = true): AuditRequest {
  return {
    id: request.id,
    operation,
    ...mountFacts(mount),
    ...(request.token === null ? {} : { client_token: request.token }),
    ...(token ? { client_token_accessor: token.accessor } : {}),
    namespace: namespaceFacts(request, namespace),
    path: request.path,
    ...(withData && hasKeys(request.body) ? { data: request.body } : {}),
    ...(withData && hasKeys(request.query) ? { query: request.query } : {}),
    ...(withData && hasKeys(request.headers) ? { headers: request.headers } : {}),
    remote_address: request.clientAddress,
    ...(request.clientPort === undefined ? {} : { remote_port: request.clientPort }),
    ...(request.wrapTtlSeconds > 0 ? { wrap_ttl: request.wrapTtlSeconds } : {}),
    ...(request.forwardedFrom === undefined ? {} : { forwarded_from: request.forwardedFrom }),
    ...(request.retryId === undefined ? {} : { retry_id: request.retryId }),
  }
}

function responseOf({ mount }: AuditFacts, status: number, response: LogicalResponse | null): AuditResponse {
  return {
    status,
    ...mountFacts(mount),
    ...(response?.auth ? { auth: response.auth } : {}),
    ...(response?.data ? { data: response.data } : {}),
    ...(response?.warnings?.length ? { warnings: response.warnings } : {}),
    ...(response?.wrapInfo ? { wrap_info: response.wrapInfo } : {}),
  }
}

const mountFacts = (mount: MountEntry | null): object =>
  mount ? { mount_type: mount.type, mount_accessor: mount.accessor, mount_point: fullPath(mount) } : {}

function namespaceFacts({ namespace: asked }: Request, found: Namespace | null): AuditRequest['namespace'] {
  if (found !== null) return found === rootNamespace ? { id: found.id } : { id: found.id, path: found.path }
  return asked === '' ? { id: rootNamespace.id } : { path: asked }
}

function hasKeys(value: object): boolean {
  for (const _ in value) return true
  return false
}
