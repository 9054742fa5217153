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
  const { audit_non_hmac_request_keys: request = noKeys, audit_non_hmac_response_keys: response = noKeys } = mount?.config ?? {}
  if (request.length === 0 && response.length === 0) return nothingShown
  const isSensitive = (key: string): boolean => def !== null && Object.hasOwn(def.fields, key) && def.fields[key]!.sensitive === true
  return { request: request.filter((key) => !isSensitive(key)), response }
}

const noKeys: readonly string[] = []
const nothingShown: NonHmacKeys = { request: noKeys, response: noKeys }

export function requestRecord(facts: AuditFacts, error: unknown): AuditRecord {
  return recordOf('request', facts, undefined, textOf(error))
}

export function responseRecord(facts: AuditFacts, status: number, response: LogicalResponse | null, error: unknown): AuditRecord {
  return recordOf('response', facts, responseOf(facts, status, response), textOf(error))
}

/** Every record has all fields, absent or not: one shape of objects, and nothing copied, since these are made for every request. */
function recordOf(
  type: AuditRecord['type'],
  facts: AuditFacts,
  response: AuditResponse | undefined,
  error: string | undefined,
): AuditRecord {
  const { auth, request } = told(facts)
  return { type, time: timeText(facts.nowMs), auth, request, response, error }
}

const textOf = (error: unknown): string | undefined => (error === null ? undefined : errorText(error))

let lastTime = { ms: Number.NaN, text: '' }

/** Requests come in crowds: most records have the millisecond of the one before. */
function timeText(ms: number): string {
  if (lastTime.ms !== ms) lastTime = { ms, text: new Date(ms).toISOString() }
  return lastTime.text
}

/** The response of a repetition: what the first one's answer says, and whose answer it is. */
export function replayRecord(facts: AuditFacts, firstId: string, { status, body }: CoreResponse): AuditRecord {
  const answered = parseAnswer(body)
  const [error] = Array.isArray(answered.errors) ? (answered.errors as readonly unknown[]) : []
  const { auth, data, wrap_info: wrapInfo } = answered
  const response: AuditResponse = {
    status,
    ...mountFacts(facts.mount),
    auth: auth || undefined,
    data: data || undefined,
    warnings: undefined,
    wrap_info: wrapInfo || undefined,
    replay_of: firstId,
  }
  return recordOf('response', facts, response, typeof error === 'string' ? error : undefined)
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
    time: timeText(facts.nowMs),
    auth: null,
    // No data: the leader records the request in full, under the same id.
    request: { ...requestOf({ ...facts, mount: null }, false), forwarded_to: leader ?? undefined },
    response: status === null ? undefined : { status },
    error: textOf(error),
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
    client_token: request.token ?? undefined,
    accessor: token.accessor,
    display_name: token.displayName,
    policies: token.policies,
    token_policies: token.policies,
    metadata: token.meta,
    entity_id: token.entityId,
    token_type: token.type,
    token_ttl: ttl,
  }
  knownAuths.set(token, { clientToken: request.token, auth })
  return auth
}

function requestOf({ request, operation, namespace, mount, token }: AuditFacts, withData = true): AuditRequest {
  const { mount_type, mount_accessor, mount_point } = mountFacts(mount)
  return {
    id: request.id,
    operation,
    mount_type,
    mount_accessor,
    mount_point,
    client_token: request.token ?? undefined,
    client_token_accessor: token?.accessor,
    namespace: namespaceFacts(request, namespace),
    path: request.path,
    data: withData && hasKeys(request.body) ? request.body : undefined,
    query: withData && hasKeys(request.query) ? request.query : undefined,
    headers: withData && hasKeys(request.headers) ? request.headers : undefined,
    remote_address: request.clientAddress,
    remote_port: request.clientPort,
    wrap_ttl: request.wrapTtlSeconds > 0 ? request.wrapTtlSeconds : undefined,
    forwarded_from: request.forwardedFrom,
    retry_id: request.retryId,
    forwarded_to: undefined,
    written: new Map(),
  }
}

function responseOf({ mount }: AuditFacts, status: number, response: LogicalResponse | null): AuditResponse {
  const { mount_type, mount_accessor, mount_point } = mountFacts(mount)
  return {
    status,
    mount_type,
    mount_accessor,
    mount_point,
    auth: response?.auth || undefined,
    data: response?.data || undefined,
    warnings: response?.warnings?.length ? response.warnings : undefined,
    wrap_info: response?.wrapInfo || undefined,
    replay_of: undefined,
  }
}

type MountFacts = Pick<AuditResponse, 'mount_type' | 'mount_accessor' | 'mount_point'>

const noMount: MountFacts = {}
const knownMounts = new WeakMap<MountEntry, MountFacts>()

function mountFacts(mount: MountEntry | null): MountFacts {
  if (mount === null) return noMount
  const known = knownMounts.get(mount)
  if (known !== undefined) return known
  const facts: MountFacts = { mount_type: mount.type, mount_accessor: mount.accessor, mount_point: fullPath(mount) }
  knownMounts.set(mount, facts)
  return facts
}

type NamespaceFacts = AuditRequest['namespace']

const inRoot: NamespaceFacts = { id: rootNamespace.id }
const knownNamespaces = new WeakMap<Namespace, NamespaceFacts>()

function namespaceFacts({ namespace: asked }: Request, found: Namespace | null): NamespaceFacts {
  if (found === rootNamespace || (found === null && asked === '')) return inRoot
  if (found === null) return { path: asked }
  let facts = knownNamespaces.get(found)
  if (facts === undefined) knownNamespaces.set(found, (facts = { id: found.id, path: found.path }))
  return facts
}

function hasKeys(value: object): boolean {
  for (const _ in value) return true
  return false
}
