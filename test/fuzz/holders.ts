/**
 * Routes that no caller can make succeed alone: they need shares, an auto seal, other members, or end what answers them. Each once, on clusters of
 * their own: one of three with a static seal, nodes that are opened by a share, and one that gets another cluster's state.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey } from 'openpgp'
import { Agent } from 'undici'
import { SealCluster } from '#test/support/seal-cluster.ts'
import { found, unseal, until, type ServerProcess } from '#test/support/server-process.ts'
import type { Judge } from './judge.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- parsed JSON of any answer
type Parsed = any

class Caller {
  readonly server: ServerProcess
  readonly #judge: Judge
  readonly #token: string
  readonly #agent = new Agent()

  constructor(judge: Judge, server: ServerProcess, token: string) {
    this.#judge = judge
    this.server = server
    this.#token = token
  }

  /** `template`: the route as the document names it; what is answered counts there. */
  async go(
    method: string,
    template: string,
    body?: object | Buffer,
    more: { path?: string; namespace?: string } = {},
  ): Promise<{ status: number; data: Parsed; bytes: Buffer }> {
    const path = more.path ?? template
    const answer = await this.#agent.request({
      origin: this.server.apiAddress,
      method: method as 'GET',
      path: `/v1${path}`,
      headers: { 'x-vault-token': this.#token, ...(more.namespace === undefined ? {} : { 'x-vault-namespace': more.namespace }) },
      body: body === undefined ? null : Buffer.isBuffer(body) ? body : JSON.stringify(body),
    })
    const bytes = Buffer.from(await answer.body.arrayBuffer())
    const text = bytes.subarray(0, 1).toString() === '{' ? bytes.toString() : ''
    this.#judge.note(`${method} ${template}`, { status: answer.statusCode, text }, { path, body: Buffer.isBuffer(body) ? null : body })
    const parsed = text === '' ? null : (JSON.parse(text) as Parsed)
    return { status: answer.statusCode, data: parsed?.data ?? parsed, bytes }
  }

  /** Reads the beginning of a stream that does not end. */
  async peek(template: string): Promise<void> {
    const stop = new AbortController()
    const answer = await this.#agent.request({
      origin: this.server.apiAddress,
      method: 'GET',
      path: `/v1${template}`,
      headers: { 'x-vault-token': this.#token },
      signal: stop.signal,
    })
    this.#judge.note(`GET ${template}`, { status: answer.statusCode, text: '' }, { path: template })
    answer.body.on('error', () => {})
    stop.abort()
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }
}

/** Replaces shares under `prefix`, with everything that can be asked on the way. Returns the new one. */
async function replaceShares(caller: Caller, prefix: string, keys: readonly string[]): Promise<string> {
  const at = `/sys/${prefix}`
  const wanted = { secret_shares: 1, secret_threshold: 1, require_verification: true }
  const cancelled = await caller.go('POST', `${at}/init`, wanted)
  await caller.go('DELETE', `${at}/init`, undefined, { path: `${at}/init?nonce=${cancelled.data.nonce}` })
  const begun = await caller.go('POST', `${at}/init`, wanted)
  await caller.go('GET', `${at}/init`)
  let given = begun
  for (const key of keys) given = await caller.go('POST', `${at}/update`, { nonce: begun.data.nonce, key })
  await caller.go('GET', `${at}/verify`)
  const again = await caller.go('DELETE', `${at}/verify`, undefined, { path: `${at}/verify?nonce=${given.data.verification_nonce}` })
  const [fresh] = given.data.keys_base64 as string[]
  await caller.go('POST', `${at}/verify`, { nonce: again.data.nonce, key: fresh })
  return fresh!
}

