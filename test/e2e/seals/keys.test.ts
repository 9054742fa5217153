/** The life of keys on three nodes: rekey, also with the leader killed in the middle; root tokens from shares and from recovery keys; PGP; the commands. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { runCommand, type Ran } from '#test/support/cli.ts'
import { SealCluster } from '#test/support/seal-cluster.ts'
import { serving, type Founded, type ServerProcess, unseal, until } from '#test/support/server-process.ts'
import { pgpHolder } from '#test/support/share-cluster.ts'

type Body = Readonly<Record<string, unknown>>

/** The node that leads, and another one. */
async function roles(cluster: Pick<SealCluster, 'nodes'>): Promise<{ leader: ServerProcess; follower: ServerProcess }> {
  const leader = await until(
    'a leader',
    async () => {
      for (const node of cluster.nodes) if ((await node.call('GET', 'sys/leader')).body?.['is_self'] === true) return node
      return null
    },
    20_000,
  )
  return { leader, follower: cluster.nodes.find((node) => node !== leader)! }
}

async function ask(
  node: ServerProcess,
  method: string,
  path: string,
  token: string | null,
  body?: Body,
): Promise<{ status: number; body: Body }> {
  const answer = await node.call(method, path, {
    ...(token === null ? {} : { token }),
    ...(body === undefined ? {} : { body }),
    timeoutMs: 30_000,
  })
  return { status: answer.status, body: answer.body ?? {} }
}

/** @throws where it is refused. */
async function sure(...call: Parameters<typeof ask>): Promise<Body> {
  const { status, body } = await ask(...call)
  if (status >= 300) throw new Error(`${call[1]} ${call[2]}: got ${status}: ${JSON.stringify(body['errors'])}`)
  return body
}

const errorsOf = async (...call: Parameters<typeof ask>): Promise<unknown> => (await ask(...call)).body['errors']

/** Does `steps` again where the leader was lost in the middle, as on a busy machine it may be: an attempt ends with it. */
async function attempted<T>(steps: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await steps()
    } catch (error) {
      if (attempt === 4 || !/no (rekey|root generation) in progress/.test((error as Error).message)) throw error
    }
  }
}

/** That `node` reads what was written. After a restart there may be no leader for a moment. */
async function holds(cluster: SealCluster, node: ServerProcess): Promise<void> {
  let last: unknown
  const kept = async (): Promise<true | null> =>
    (last = (await node.call('GET', 'secret/data/marked', { token: cluster.founded.token, timeoutMs: 10_000 })).body) &&
    (await cluster.value(node)) === 'kept'
      ? true
      : null
  await until(`${node.id} to hold what was written`, kept, 20_000).catch((error: Error) => {
    throw new Error(`${error.message}; its last answer: ${JSON.stringify(last)}`)
  })
}

async function allHold(cluster: SealCluster): Promise<void> {
  for (const node of cluster.nodes) await holds(cluster, node)
}

interface Made {
  readonly keys_base64: readonly string[]
  readonly verification_nonce: string
}

/** Begins a rekey at `path` and gives `keys`: the answer to the last one. */
const rekeyed = (node: ServerProcess, path: string, token: string, keys: readonly (string | undefined)[], request: Body): Promise<Made> =>
  attempted(async () => {
    const begun = await sure(node, 'POST', `${path}/init`, token, request)
    const { nonce } = (begun['data'] ?? begun) as { nonce: string }
    let last: Body = {}
    for (const key of keys) last = await sure(node, 'POST', `${path}/update`, token, { nonce, key })
    return (last['data'] ?? last) as unknown as Made
  })

/** A node that has just started answers before it has opened its store, and one that was away before it has heard of the rekey. */
async function refusedAsReplaced(node: ServerProcess, key: string): Promise<void> {
  const refusal = /^invalid key: .* this share was replaced by a rekey at \d{4}-\d\d-\d\dT/
  const told = async (): Promise<true | null> =>
    refusal.test(String(await errorsOf(node, 'POST', 'sys/unseal', null, { key }))) ? true : null
  await until(`${node.id} to refuse a replaced share by name`, told, 20_000)
}

