/**
 * A thief with the whole data folder of a member, on real nodes and over the real wire: what docs/internals/stolen-identity.md says of him, while
 * clients are served. (Each single thing that he may try has a test of its own there; this one plays them against servers.)
 */
import { createPublicKey, generateKeyPairSync, randomUUID, X509Certificate } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { LocalNode } from '#cmd/dev/local-cluster.ts'
import { renewKind } from '#node/renewal.ts'
import { EntryType, MessageType, type Message } from '#raft/types.ts'
import { encodeCommand } from '#replica/command.ts'
import { encodeHeader } from '#replica/snapshots.ts'
import { mountKv, startCluster, waitForLeader, type TestCluster } from '#test/support/cluster.ts'
import { until } from '#test/support/server-process.ts'
import { loadIdentity } from '#transport/identity.ts'
import { createTransport } from '#transport/transport.ts'
import type { Identity, NodeTransport } from '#transport/types.ts'

const marked = `marked-${randomUUID()}`

let running: TestCluster
let robbed: LocalNode
let others: LocalNode[]
let identity: Identity
let transport: NodeTransport
/** All that he is sent. */
const heard: Message[] = []
let onHeard: (message: Message) => void = acknowledge

const call = (node: LocalNode, method: string, path: string, body?: unknown) =>
  running.cluster.api.call(node.apiAddress, method, path, { token: running.cluster.rootToken, body, timeoutMs: 20_000 })

const identityOf = async ({ dataDir }: LocalNode): Promise<Identity> => {
  const found = await loadIdentity(dataDir)
  if (found === null) throw new Error('expected an identity in the data folder')
  return found
}

async function written(value: string): Promise<void> {
  await until(
    `'${value.slice(0, 6)}...' to be written`,
    async () => ((await call(others[0] as LocalNode, 'POST', 'secret/data/x', { data: { value } })).status === 200 ? true : null),
    30_000,
  )
}

const valueIn = (body: Record<string, unknown> | null): unknown =>
  (body?.['data'] as { data: { value: unknown } } | undefined)?.data.value ?? null

/** What every open node answers; no node may be wrong, whatever the thief says. */
async function readEverywhere(): Promise<unknown[]> {
  return Promise.all(
    others.map((node) =>
      until(
        `${node.id} to serve`,
        async () => {
          const { status, body } = await call(node, 'GET', 'secret/data/x')
          return status === 200 ? valueIn(body) : null
        },
        30_000,
      ),
    ),
  )
}

const say = (to: LocalNode, message: Partial<Message> & Pick<Message, 'type' | 'term'>): void =>
  transport.send(to.id, { version: 1, from: robbed.id, to: to.id, ...message })

/** Where the honest log ends, by the last that he was sent. */
function tail(): { term: number; index: number; logTerm: number } {
  const term = Math.max(...heard.map((message) => message.term))
  const append = heard.findLast(({ type, entries }) => type === MessageType.append && (entries?.length ?? 0) > 0)
  const last = append?.entries?.at(-1)
  return { term, index: last?.index ?? 0, logTerm: last?.term ?? 0 }
}

/** As a member does that has it all on its disk. */
function acknowledge(message: Message): void {
  const to = others.find(({ id }) => id === message.from)
  if (to === undefined) return
  const { term, context } = message
  if (message.type === MessageType.heartbeat)
    say(to, { type: MessageType.heartbeatReply, term, ...(context === undefined ? {} : { context }) })
  if (message.type !== MessageType.append) return
  say(to, { type: MessageType.appendReply, term, logIndex: (message.logIndex ?? 0) + (message.entries?.length ?? 0) })
}

beforeAll(async () => {
  running = await startCluster()
  const { cluster } = running
  await mountKv(cluster, 'secret')
  const leader = await waitForLeader(cluster)
  robbed = cluster.nodes.find(({ id }) => id !== leader.id) as LocalNode
  others = cluster.nodes.filter(({ id }) => id !== robbed.id)
  await written('before')
  await cluster.stopNode(robbed, 'SIGKILL')
  identity = await identityOf(robbed)
  transport = createTransport({
    identity,
    listenAddress: new URL(robbed.clusterAddress).host,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    handlers: {
      message: (_from, message) => {
        // Hints and formats go the same way, and are none of raft's.
        if (typeof (message as Message).type !== 'number') return
        heard.push(message as Message)
        onHeard(message as Message)
      },
      snapshot: async () => {},
      request: async () => Buffer.from('{}'),
      unreachable: () => {},
    },
  })
  await transport.listen()
  transport.setPeers(
    await Promise.all(
      others.map(async (node) => ({
        id: node.id,
        clusterAddress: new URL(node.clusterAddress).host,
        fingerprint: (await identityOf(node)).fingerprint,
      })),
    ),
  )
  await until('the leader to speak to him', async () => (heard.length > 0 ? true : null), 15_000)
})
afterAll(async () => {
  await transport?.close()
  await running?.dispose()
})

test('is sent ciphertext: what he acknowledges as a member holds no value, name or token', async () => {
  const before = heard.length
  for (let at = 0; at < 20; at++) await written(`${marked}-${at}`)
  await call(others[0] as LocalNode, 'POST', `secret/data/${marked}`, { data: { value: marked } })
  const bytes = heard.slice(before).flatMap(({ entries }) => (entries ?? []).map(({ data }) => Buffer.from(data)))
  expect(bytes.length).toBeGreaterThan(20)
  const all = Buffer.concat(bytes)
  const marks = [marked, running.cluster.rootToken].map((mark) => Buffer.from(mark))
  for (const mark of marks)
    for (const form of [mark, mark.toString('hex'), mark.toString('base64').slice(0, -4)]) expect(all.includes(form)).toBe(false)
})

