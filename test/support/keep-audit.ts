/**
 * With AUDIT_KEEP=FOLDER, the end-to-end tests leave there every audit file that their servers wrote, and every secret that went between them and the
 * tests: what test/audit/search.ts looks for in these files. A setup file of vitest (vitest.e2e.config.ts); nothing happens without the variable.
 */
import { randomUUID } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, join } from 'node:path'

const fileBytesMax = 1024 ** 3
const bodyBytesMax = 4 * 1024 * 1024
const secretCharsMin = 8
const secretCharsMax = 4_096
const begins = Buffer.from('{"time":"')

/** Fields whose strings are secret wherever they stand. */
const secretFields =
  /^(client_token|token|root_token|encoded_token|encoded_root_token|otp|secret_id|password|keys|keys_base64|key_shares.*|unseal_keys.*|recovery_keys.*|private_key|key|ciphertext|plaintext|passcode|input)$/
/** Where `keys` are shares. */
const sharePaths = /(^|\/)sys\/(init|rekey|rotate|generate|namespaces\/.)/
/** In place of `keys`, where that is a list of names and not of shares. */
const listed = 'names of a list'
/** Where engines are that keep no secrets of people, only names, settings and facts. */
const housePaths = /^(sys|auth|identity)\//
const namespacePaths = /^(?:(.*)\/)?sys\/namespaces\/([^/]+)$/

interface Kept {
  readonly names: Set<string>
  readonly secrets: Set<string>
  /** Those that were made, by their paths: the house has its own engines in each. */
  readonly namespaces: Set<string>
}

/** `path` as its namespace sees it: without the longest namespace that it begins with. */
function withinNamespace(path: string, { namespaces }: Kept): string {
  for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1))
    if (namespaces.has(path.slice(0, end))) return path.slice(end + 1)
  return path
}

/** Takes note of the namespace that a request made, named in its path or in its header and its path. */
function noteNamespace({ method, path, headers, status }: Sent, kept: Kept): void {
  const found = namespacePaths.exec(path)
  if (found === null || !/^(POST|PUT)$/.test(method) || status < 200 || status > 299) return
  const at = headers.findIndex((name, i) => i % 2 === 0 && /^x-vault-namespace$/i.test(name))
  const named = at < 0 ? '' : (headers[at + 1] ?? '')
  kept.namespaces.add(
    [named, found[1] ?? '', found[2]]
      .map((part) => part?.replace(/^\/+|\/+$/g, ''))
      .filter(Boolean)
      .join('/'),
  )
}

/** Strings of a body: those that are secret by their field, or by where they stand. */
function collect(value: unknown, path: string, field: string, into: Kept, depth = 0): void {
  if (depth > 32) return
  if (typeof value === 'string') {
    const secret = field !== listed && (secretFields.test(field) || !housePaths.test(path))
    if (secret && value.length >= secretCharsMin && value.length <= secretCharsMax) into.secrets.add(value)
    else into.names.add(value)
  } else if (Array.isArray(value)) for (const entry of value) collect(entry, path, field, into, depth + 1)
  else if (typeof value === 'object' && value !== null) {
    // Names of a list are no secrets, and an error quotes paths; what both are of the request is hashed in its record.
    for (const [key, inner] of Object.entries(value)) {
      if (depth === 0 && (key === 'errors' || key === 'warnings' || key === 'request_id' || key === 'mount_type' || key === 'lease_id'))
        continue
      collect(inner, path, key === 'keys' && !sharePaths.test(path) ? listed : key, into, depth + 1)
    }
  }
}

interface Sent {
  readonly method: string
  readonly path: string
  readonly headers: readonly string[]
  status: number
  sent: Buffer[]
  received: Buffer[]
  bytes: number
}

/** As it is where it can't be decoded: a test may send what no server takes. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

function watchTraffic(kept: Kept): void {
  const open = new WeakMap<object, Sent>()
  const of = (message: unknown): Sent | undefined => open.get((message as { request: object }).request)
  const add = (to: 'sent' | 'received') => (message: unknown) => {
    const known = of(message)
    if (known === undefined) return
    const chunk = Buffer.from((message as { chunk: Uint8Array }).chunk)
    known.bytes += chunk.length
    if (known.bytes <= bodyBytesMax) known[to].push(chunk)
  }
  subscribe('undici:request:create', (message) => {
    const { request } = message as { request: { method: string; path: string; headers: readonly string[] } }
    const path = request.path.replace(/^\/v1\//, '').replace(/\?.*$/, '')
    kept.names.add(decoded(path))
    for (const part of path.split('/')) kept.names.add(decoded(part))
    const { method, headers } = request
    open.set(request, { method, path, headers, status: 0, sent: [], received: [], bytes: 0 })
  })
  subscribe('undici:request:bodyChunkSent', add('sent'))
  subscribe('undici:request:bodyChunkReceived', add('received'))
  subscribe('undici:request:headers', (message) => {
    const known = of(message)
    if (known !== undefined) known.status = (message as { response: { statusCode: number } }).response.statusCode
  })
  subscribe('undici:request:trailers', (message) => {
    const known = of(message)
    if (known === undefined) return
    noteNamespace(known, kept)
    const { headers, path } = known
    headers.forEach((name, at) => {
      const value = headers[at + 1] ?? ''
      if (at % 2 === 0 && /^(x-vault-token|authorization)$/i.test(name) && value.length >= secretCharsMin)
        kept.secrets.add(value.replace(/^Bearer /, ''))
    })
    for (const chunks of [known.sent, known.received]) {
      try {
        collect(JSON.parse(Buffer.concat(chunks).toString('utf8')), withinNamespace(path, kept), '', kept)
      } catch {
        // No JSON: an upload, a page, nothing.
      }
    }
  })
}

function isAudit(path: string): boolean {
  const { size } = fs.statSync(path)
  if (size < begins.length || size > fileBytesMax) return false
  const start = Buffer.alloc(begins.length)
  const file = fs.openSync(path, 'r')
  fs.readSync(file, start, 0, start.length, 0)
  fs.closeSync(file)
  return start.equals(begins) && /audit|\.log/.test(basename(path)) && fs.readFileSync(path, 'latin1').includes(',"chain":{"node":')
}

/** Called before a folder is removed: what is audit in it is taken over first. */
function takeOver(folder: string, to: string): void {
  if (!fs.existsSync(folder) || !fs.statSync(folder).isDirectory()) return
  for (const name of fs.globSync('**/*', { cwd: folder })) {
    const path = join(folder, name)
    if (fs.statSync(path, { throwIfNoEntry: false })?.isFile() && isAudit(path)) fs.copyFileSync(path, join(to, `${randomUUID()}.audit`))
  }
}

const keep = process.env['AUDIT_KEEP'] ?? ''
if (keep !== '') {
  fs.mkdirSync(keep, { recursive: true })
  const kept: Kept = { names: new Set(), secrets: new Set(), namespaces: new Set() }
  watchTraffic(kept)
  const saved = join(keep, `${randomUUID()}.secrets.json`)
  const save = (): void => {
    fs.writeFileSync(saved, JSON.stringify({ names: [...kept.names], secrets: [...kept.secrets] }), { mode: 0o600 })
  }
  const remove = fs.rmSync
  fs.rmSync = (path, options) => {
    if (options?.recursive) {
      takeOver(String(path), keep)
      save()
    }
    remove(path, options)
  }
  syncBuiltinESMExports()
  // A worker may be ended before it comes to that: what went before a folder was removed is saved then.
  process.once('exit', save)
}