describe('with shares', () => {
  let cluster: SealCluster
  let founded: Founded
  /** Keys in force, as base64. */
  let keys: readonly string[]
  let token: string

  beforeAll(async () => {
    cluster = await SealCluster.prepare('keys')
    for (const node of cluster.nodes) {
      const raft = node === cluster.first ? '' : `retry_join { leader_api_addr = "${cluster.first.apiAddress}" }`
      node.configure({ raft })
    }
    founded = await cluster.foundByShares(3, 2)
    ;({ keys, token } = founded)
    await cluster.mountKv()
    expect(await cluster.put('kept')).toBe(200)
  })
  afterAll(() => cluster.dispose())

  /** kill -9 of all, and each is opened by `shares`. */
  async function restartWith(shares: readonly string[]): Promise<void> {
    await cluster.killAll()
    await Promise.all(cluster.nodes.map((node) => node.startAndAnswer()))
    for (const node of cluster.nodes) await unseal(node, { ...founded, keys: shares })
    await cluster.allServe()
  }

  test('a rekey with verification, asked of a follower: all nodes go on; restarted they open with the new shares only', async () => {
    const { follower } = await roles(cluster)
    const request = { secret_shares: 5, secret_threshold: 2, require_verification: true }
    const made = await attempted(async () => {
      const { nonce } = (await sure(follower, 'POST', 'sys/rekey/init', token, request)) as { nonce: string }
      await sure(follower, 'POST', 'sys/rekey/update', token, { nonce, key: keys[0] })
      expect(await errorsOf(follower, 'POST', 'sys/rekey/update', token, { nonce, key: 'ab'.repeat(33) })).toEqual([
        expect.stringMatching(/this share is not one of this cluster's|no rekey in progress/),
      ])
      const answer = (await sure(cluster.nodes[2]!, 'POST', 'sys/rekey/update', token, { nonce, key: keys[2] })) as unknown as Made
      for (const key of answer.keys_base64.slice(3))
        await sure(follower, 'POST', 'sys/rekey/verify', token, { nonce: answer.verification_nonce, key })
      return answer
    })
    expect(made.keys_base64).toHaveLength(5)
    await allHold(cluster)
    const before = keys
    keys = made.keys_base64
    await cluster.killAll()
    await Promise.all(cluster.nodes.map((node) => node.startAndAnswer()))
    for (const node of cluster.nodes) await refusedAsReplaced(node, before[1]!)
    for (const node of cluster.nodes) await unseal(node, { ...founded, keys })
    await cluster.allServe()
    await allHold(cluster)
    expect(await cluster.put('kept')).toBe(200)
  })

  test('a leader that is killed in the middle takes the attempt along: the shares of before hold', async () => {
    const { leader } = await roles(cluster)
    const { nonce } = (
      await sure(leader, 'POST', 'sys/rotate/root/init', token, { secret_shares: 1, secret_threshold: 1, require_verification: true })
    )['data'] as { nonce: string }
    await sure(leader, 'POST', 'sys/rotate/root/update', token, { nonce, key: keys[0] })
    const generation = (await sure(leader, 'POST', 'sys/generate-root/attempt', token)) as { nonce: string }
    await sure(leader, 'POST', 'sys/generate-root/update', token, { nonce: generation.nonce, key: keys[0] })
    await leader.stop('SIGKILL')
    const { follower } = await roles({ nodes: cluster.nodes.filter((node) => node !== leader) })
    expect(await errorsOf(follower, 'POST', 'sys/rotate/root/update', token, { nonce, key: keys[1] })).toEqual(['no rekey in progress'])
    expect(await errorsOf(follower, 'POST', 'sys/generate-root/update', token, { nonce: generation.nonce, key: keys[1] })).toEqual([
      'no root generation in progress',
    ])
    await leader.startAndAnswer()
    await unseal(leader, { ...founded, keys })
    await cluster.allServe()
    await holds(cluster, leader)
  })

  test('a snapshot of a node that was away: it comes back to another root key by the new shares', async () => {
    const { leader, follower } = await roles(cluster)
    await follower.stop('SIGKILL')
    const made = await rekeyed(leader, 'sys/rekey', token, keys.slice(0, 2), { secret_shares: 3, secret_threshold: 2 })
    const before = keys
    keys = made.keys_base64
    await sure(leader, 'POST', 'sys/rotate', token)
    expect(await cluster.put('kept', leader)).toBe(200)
    await follower.startAndAnswer()
    await refusedAsReplaced(follower, before[0]!)
    await sure(follower, 'POST', 'sys/unseal', null, { reset: true })
    await unseal(follower, { ...founded, keys })
    await serving(follower)
    await holds(cluster, follower)
  })

  test('by the commands: a rekey for PGP holders, and a root token under an OTP', async () => {
    const { follower } = await roles(cluster)
    const run = async (line: string): Promise<Ran> => {
      const ran = await runCommand(line, { address: follower.apiAddress, env: { HOLDFAST_TOKEN: token, HOLDFAST_MAX_RETRIES: '2' } })
      if (ran.code !== 0) throw new Error(`${line.replaceAll(/ [\w+/=]{40,}/g, ' KEY')}: ${ran.err}`)
      return ran
    }
    const json = async (line: string): Promise<Record<string, never>> =>
      JSON.parse((await run(`${line} -format=json`)).out) as Record<string, never>
    const holders = [await pgpHolder('ann'), await pgpHolder('ben', { type: 'rsa' })]
    for (const [at, holder] of holders.entries()) {
      const path = join(cluster.dir, `holder${at}.pgp`)
      writeFileSync(path, at === 0 ? holder.armored : Buffer.from(holder.base64, 'base64'))
    }
    const files = [0, 1].map((at) => join(cluster.dir, `holder${at}.pgp`)).join(',')
    const made = await attempted(async () => {
      await run(`operator rekey -init -key-shares=2 -key-threshold=2 -backup -pgp-keys=${files}`)
      const { nonce } = await json('operator rekey -status')
      await run(`operator rekey -nonce=${nonce} ${keys[0]}`)
      return (await json(`operator rekey -nonce=${nonce} ${keys[1]}`)) as unknown as { keys_base64: string[]; pgp_fingerprints: string[] }
    })
    expect(made.pgp_fingerprints).toEqual(holders.map(({ fingerprint }) => fingerprint))
    const kept = (await json('operator rekey -backup-retrieve')) as unknown as { data: { keys_base64: Record<string, string[]> } }
    expect(kept.data.keys_base64).toEqual({
      [holders[0]!.fingerprint]: [made.keys_base64[0]],
      [holders[1]!.fingerprint]: [made.keys_base64[1]],
    })
    keys = await Promise.all(holders.map((holder, at) => holder.open(Buffer.from(made.keys_base64[at]!, 'base64'))))

    const { out } = await attempted(async () => {
      const begun = (await json('operator generate-root -init')) as unknown as { nonce: string; otp: string }
      await run(`operator generate-root -nonce=${begun.nonce} ${keys[1]}`)
      const ended = (await json(`operator generate-root -nonce=${begun.nonce} ${keys[0]}`)) as unknown as { encoded_token: string }
      return await run(`operator generate-root -decode=${ended.encoded_token} -otp=${begun.otp}`)
    })
    const root = out.trim()
    expect(await sure(follower, 'GET', 'auth/token/lookup-self', root)).toMatchObject({ data: { policies: ['root'], ttl: 0 } })
    // The one of before may go now.
    await sure(follower, 'POST', 'auth/token/revoke-self', token)
    token = root
    cluster.founded = { ...cluster.founded, token }
    await restartWith(keys)
    await allHold(cluster)
    for (const node of cluster.nodes) expect(node.log()).not.toContain(root)
  })

  test('without any token: refused, unless a listener opens the routes; then shares are enough, and strangers can not cancel', async () => {
    const { follower } = await roles(cluster)
    expect((await ask(follower, 'POST', 'sys/generate-root/attempt', null, {})).status).toBe(403)
    await follower.stop()
    const raft = follower === cluster.first ? '' : `retry_join { leader_api_addr = "${cluster.first.apiAddress}" }`
    follower.configure({ raft, listener: 'disable_unauthed_generate_root_endpoints = false' })
    await follower.startAndAnswer()
    await unseal(follower, { ...founded, keys })
    await serving(follower)
    expect((await ask(follower, 'GET', 'sys/rekey/init', null)).status).toBe(403)
    const begun = (await sure(follower, 'POST', 'sys/generate-root/attempt', null, {})) as { nonce: string; otp: string }
    expect(await sure(follower, 'GET', 'sys/generate-root/attempt', null)).toMatchObject({ started: true, nonce: '' })
    expect((await ask(follower, 'DELETE', 'sys/generate-root/attempt', null)).status).toBe(400)
    for (const key of keys) {
      const step = await sure(follower, 'POST', 'sys/generate-root/update', null, { nonce: begun.nonce, key })
      if (step['complete'] !== true) continue
      const decoded = await sure(follower, 'POST', 'sys/decode-token', null, { encoded_token: step['encoded_token'], otp: begun.otp })
      const { token: root } = decoded['data'] as { token: string }
      expect((await ask(follower, 'GET', 'auth/token/lookup-self', root)).status).toBe(200)
      return
    }
    throw new Error('expected the last share to complete it')
  })
})

describe('with a static seal', () => {
  let cluster: SealCluster
  afterAll(() => cluster.dispose())

  test('recovery keys for PGP holders make a root token, are rekeyed, and the root key is replaced; all restart by themselves', async () => {
    cluster = await SealCluster.prepare('recovery')
    writeFileSync(join(cluster.dir, 'seal.key'), systemRandom.bytes(32), { mode: 0o600 })
    cluster.configure(`seal "static" {\n  current_key_id = "one"\n  current_key = "file://${join(cluster.dir, 'seal.key')}"\n}`)
    const holder = await pgpHolder('ann')
    await cluster.first.startAndAnswer()
    expect(
      await errorsOf(cluster.first, 'POST', 'sys/init', null, {
        recovery_shares: 2,
        recovery_threshold: 2,
        recovery_pgp_keys: [holder.base64, 'x!'],
      }),
    ).toEqual(['recovery_pgp_keys[1] expected a PGP public key in base64 or armored, got neither'])
    await cluster.first.stop()
    await cluster.found({
      recovery_shares: 2,
      recovery_threshold: 2,
      recovery_pgp_keys: [holder.base64, holder.armored],
      root_token_pgp_key: holder.base64,
    })
    const open = (base64: string): Promise<string> => holder.open(Buffer.from(base64, 'base64'))
    const token = await open(cluster.founded.token)
    cluster.founded = { ...cluster.founded, token }
    let keys: readonly string[] = await Promise.all(cluster.founded.recoveryKeys.map(open))
    await cluster.mountKv()
    await cluster.put('kept')

    const { follower } = await roles(cluster)
    const ended = await attempted(async () => {
      const begun = (await sure(follower, 'POST', 'sys/generate-root-token/attempt', token, { pgp_key: holder.base64 }))['data'] as Body
      expect(begun).toMatchObject({ pgp_fingerprint: holder.fingerprint, otp: '', required: 2 })
      const give = (key: string | undefined): Promise<Body> =>
        sure(follower, 'POST', 'sys/generate-root-token/update', token, { nonce: begun['nonce'], key })
      await give(keys[0])
      return (await give(keys[1]))['data'] as Body
    })
    expect(await sure(follower, 'GET', 'auth/token/lookup-self', await open(String(ended['encoded_token'])))).toMatchObject({
      data: { policies: ['root'] },
    })

    const made = await rekeyed(follower, 'sys/rekey-recovery-key', token, [keys[1], keys[0]], { secret_shares: 3, secret_threshold: 2 })
    const before = keys
    keys = made.keys_base64
    await sure(follower, 'POST', 'sys/rotate/root', token)
    await allHold(cluster)
    await cluster.killAll()
    await cluster.restartAll()
    await allHold(cluster)
    expect((await cluster.sealStatus(cluster.first)).body).toMatchObject({ t: 2, n: 3 })
    const alone = { secret_shares: 1, secret_threshold: 1 }
    await expect(rekeyed(cluster.first, 'sys/rekey', token, before, alone)).rejects.toThrow(/replaced by a rekey/)
    await sure(cluster.first, 'DELETE', 'sys/rekey/init', token)
    expect(await rekeyed(cluster.first, 'sys/rekey', token, [keys[0], keys[2]], alone)).toMatchObject({ complete: true, keys: [] })
    await cluster.killAll()
    await cluster.restartAll()
    await allHold(cluster)
  })
})