test('leads for a moment, and nothing that he says is taken: no command, no membership, no snapshot', async () => {
  await written('newest')
  const { body } = await call(others[0] as LocalNode, 'GET', 'sys/storage/raft/configuration')
  const members = body?.['data']
  for (let round = 0; round < 3; round++) {
    const { term, index, logTerm } = tail()
    const from = heard.length
    const forged = encodeCommand({
      timeMs: Date.now(),
      sections: [{ section: new Uint8Array([0x20]), ops: [{ key: new Uint8Array([0x20, 1]), value: new Uint8Array(64) }] }],
      directory: null,
    })
    for (const to of others) {
      const entries = [{ index: index + 1, term: term + 1, type: EntryType.command, data: forged }]
      say(to, { type: MessageType.vote, term: term + 1, logIndex: index + 1_000, logTerm: term, force: true })
      say(to, { type: MessageType.append, term: term + 1, logIndex: index, logTerm, commit: index + 1, entries })
    }
    await until('him to be followed', async () => (heard.slice(from).some((message) => message.term > term) ? true : null), 10_000)
    await delay(300)
    expect(await readEverywhere()).toEqual(['newest', 'newest'])
  }
  for (const to of others) {
    const header = encodeHeader({ clusterId: identity.clusterId, term: tail().term, index: tail().index + 10, proof: new Uint8Array(72) })
    const body = (async function* () {
      yield new Uint8Array(64)
    })()
    await expect(transport.sendSnapshot(to.id, header, body)).rejects.toMatchObject({ name: 'HoldfastError' })
  }
  await written('after')
  expect(await readEverywhere()).toEqual(['after', 'after'])
  const now = await call(others[0] as LocalNode, 'GET', 'sys/storage/raft/configuration')
  const ids = (of: unknown): string[] =>
    ((of as { config: { servers: { node_id: string }[] } }).config.servers ?? []).map((server) => server.node_id).toSorted()
  expect(ids(now.body?.['data'])).toEqual(ids(members))
})

test('holds a node as its leader and answers its questions: no read of it is older than what was acknowledged', async () => {
  const [victim, other] = others as [LocalNode, LocalNode]
  let asked = 0
  let value = ''
  const outcomes = { right: 0, refused: 0 }
  for (let round = 0; round < 4; round++) {
    value = `round-${round}`
    await written(value)
    const { index: old } = tail()
    onHeard = (message) => {
      acknowledge(message)
      if (message.from !== victim.id || message.type !== MessageType.readIndex) return
      asked++
      // The index from before the write, under what looks like a proof.
      const proof = { proof: systemRandom.bytes(32) } as object
      say(victim, {
        type: MessageType.readIndexReply,
        term: message.term,
        ...(message.context === undefined ? {} : { context: message.context }),
        logIndex: Math.max(1, old - 5),
        leaderTimeMs: Date.now(),
        ...proof,
      })
    }
    for (let beat = 0; beat < 5; beat++) {
      const { term, index, logTerm } = tail()
      say(victim, { type: MessageType.append, term: term + 1, logIndex: index, logTerm, commit: 0, entries: [] })
      const { status, body } = await call(victim, 'GET', 'secret/data/x').catch(() => ({ status: 0, body: null }))
      if (status !== 200) outcomes.refused++
      else {
        expect(valueIn(body)).toBe(value)
        outcomes.right++
      }
    }
  }
  onHeard = acknowledge
  expect(asked).toBeGreaterThan(0)
  expect(outcomes.right + outcomes.refused).toBe(20)
  expect(await readEverywhere()).toEqual([value, value])
  expect(other.id).not.toBe(victim.id)
})

test('forwards requests of his own making, and is refused by every node; a new certificate is of the key that he stole', async () => {
  for (const to of others) {
    for (const body of [Buffer.from('{}'), systemRandom.bytes(200)])
      await expect(transport.request(to.id, 'forward', Buffer.from(body), 10_000)).rejects.toMatchObject({
        cause: { code: 'ERR_PEER_REFUSED' },
      })
  }
  const stolen = createPublicKey(identity.privateKeyPem).export({ type: 'spki', format: 'pem' })
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' })
  const leader = await waitForLeader(running.cluster)
  const renew = async (publicKey: string | Buffer): Promise<string> =>
    Buffer.from(await transport.request(leader.id, renewKind, Buffer.from(publicKey), 10_000)).toString()
  await expect(renew(own)).rejects.toMatchObject({ name: 'HoldfastError' })
  const renewed = new X509Certificate(await renew(stolen))
  expect(renewed.publicKey.export({ type: 'spki', format: 'pem' })).toBe(stolen)
})

test('is cut off by remove-peer: from then on he hears nothing and is answered nothing', async () => {
  const [node] = others as [LocalNode]
  await until(
    'the removal',
    async () => ((await call(node, 'POST', 'sys/storage/raft/remove-peer', { server_id: robbed.id })).status < 300 ? true : null),
    30_000,
  )
  await until(
    'silence',
    async () => {
      const before = heard.length
      await delay(1_000)
      return heard.length === before ? true : null
    },
    30_000,
  )
  for (const to of others) await expect(transport.request(to.id, 'forward', Buffer.from('{}'), 3_000)).rejects.toThrow()
  await written('without him')
  expect(await readEverywhere()).toEqual(['without him', 'without him'])
})
