/** A peer with a member's identity and without the barrier's key (design, rung 40): a thief, for short. */
import { afterEach, describe, expect, test } from 'vitest'
import { encodeMembershipChange } from '#raft/index.ts'
import { EntryType, MessageType, type Entry, type Message } from '#raft/types.ts'
import { macOf } from '#replica/authenticator.ts'
import { encodeCommand, signedParts, writeMacs } from '#replica/command.ts'
import { encodeUpdate } from '#replica/directory.ts'
import { origin } from '#replica/links.ts'
import { decodeHeader, encodeHeader } from '#replica/snapshots.ts'
import { testAuthenticator } from '#test/support/authenticator.ts'
import { bytes, clusterId, key, read, TestCluster, write } from './cluster.ts'

let cluster: TestCluster
afterEach(() => cluster.end())

const newCluster = (settings = {}): TestCluster => (cluster = new TestCluster(settings))
const scope = { clusterId, incarnation: 1 }

function command(name: string, value: string): Uint8Array {
  const ops = [{ key: key(name), value: bytes(value) }]
  return encodeCommand({ timeMs: 1, sections: [{ section: new Uint8Array([1]), ops }], directory: null })
}

/** A command signed under `keyName`, for `place`. */
function signed(keyName: string, data: Uint8Array, place: { index: number; term: number }, prev: Uint8Array): Uint8Array {
  const mac = macOf(testAuthenticator(keyName), 'command', scope, [place.index, place.term, prev, ...(signedParts(data) ?? [])])
  writeMacs(data, mac, prev)
  return data
}

/** What `node` has under `name`, whatever anybody confirms. */
function held(node: { view(): { get(key: Uint8Array): Uint8Array | undefined; release(): void } }, name: string): string | undefined {
  const view = node.view()
  const value = view.get(key(name))
  view.release()
  return value === undefined ? undefined : Buffer.from(value).toString()
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))

/** `victim` alone with a thief that has the identity of `thief` and leads a later term. Returns how the thief speaks. */
async function besieged(ids: readonly string[], sealed = false) {
  await newCluster().grow('a', 'b', 'c')
  const leader = await cluster.leader()
  const [victim, other] = [...cluster.nodes.values()].filter((node) => node !== leader)
  if (victim === undefined || other === undefined) throw new Error(ids.join())
  await write(leader, { x: 'true' })
  await expect
    .poll(() => [victim.status().applied, leader.status().applied], { interval: 10 })
    .toEqual(expect.arrayContaining([leader.status().applied]))
  await expect.poll(() => victim.status().applied === victim.status().lastIndex && held(victim, 'x') === 'true').toBe(true)
  if (sealed) victim.setAuthenticator(null)
  const { lastIndex, term } = victim.status()
  cluster.cut.add(victim.nodeId)
  const thief = { term: term + 5, lastIndex, lastTerm: cluster.logs.get(victim.nodeId)?.term(lastIndex) ?? term }
  const say = (message: Partial<Message> & Pick<Message, 'type'>): void =>
    victim.onMessage(other.nodeId, { version: 1, from: other.nodeId, to: victim.nodeId, term: thief.term, ...message })
  return { victim, thief, other, leader, say }
}

type Siege = Awaited<ReturnType<typeof besieged>>

function append({ say, thief }: Siege, entries: readonly Omit<Entry, 'index' | 'term'>[]): void {
  const placed = entries.map((entry, at) => ({ index: thief.lastIndex + 1 + at, term: thief.term, ...entry }))
  say({
    type: MessageType.append,
    logIndex: thief.lastIndex,
    logTerm: thief.lastTerm,
    commit: thief.lastIndex + entries.length,
    entries: placed,
  })
}

