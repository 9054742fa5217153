/**
 * What the works of /v1 need on a server: mounts of their own named bench-..., so many secrets, a policy of so many rules and a token with it.
 * `remove` takes all of it away again.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { drive, type Work } from './drive.ts'
import { requestText } from './http1.ts'
import { must, type Side } from './side.ts'

export interface GroundOptions {
  readonly works: readonly string[]
  readonly secrets: number
  readonly sizeBytes: number
  readonly policyRules: number
  /** So many policies and tokens of others besides. */
  readonly others: number
  readonly say: (line: string) => void
}

export interface Ground {
  readonly side: Side
  readonly mount: string
  /** The headers of every request, the measured token among them; CRLF at the end of each. */
  readonly headers: string
  readonly options: GroundOptions
  readonly roleId: string
  readonly secretId: string
  remove(): Promise<void>
}

/** Secrets of one folder: what a LIST answers. */
export const perFolder = 100
export const password = 'bench-password'
const loadConnections = 64
const loadMsMax = 3_600_000

/** Where secret `i` lies, below the mount's `data/`. */
export const secretAt = (i: number): string => `f${Math.floor(i / perFolder)}/s${i}`

/** The value of `bytes` characters that a secret holds. */
export const valueOf = (bytes: number): string => 'x'.repeat(bytes)

/** @throws Error where the server does not let it, saying what to do. What was made until then is removed. */
export async function layGround(side: Side, options: GroundOptions): Promise<Ground> {
  const mount = `bench-${randomBytes(4).toString('hex')}`
  const done: (() => Promise<unknown>)[] = []
  const remove = async (): Promise<void> => {
    if (side.own) return
    for (const undo of done.toReversed()) await undo()
  }
  try {
    return { side, mount, options, remove, ...(await lay(side, mount, options, done)) }
  } catch (error) {
    await remove().catch(() => {}) // The first failure says more.
    throw error
  }
}

async function lay(
  side: Side,
  mount: string,
  options: GroundOptions,
  done: (() => Promise<unknown>)[],
): Promise<Pick<Ground, 'headers' | 'roleId' | 'secretId'>> {
  const { works } = options
  done.push(() => must(side, 'DELETE', `sys/mounts/${mount}`))
  await must(side, 'POST', `sys/mounts/${mount}`, { type: 'kv', options: { version: '2' } })
  done.push(() => must(side, 'DELETE', `sys/policies/acl/${mount}`))
  await must(side, 'POST', `sys/policies/acl/${mount}`, { policy: policyText(mount, options.policyRules) })
  let { token } = side
  if (options.policyRules > 0) {
    const made = await must(side, 'POST', 'auth/token/create', { policies: [mount], no_default_policy: true, ttl: '24h' })
    const child = (made['auth'] as { client_token: string }).client_token
    token = child
    done.push(() => must(side, 'POST', 'auth/token/revoke', { token: child }))
  }
  let [roleId, secretId] = ['', '']
  if (works.includes('login')) [roleId, secretId] = await appRole(side, mount, done)
  if (works.includes('login-password')) await users(side, mount, done)
  const headers = `Host: bench\r\nX-Vault-Token: ${token}\r\nX-Vault-Request: true\r\n`
  if (works.some((work) => /^kv-(read|mixed|list)$/.test(work))) await load(side, mount, headers, options)
  if (options.others > 0) await crowd(side, mount, options)
  return { headers, roleId, secretId }
}

/** Twenty rules as an application's might be; those that are used stand among others that must be looked past. */
export function policyText(mount: string, rules: number): string {
  const used: [path: string, capabilities: string][] = [
    [`${mount}/data/*`, '"create", "read", "update"'],
    [`${mount}/metadata/*`, '"read", "list"'],
    ['auth/token/create', '"update"'],
    ['auth/token/lookup-self', '"read"'],
  ]
  const others = Array.from({ length: Math.max(0, rules - used.length) }, (_, i): [string, string] => [
    i % 3 === 0 ? `team-${i}/data/+/shared/*` : `team-${i}/data/app/*`,
    '"read", "list"',
  ])
  return [...used, ...others].map(([path, capabilities]) => `path "${path}" { capabilities = [${capabilities}] }`).join('\n')
}

