/** The request target: from the raw bytes of the request line to a checked path and its query. */
import { HoldfastError } from '#base/errors.ts'
import { limits } from '#base/limits.ts'
import { bareRecord } from './bare-record.ts'
import { queryParametersMax } from './limits.ts'

export interface Target {
  /** Percent-decoded, without a leading slash; one trailing slash is kept for the caller to judge. */
  readonly path: string
  /** Null prototype; the first of repeated names wins. */
  readonly query: Readonly<Record<string, string>>
}

/** Unreserved characters only, no empty segment, no segment that begins with a dot: most paths end here. */
const plainPath = /^(?:[\w~-][\w.~-]*\/)*(?:[\w~-][\w.~-]*)?$/
// oxlint-disable-next-line no-control-regex -- refusing control characters is the point
const control = /[\u0000-\u001f\u007f-\u009f]/
const emptyQuery: Readonly<Record<string, string>> = Object.freeze(bareRecord())

function refuse(expected: string, got: string, code: 'ERR_BAD_REQUEST' | 'ERR_RELATIVE_PATH' = 'ERR_BAD_REQUEST'): never {
  throw new HoldfastError(code, `path expected ${expected}, got ${got}`)
}

/**
 * Path and query of a request target below `/v1/`; null when it lies elsewhere.
 * @throws HoldfastError ERR_BAD_REQUEST or ERR_RELATIVE_PATH: bad escapes, control characters, empty, '.' or '..' segments, too long.
 */
export function parseTarget(target: string): Target | null {
  const origin = originForm(target)
  const mark = origin.indexOf('?')
  const raw = mark < 0 ? origin : origin.slice(0, mark)
  if (!raw.startsWith('/v1/')) return null
  const path = checkPath(raw.slice(4))
  return { path, query: mark < 0 || mark === origin.length - 1 ? emptyQuery : parseQuery(origin.slice(mark + 1)) }
}

/** Proxies may send `GET http://host/v1/...`. */
function originForm(target: string): string {
  if (target.startsWith('/')) return target
  const absolute = /^https?:\/\/[^/?#]*(\/.*)$/i.exec(target)
  return absolute?.[1] ?? ''
}

/** Decodes and checks one path (also a namespace's). Throws as `parseTarget`. */
export function checkPath(raw: string): string {
  if (raw.length > limits.pathBytesMax * 3) refuse(`at most ${limits.pathBytesMax} bytes`, 'a longer one')
  const path = raw.includes('%') ? decode(raw) : raw
  if (plainPath.test(path)) checkLengths(path)
  else checkSegments(path)
  return path
}

function decode(raw: string): string {
  try {
    return decodeURIComponent(raw)
  } catch {
    return refuse('valid percent escapes of UTF-8', 'others')
  }
}

function checkSegments(path: string): void {
  if (control.test(path)) refuse('printable characters', 'a control character')
  const segments = path.split('/')
  segments.forEach((segment, index) => {
    if (segment === '' && index < segments.length - 1) refuse('no empty segment', "'//' or a leading '/'")
    if (segment === '.' || segment === '..') refuse('no relative segment', "'.' or '..'", 'ERR_RELATIVE_PATH')
  })
  checkLengths(path)
}

function checkLengths(path: string): void {
  // A string of at most a third of the bound can't be longer than it in UTF-8: the usual case costs nothing.
  if (path.length * 3 <= limits.pathSegmentBytesMax) return
  if (Buffer.byteLength(path) > limits.pathBytesMax) refuse(`at most ${limits.pathBytesMax} bytes`, 'a longer one')
  for (const segment of path.split('/')) {
    if (Buffer.byteLength(segment) > limits.pathSegmentBytesMax)
      refuse(`segments of at most ${limits.pathSegmentBytesMax} bytes`, 'a longer one')
  }
}

function parseQuery(text: string): Readonly<Record<string, string>> {
  const query = bareRecord()
  let count = 0
  for (const [name, value] of new URLSearchParams(text)) {
    count += 1
    if (count > queryParametersMax) {
      throw new HoldfastError('ERR_BAD_REQUEST', `query expected at most ${queryParametersMax} parameters, got more`)
    }
    query[name] ??= value
  }
  return query
}