/** Has the shares encrypted and kept, and fetches them under each name. Last: nobody decrypts them. */
async function keepShares(caller: Caller, prefix: string, key: string, names: readonly string[]): Promise<void> {
  const { publicKey } = await generateKey({ type: 'ecc', curve: 'curve25519Legacy', userIDs: [{ name: 'holder' }], format: 'armored' })
  const wanted = { secret_shares: 1, secret_threshold: 1, pgp_keys: [publicKey], backup: true }
  const begun = await caller.go('POST', `/sys/${prefix}/init`, wanted)
  await caller.go('POST', `/sys/${prefix}/update`, { nonce: begun.data.nonce, key })
  for (const name of names) await caller.go('GET', `/sys/${name}`)
  for (const name of names) await caller.go('DELETE', `/sys/${name}`)
}

async function generateRoots(caller: Caller, keys: readonly string[]): Promise<void> {
  for (const at of ['/sys/generate-root', '/sys/generate-root-token']) {
    const cancelled = await caller.go('POST', `${at}/attempt`, {})
    await caller.go('DELETE', `${at}/attempt`, undefined, { path: `${at}/attempt?nonce=${cancelled.data.nonce}` })
    const begun = await caller.go('POST', `${at}/attempt`, {})
    await caller.go('GET', `${at}/attempt`)
    let given = begun
    for (const key of keys) given = await caller.go('POST', `${at}/update`, { nonce: begun.data.nonce, key })
    await caller.go('POST', '/sys/decode-token', { encoded_token: given.data.encoded_token, otp: begun.data.otp })
  }
}

async function ofAnAutoSeal(judge: Judge): Promise<void> {
  const cluster = await SealCluster.prepare('fuzz', 3)
  const keyPath = join(cluster.dir, 'seal.key')
  writeFileSync(keyPath, randomBytes(32), { mode: 0o600 })
  cluster.configure(`seal "static" {\n  current_key_id = "one"\n  current_key    = "file://${keyPath}"\n}`)
  const callers: Caller[] = []
  try {
    await cluster.found()
    judge.note('POST /sys/init', { status: 200, text: '' }, { path: '/sys/init' })
    const caller = new Caller(judge, cluster.first, cluster.founded.token)
    callers.push(caller)
    // The others have joined by the seal's proof: the founder's audit has what it answered to them.
    for (const step of ['challenge', 'answer']) {
      const route = `sys/storage/raft/bootstrap/${step}`
      const answered = (): boolean =>
        auditOf(cluster.first).some(({ type, path, failed }) => type === 'response' && path === route && !failed)
      await until(`the record of ${route}`, async () => (answered() ? true : null), 10_000)
      judge.note(`POST /${route}`, { status: 200, text: '' }, { path: `/${route}` })
    }
    let keys = cluster.founded.recoveryKeys.slice(0, 2)
    for (const prefix of ['rekey-recovery-key', 'rotate/recovery']) keys = [await replaceShares(caller, prefix, keys)]
    await generateRoots(caller, keys)
    await keepShares(caller, 'rotate/recovery', keys[0]!, [
      'rekey/recovery-key-backup',
      'rekey-recovery-key/backup',
      'rotate/recovery/backup',
    ])
    await caller.go('POST', '/sys/rotate/root', {})
    await caller.go('POST', '/sys/sealwrap/rewrap', {})
    await caller.peek('/sys/monitor')
    await lockedApi(caller)
    await members(caller, cluster)
    const saved = await caller.go('GET', '/sys/storage/raft/snapshot')
    await caller.go('POST', '/sys/storage/raft/snapshot/verify', saved.bytes)
    await caller.go('POST', '/sys/storage/raft/snapshot', saved.bytes)
    await caller.go('POST', '/sys/storage/raft/snapshot-force', saved.bytes)
    const proven = async (): Promise<true | null> => ((await caller.go('GET', '/sys/audit-proof')).status === 200 ? true : null)
    await until('an anchor of the audit', proven, 30_000)
  } finally {
    for (const caller of callers) await caller.close()
    await cluster.dispose()
  }
}

/** Answered to the API of a namespace, from inside it. */
async function lockedApi(caller: Caller): Promise<void> {
  await caller.go('POST', '/sys/namespaces/{path}', {}, { path: '/sys/namespaces/locked' })
  const { data } = await caller.go('POST', '/sys/namespaces/api-lock/lock', {}, { namespace: 'locked' })
  await caller.go('POST', '/sys/namespaces/api-lock/unlock', { unlock_key: data.unlock_key }, { namespace: 'locked' })
}