describe('an unsealed node', () => {
  const forgeries: Record<string, (siege: Siege) => Uint8Array> = {
    'without a MAC': () => command('x', 'forged'),
    'under another key': ({ thief }) =>
      signed("the thief's key", command('x', 'forged'), { index: thief.lastIndex + 1, term: thief.term }, origin),
    'of another index': ({ thief }) =>
      signed('the key of the cluster', command('x', 'forged'), { index: thief.lastIndex, term: thief.term }, origin),
    'of another term': ({ thief }) =>
      signed('the key of the cluster', command('x', 'forged'), { index: thief.lastIndex + 1, term: thief.term - 1 }, origin),
    'whose section was changed': ({ thief }) => {
      const data = signed('the key of the cluster', command('x', 'forge1'), { index: thief.lastIndex + 1, term: thief.term }, origin)
      data.set(bytes('forged'), Buffer.from(data).indexOf('forge1'))
      return data
    },
  }
  test.each(Object.keys(forgeries))('takes no command %s into its log', async (name) => {
    const siege = await besieged(['b'])
    append(siege, [{ type: EntryType.command, data: forgeries[name]?.(siege) ?? new Uint8Array() }])
    await wait(100)
    expect([held(siege.victim, 'x'), siege.victim.status().lastIndex, siege.victim.status().failed]).toEqual([
      'true',
      siege.thief.lastIndex,
      null,
    ])
  })

  test('takes no change of the membership that no unsealed leader made, and no update beside the leaving of a joint one', async () => {
    const siege = await besieged(['b'])
    const put = { ...cluster.member('z'), voter: true }
    const joining = { steps: [{ kind: 'add-learner' as const, node: 'z' }], joint: 'auto' as const, context: encodeUpdate({ put }) }
    const leaving = { steps: [], joint: 'leave' as const, context: encodeUpdate({ put: { ...cluster.member('a'), fingerprint: 'thief' } }) }
    for (const change of [joining, leaving]) append(siege, [{ type: EntryType.membership, data: encodeMembershipChange(change) }])
    await wait(100)
    expect(siege.victim.status().members.map(({ fingerprint }) => fingerprint)).toEqual(['print-a', 'print-b', 'print-c'])
    expect([siege.victim.status().lastIndex, cluster.accepted.get(siege.victim.nodeId)]).toEqual([siege.thief.lastIndex, ['a', 'b', 'c']])
  })

  test('follows nobody who leaves a link out: a genuine command that does not continue what is applied stops it', async () => {
    const siege = await besieged(['b'])
    const other = new Uint8Array(32).fill(7)
    const data = signed(
      'the key of the cluster',
      command('x', 'skipped'),
      { index: siege.thief.lastIndex + 1, term: siege.thief.term },
      other,
    )
    append(siege, [{ type: EntryType.command, data }])
    await expect.poll(() => siege.victim.status().failed).toContain('continue the chain')
    expect(held(siege.victim, 'x')).toBe('true')
  })

  test('still takes an empty entry of whoever leads: it says nothing', async () => {
    const siege = await besieged(['b'])
    append(siege, [{ type: EntryType.empty, data: new Uint8Array(0) }])
    await expect.poll(() => siege.victim.status().applied).toBe(siege.thief.lastIndex + 1)
    expect(siege.victim.status().failed).toBeNull()
  })

  test('believes no read index without its proof, nor one that was made for another question', async () => {
    const siege = await besieged(['b'])
    append(siege, []) // Now it follows the thief.
    await expect.poll(() => siege.victim.status().leader).toBe(siege.other.nodeId)
    const asked: Message[] = []
    cluster.onSend = (from, message) => void (from === siege.victim.nodeId && message.type === MessageType.readIndex && asked.push(message))
    const reading = siege.victim.readIndex(400)
    // At once: a question that nobody answers is given up after an election timeout, and whatever comes then is refused anyway.
    await expect.poll(() => asked.length, { interval: 2 }).toBeGreaterThan(0)
    const context = asked.at(-1)?.context ?? -1
    const answer = { type: MessageType.readIndexReply, context, logIndex: siege.thief.lastIndex, leaderTimeMs: 5 }
    const { nodeId: to } = siege.victim
    const proofOf = (parts: readonly (string | number)[], name?: string): Uint8Array =>
      macOf(testAuthenticator(name), 'read index', scope, parts)
    const parts = [siege.other.nodeId, to, siege.thief.term, context, siege.thief.lastIndex, 5]
    const sayProven = (proof?: Uint8Array): void => siege.say({ ...answer, ...(proof === undefined ? {} : ({ proof } as object)) })
    sayProven()
    sayProven(new Uint8Array(32))
    sayProven(proofOf(parts, "the thief's key"))
    sayProven(proofOf(parts.with(3, context + 1)))
    sayProven(proofOf(parts.with(1, 'c2')))
    sayProven(proofOf(parts.with(4, 1)))
    await expect(reading).rejects.toMatchObject({ code: 'ERR_NO_LEADER' })
    // With the key it would have been one: the test asks the right question.
    append(siege, [])
    await expect.poll(() => siege.victim.status().leader).toBe(siege.other.nodeId)
    asked.length = 0
    const again = siege.victim.readIndex(1_000)
    await expect.poll(() => asked.length, { interval: 5 }).toBeGreaterThan(0)
    const { context: next = -1 } = asked.at(-1) ?? {}
    const proof = proofOf(parts.with(3, next))
    siege.say({ ...answer, context: next, ...({ proof } as object) })
    await expect(again).resolves.toMatchObject({ index: siege.thief.lastIndex })
  })

  test('installs no snapshot without a proof, nor with that of another state', async () => {
    await newCluster().grow('a', 'b')
    const leader = await cluster.leader()
    await write(leader, { x: 'true' })
    const headers: Uint8Array[] = []
    const bodies: Uint8Array[][] = []
    cluster.onSnapshot = (header, chunks) => void (headers.push(header), bodies.push(chunks))
    // What an honest leader sends to a node that joins.
    await cluster.start('c')
    await leader.addMember(cluster.member('c', false))
    await expect.poll(() => headers.length).toBeGreaterThan(0)
    await expect.poll(() => held(cluster.node('c'), 'x')).toBe('true')
    const { proof, ...rest } = decodeHeader(headers[0] ?? new Uint8Array())
    expect(proof).not.toBeNull()
    const joined = await cluster.start('d')
    const send = (forged: Uint8Array | null): Promise<void> =>
      joined.onSnapshot('a', encodeHeader({ ...rest, proof: forged }), chunksOf(bodies[0] ?? []))
    const bent = Uint8Array.from(proof ?? []).with(40, (proof?.[40] ?? 0) ^ 0xff)
    const refused = { code: 'ERR_PEER_REFUSED' }
    await expect(send(null)).rejects.toMatchObject(refused)
    await expect(send(bent)).rejects.toMatchObject(refused)
    await write(leader, { x: 'later' })
    const later = await cluster.start('e')
    await leader.addMember(cluster.member('e', false))
    await expect.poll(() => held(later, 'x')).toBe('later')
    // A proof that holds, and another state.
    await expect(send(decodeHeader(headers.at(-1) ?? new Uint8Array()).proof)).rejects.toMatchObject(refused)
    expect(joined.status().applied).toBe(0)
  })

  test("raises its term no faster than elections can, however far a peer's request reaches", async () => {
    const { victim, say } = await besieged(['b'])
    const { term } = victim.status()
    for (const far of [2 ** 53 - 1, 2 ** 52, term + 100_000_000]) {
      say({ type: MessageType.vote, term: far, logIndex: 1_000, logTerm: far - 1, force: true })
      say({ type: MessageType.append, term: far, logIndex: 0, logTerm: 0, commit: 0, entries: [] })
    }
    await wait(60)
    expect(victim.status().term).toBeLessThan(term + 10)
    // A million at once is what a node takes that slept for years; the next million is not to be had.
    const near = victim.status().term + 900_000
    say({ type: MessageType.vote, term: near, logIndex: 1_000, logTerm: near - 1, force: true })
    await expect.poll(() => victim.status().term).toBe(near)
    say({ type: MessageType.vote, term: near + 900_000, logIndex: 1_000, logTerm: near, force: true })
    await wait(60)
    expect(victim.status().term).toBeLessThan(near + 10)
  })
})