async function appRole(side: Side, mount: string, done: (() => Promise<unknown>)[]): Promise<[string, string]> {
  const at = `${mount}-approle`
  done.push(() => must(side, 'DELETE', `sys/auth/${at}`))
  await must(side, 'POST', `sys/auth/${at}`, { type: 'approle' })
  await must(side, 'POST', `auth/${at}/role/bench`, { token_policies: [mount], token_ttl: '5m', token_max_ttl: '5m' })
  const role = await must(side, 'GET', `auth/${at}/role/bench/role-id`)
  const secret = await must(side, 'POST', `auth/${at}/role/bench/secret-id`, {})
  return [(role['data'] as { role_id: string }).role_id, (secret['data'] as { secret_id: string }).secret_id]
}

async function users(side: Side, mount: string, done: (() => Promise<unknown>)[]): Promise<void> {
  const at = `${mount}-userpass`
  done.push(() => must(side, 'DELETE', `sys/auth/${at}`))
  await must(side, 'POST', `sys/auth/${at}`, { type: 'userpass' })
  await must(side, 'POST', `auth/${at}/users/bench`, { password, token_policies: [mount], token_ttl: '5m', token_max_ttl: '5m' })
}

/** Writes every secret once. */
async function load(side: Side, mount: string, headers: string, { secrets, sizeBytes, say }: GroundOptions): Promise<void> {
  const body = JSON.stringify({ data: { value: valueOf(sizeBytes) } })
  await writeAll(side, 'secrets', secrets, say, (i) => requestText('POST', `/v1/${mount}/data/${secretAt(i)}`, headers, body))
}

/** Policies of others, and tokens with them: what a lookup has to find ours among. They go with the cluster, or at their end after a day. */
async function crowd(side: Side, mount: string, { others, policyRules, say }: GroundOptions): Promise<void> {
  const headers = `Host: bench\r\nX-Vault-Token: ${side.token}\r\nX-Vault-Request: true\r\n`
  const policy = JSON.stringify({ policy: policyText(`${mount}-other`, Math.max(4, policyRules)) })
  await writeAll(side, 'policies', others, say, (i) => requestText('POST', `/v1/sys/policies/acl/${mount}-other-${i}`, headers, policy))
  const token = (i: number): string => JSON.stringify({ policies: [`${mount}-other-${i}`], no_default_policy: true, ttl: '24h' })
  await writeAll(side, 'tokens', others, say, (i) => requestText('POST', '/v1/auth/token/create', headers, token(i)))
}

/** Sends each of `count` requests once, many at a time. */
async function writeAll(
  side: Side,
  what: string,
  count: number,
  say: (line: string) => void,
  request: (i: number) => string,
): Promise<void> {
  let next = 0
  const work: Work = { name: `writing ${count} ${what}`, next: () => request(next++ % count) }
  const started = performance.now()
  const driven = await drive({
    addresses: [side.control],
    ca: side.caPath === null ? null : readFileSync(side.caPath),
    work,
    // More may be under way at the end: they write the first ones again.
    connections: Math.min(loadConnections, count),
    warmUpMs: 0,
    runMs: loadMsMax,
    rate: null,
    processes: [],
    dataDir: null,
    countMax: count,
    onProgress: (written) => say(`${side.label}: ${written} of ${count} ${what} written`),
  })
  const failed = Object.entries(driven.errors).map(([status, times]) => `${times}x ${status}`)
  if (failed.length > 0) throw new Error(`${side.label}: expected all ${what} to be written, got ${failed.join(', ')}`)
  say(`${side.label}: ${count} ${what} written in ${((performance.now() - started) / 1_000).toFixed(1)} s`)
}
