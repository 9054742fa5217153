/**
 * The `/v1` success envelope: fixed key order, absent parts null or empty but never left out. Written by hand around
 * JSON.stringify of the parts, since most answers differ in `data` only.
 */
import { jsonHeaders } from './errors.ts'
import type { CoreResponse, LogicalResponse, Operation, PathDef } from './types.ts'

const empty = new Uint8Array(0)
const writing: ReadonlySet<Operation> = new Set<Operation>(['create', 'update', 'patch', 'delete'])

/**
 * `response` null: 204 on a write, else 404 with no errors. An empty list is 404 too, as the peers answer it (a scan is not).
 * Warnings turn a 204 into a 200.
 */
export function renderResponse(requestId: string, operation: Operation, def: PathDef, response: LogicalResponse | null): CoreResponse {
  if (response === null) return writing.has(operation) ? noContent : notFound
  if (response.raw) {
    return {
      status: response.status ?? 200,
      headers: { 'content-type': response.raw.contentType, ...response.headers },
      body: response.raw.body,
      ...(response.raw.stream === undefined ? {} : { stream: response.raw.stream }),
    }
  }
  // Clients look for help at the top: within an envelope their path-help prints nothing.
  if (def.bare || operation === 'help') return renderBare(response)
  if (operation === 'list' && isEmptyList(response)) return notFound
  // A wrapped answer names nothing of the request but its wrapping.
  const text = envelopeText(response.wrapInfo ? '' : requestId, response, def.injected === true)
  return { status: response.status ?? 200, headers: headersOf(response), body: Buffer.from(text) }
}

const noContent: CoreResponse = Object.freeze({ status: 204, headers: Object.freeze({}), body: empty })
const notFound: CoreResponse = Object.freeze({ status: 404, headers: jsonHeaders, body: Buffer.from('{"errors":[]}\n') })

const headersOf = (response: LogicalResponse): Readonly<Record<string, string>> =>
  response.headers ? { ...jsonHeaders, ...response.headers } : jsonHeaders

function renderBare(response: LogicalResponse): CoreResponse {
  const body = response.bareBody ?? response.data
  if (body === undefined || body === null) return { ...noContent, status: response.status ?? 204 }
  return { status: response.status ?? 200, headers: headersOf(response), body: Buffer.from(`${JSON.stringify(body)}\n`) }
}

function isEmptyList(response: LogicalResponse): boolean {
  if (response.status !== undefined) return false
  const data = response.data
  if (data === undefined || data === null) return !response.warnings?.length
  const keys = data.keys
  return Array.isArray(keys) && keys.length === 0
}

/** The envelope as JSON text, with a newline at its end. Shared with wrapping, which stores it. */
export function envelopeText(requestId: string, response: LogicalResponse, injected: boolean): string {
  const data = response.data ?? null
  const dataText = data === null ? 'null' : JSON.stringify(data)
  const text =
    `{"request_id":${JSON.stringify(requestId)},"lease_id":${JSON.stringify(response.leaseId ?? '')},"renewable":${response.renewable ?? false},` +
    `"lease_duration":${response.leaseSeconds ?? 0},"data":${dataText},"wrap_info":${response.wrapInfo ? JSON.stringify(response.wrapInfo) : 'null'},` +
    `"warnings":${response.warnings?.length ? JSON.stringify(response.warnings) : 'null'},"auth":${response.auth ? JSON.stringify(response.auth) : 'null'}`
  return injected && data !== null ? `${text}${injectedText(data)}}\n` : `${text}}\n`
}

const envelopeKeys = new Set(['request_id', 'lease_id', 'renewable', 'lease_duration', 'data', 'wrap_info', 'warnings', 'auth'])

/** `data`'s keys once more at the top level, where they do not hide the envelope's own. */
function injectedText(data: Readonly<Record<string, unknown>>): string {
  let text = ''
  for (const key of Object.keys(data)) {
    const value = envelopeKeys.has(key) ? undefined : JSON.stringify(data[key])
    if (value !== undefined) text += `,${JSON.stringify(key)}:${value}`
  }
  return text
}