async function* chunksOf(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const chunk of chunks) yield chunk
}

describe('a sealed node', () => {
  test('applies what it is told, and finds out when it is opened: it stays sealed and says so', async () => {
    const siege = await besieged(['b'], true)
    append(siege, [{ type: EntryType.command, data: command('x', 'forged') }])
    await expect.poll(() => held(siege.victim, 'x')).toBe('forged')
    expect(() => siege.victim.setAuthenticator(testAuthenticator())).toThrow(expect.objectContaining({ code: 'ERR_UNPROVEN' }))
    expect(siege.victim.status()).toMatchObject({ failed: expect.stringContaining('unsealed leader made'), ready: false })
    await expect(siege.victim.readIndex(100)).rejects.toMatchObject({ code: 'ERR_UNPROVEN' })
  })

  // What docs/internals/stolen-identity.md owns up to: raft knows an entry by index and term.
  test('takes the genuine entry of the same index and term for what it holds already, and acknowledges it', async () => {
    const siege = await besieged(['b'], true)
    const { victim, thief } = siege
    const place = thief.lastIndex + 1
    const holds = (): readonly Entry[] => cluster.logs.get(victim.nodeId)?.entries(place, place + 1, 1_000_000) ?? []
    const forged = command('x', 'forged')
    append(siege, [{ type: EntryType.command, data: forged }])
    await expect.poll(() => holds().length).toBe(1)
    append(siege, [
      {
        type: EntryType.command,
        data: signed('the key of the cluster', command('x', 'genuine'), { index: place, term: thief.term }, new Uint8Array(32)),
      },
    ])
    append({ ...siege, thief: { ...thief, lastIndex: place, lastTerm: thief.term } }, [{ type: EntryType.empty, data: new Uint8Array(0) }])
    await expect.poll(() => victim.status().lastIndex).toBe(place + 1)
    expect(Buffer.compare(holds()[0]?.data ?? forged.subarray(1), forged)).toBe(0)
  })

  test('finds out after a restart as well, and in what it took from a leader that left links out', async () => {
    const siege = await besieged(['b'], true)
    const { index, term } = { index: siege.thief.lastIndex + 1, term: siege.thief.term }
    const data = signed('the key of the cluster', command('x', 'skipped'), { index, term }, new Uint8Array(32).fill(7))
    append(siege, [{ type: EntryType.command, data }])
    await expect.poll(() => held(siege.victim, 'x')).toBe('skipped')
    const { nodeId } = siege.victim
    await cluster.kill(nodeId)
    const again = await cluster.start(nodeId, false, { sealed: true })
    expect(() => again.setAuthenticator(testAuthenticator())).toThrow(expect.objectContaining({ code: 'ERR_UNPROVEN' }))
  })

  test('serves what honest leaders wrote meanwhile, once it is opened', async () => {
    await newCluster().grow('a', 'b', 'c')
    const leader = await cluster.leader()
    const [sealed] = [...cluster.nodes.values()].filter((node) => node !== leader)
    sealed?.setAuthenticator(null)
    for (let at = 0; at < 20; at += 1) await write(leader, { x: String(at) })
    await leader.addMember(cluster.member('z', false))
    const { nodeId = '' } = sealed ?? {}
    await expect.poll(() => held(cluster.node(nodeId), 'x')).toBe('19')
    await cluster.kill(nodeId)
    const again = await cluster.start(nodeId)
    expect(await read(again, 'x')).toBe('19')
  })

  test('keeps of its log what it has not checked, until a leader has vouched for a state that it had too', async () => {
    newCluster({ trailingEntries: 4, checkpointEntries: 64 })
    await cluster.grow('a', 'b', 'c')
    const leader = await cluster.leader()
    const [sealed] = [...cluster.nodes.values()].filter((node) => node !== leader)
    if (sealed === undefined) throw new Error('no follower')
    await write(leader, { x: 'before' })
    await expect.poll(() => held(sealed, 'x')).toBe('before')
    sealed.setAuthenticator(null)
    const from = sealed.status().applied
    const log = cluster.logs.get(sealed.nodeId)
    const boundary = Math.ceil((from + 1) / 64) * 64
    while (leader.status().applied < boundary - 2) await write(leader, { x: String(leader.status().applied) })
    await wait(600)
    expect(log?.firstIndex()).toBeLessThanOrEqual(from + 1)
    while (leader.status().applied < boundary + 20) await write(leader, { x: 'last' })
    await expect.poll(() => log?.firstIndex(), { timeout: 5_000 }).toBeGreaterThan(from + 1)
    expect(log?.firstIndex()).toBeLessThanOrEqual(boundary + 1)
    await cluster.kill(sealed.nodeId)
    const again = await cluster.start(sealed.nodeId)
    expect(await read(again, 'x')).toBe('last')
  })

  test('takes no snapshot that nobody vouches for: it keeps what it can check itself, and takes one that somebody does', async () => {
    await newCluster().grow('a', 'b')
    const leader = await cluster.leader()
    const chunks: Uint8Array[][] = []
    const headers: Uint8Array[] = []
    cluster.onSnapshot = (header, body) => void (headers.push(header), chunks.push(body))
    const sealed = await cluster.start('c', false, { sealed: true })
    cluster.cut.add('c')
    await leader.addMember(cluster.member('c', false))
    const probe = await cluster.start('d')
    await leader.addMember(cluster.member('d', false))
    await expect.poll(() => headers.length).toBeGreaterThan(0)
    await expect.poll(() => probe.status().applied).toBeGreaterThan(0)
    const { proof, ...rest } = decodeHeader(headers[0] ?? new Uint8Array())
    cluster.cut.delete('c')
    cluster.cut.add('a').add('b').add('d')
    await expect(sealed.onSnapshot('a', encodeHeader({ ...rest, proof: null }), chunksOf(chunks[0] ?? []))).rejects.toMatchObject({
      code: 'ERR_PEER_REFUSED',
    })
    expect(sealed.status()).toMatchObject({ applied: 0, failed: null })
    // Opened while a state is on its way in: between the installation and the moment from which the log begins behind it.
    const state = cluster.states.get('c')
    if (state === undefined) throw new Error('no state')
    const install = state.install.bind(state)
    state.install = async (meta, onVisible) => {
      await install(meta, onVisible)
      sealed.setAuthenticator(testAuthenticator())
    }
    await sealed.onSnapshot('a', encodeHeader({ ...rest, proof }), chunksOf(chunks[0] ?? []))
    await expect.poll(() => sealed.status().applied).toBe(rest.index)
    expect(sealed.status().failed).toBeNull()
  })
})