async function members(caller: Caller, cluster: SealCluster): Promise<void> {
  const last = cluster.nodes.at(-1)!
  const voter = async (wanted: boolean): Promise<true | null> => {
    const { data } = await caller.go('GET', '/sys/storage/raft/configuration')
    const servers = data.config.servers as { node_id: string; voter: boolean }[]
    return servers.some(({ node_id, voter: votes }) => node_id === last.id && votes === wanted) ? true : null
  }
  await until('a third voter', () => voter(true), 30_000)
  await caller.go('POST', '/sys/storage/raft/demote', { server_id: last.id })
  await until('a learner', () => voter(false), 15_000)
  await caller.go('POST', '/sys/storage/raft/promote', { server_id: last.id })
  await until('a third voter again', () => voter(true), 15_000)
  await caller.go('POST', '/sys/storage/raft/remove-peer', { server_id: last.id })
}

interface Recorded {
  readonly type: string
  readonly path: string
  readonly failed: boolean
}

function auditOf(server: ServerProcess): Recorded[] {
  return readFileSync(server.auditPath, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => {
      const { type, request, error } = JSON.parse(line) as { type: string; request?: { path?: string }; error?: string }
      return { type, path: request?.path ?? '', failed: error !== undefined && error !== '' }
    })
}

async function ofShares(judge: Judge): Promise<void> {
  const cluster = await SealCluster.prepare('fuzz-shares', 2)
  const [first, second] = cluster.nodes as [ServerProcess, ServerProcess]
  const callers: Caller[] = []
  try {
    await Promise.all([first.startAndAnswer(), second.startAndAnswer()])
    const founded = await found(first, 3, 2)
    const caller = new Caller(judge, first, founded.token)
    callers.push(caller)
    let keys = founded.keys.slice(0, 2)
    for (const prefix of ['rekey', 'rotate/root']) keys = [await replaceShares(caller, prefix, keys)]
    await generateRoots(caller, keys)
    const joiner = new Caller(judge, second, '')
    callers.push(joiner)
    const { data } = await caller.go('POST', '/sys/storage/raft/join-token', {})
    await joiner.go('POST', '/sys/storage/raft/join', { leader_api_addr: first.apiAddress, token: data.token })
    await unseal(second, { ...founded, keys, threshold: 1 })
    await keepShares(caller, 'rekey', keys[0]!, ['rekey/backup', 'rotate/root/backup'])
  } finally {
    for (const caller of callers) await caller.close()
    await cluster.dispose()
  }
}

/** One cluster gets the state of another, with its shares and its root token; what that has lent waits until somebody confirms. */
async function ofRestored(judge: Judge): Promise<void> {
  const from = await SealCluster.prepare('fuzz-from', 1)
  let to: SealCluster | null = null
  const callers: Caller[] = []
  try {
    const theirs = await from.foundByShares(1, 1)
    // Only now: its ports are those that nobody listens on.
    to = await SealCluster.prepare('fuzz-to', 1)
    const own = await to.foundByShares(1, 1)
    const [source, before, after] = [
      new Caller(judge, from.first, theirs.token),
      new Caller(judge, to.first, own.token),
      new Caller(judge, to.first, theirs.token),
    ]
    callers.push(source, before, after)
    const saved = await source.go('GET', '/sys/storage/raft/snapshot')
    await before.go('POST', '/sys/storage/raft/snapshot-force', saved.bytes)
    await unseal(to.first, theirs, 30_000)
    const confirmed = async (): Promise<true | null> =>
      (await after.go('POST', '/sys/storage/raft/snapshot/confirm', {})).status === 204 ? true : null
    await until('the restored state to be confirmed', confirmed, 30_000)
  } finally {
    for (const caller of callers) await caller.close()
    await from.dispose()
    await to?.dispose()
  }
}

export async function holders(judge: Judge): Promise<void> {
  await ofShares(judge)
  await ofRestored(judge)
  await ofAnAutoSeal(judge)
}
