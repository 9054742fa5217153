import { describe, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { systemRandom } from '#base/random.ts'
import type { CoreResponse, Request } from '#core/types.ts'
import { ForwardSeal } from '#node/forward-seal.ts'
import { Forwarding } from '#node/forwarding.ts'
import { openBarriers } from '#test/support/open-barrier.ts'
import { parseJsonObject } from '#http/json.ts'

const request: Request = {
  id: 'r-1',
  operation: 'update',
  path: 'kv/a',
  namespace: '',
  token: 's.token-of-a-client',
  body: {},
  query: { version: '2' },
  headers: { 'x-a': 'b' },
  clientAddress: '10.1.2.3',
  wrapTtlSeconds: 60,
  method: 'POST',
  ticket: { boot: 1, slot: 0, serial: 1 },
}
const done: CoreResponse = { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from('{"data":"secret"}') }

type Carry = (sealed: Uint8Array, deliver: () => Promise<Uint8Array>) => Promise<Uint8Array>

/** Two nodes, node-1 leading; `carry` is the network between them. */
async function pair(
  carry: Carry = (_sealed, deliver) => deliver(),
  handle: (request: Request) => Promise<CoreResponse> = async () => done,
) {
  const { cluster, at } = await openBarriers(2)
  const seen: Request[] = []
  const make = (position: number, request_: (body: Uint8Array) => Promise<Uint8Array>) =>
    new Forwarding({
      barrier: at(position),
      random: systemRandom,
      replica: cluster.node(position),
      transport: () => ({ request: (_to, _kind, body) => request_(body) }),
      handle: async (one) => {
        seen.push(one)
        return handle(one)
      },
    })
  const leader = make(0, async () => new Uint8Array(0))
  const follower = make(1, (body) => carry(body, () => leader.answer('node-2', body)))
  return { follower, leader, seen, at, cluster }
}

const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (error: unknown) => (error instanceof HoldfastError ? error.code : String(error)),
  )

describe('a forwarded request', () => {
  test('arrives as it was, forwarded by whom the transport says, and its answer comes back', async () => {
    const { follower, seen } = await pair()
    const answer = await follower.forward({ ...request, forwardedFrom: 'somebody else', signal: new AbortController().signal })
    expect({ ...answer, body: Buffer.from(answer.body).toString() }).toEqual({ ...done, body: '{"data":"secret"}' })
    expect(seen).toEqual([{ ...request, forwardedFrom: 'node-2' }])
  })

  test.each([
    ['numbers of many digits', '{"n":12345678901234567890,"m":[1e400,0.1]}'],
    ['__proto__', '{"__proto__":{"a":1},"constructor":2}'],
    ['lone surrogates', '{"a":"\\ud800x"}'],
  ])('carries %s as the client sent them', async (_name, text) => {
    const { follower, seen } = await pair()
    await follower.forward({ ...request, body: parseJsonObject(Buffer.from(text), true) })
    expect(JSON.stringify(seen[0]!.body)).toBe(text)
  })

  test('shows the network, and whoever leads without the key, neither token nor answer', async () => {
    const carried: Uint8Array[] = []
    const { follower } = await pair(async (sealed, deliver) => {
      const answer = await deliver()
      carried.push(sealed, answer)
      return answer
    })
    await follower.forward(request)
    const text = carried.map((bytes) => Buffer.from(bytes).toString('latin1')).join()
    expect(carried).toHaveLength(2)
    for (const secret of ['token-of-a-client', 'kv/a', '10.1.2.3', 'secret']) expect(text).not.toContain(secret)
  })

  test("is believed only from a node that holds the barrier's key, for whom and from whom it was made", async () => {
    const { leader, seen, at } = await pair()
    const stranger = new ForwardSeal({ barrier: (await openBarriers()).barrier, random: systemRandom })
    const place = (from: string, to: string): string => `forward request ${JSON.stringify([from, to])}`
    expect(await codeOf(leader.answer('node-2', Buffer.from('{"request":{}}')))).toBe('ERR_PEER_REFUSED')
    expect(await codeOf(leader.answer('node-2', stranger.seal(place('node-2', 'node-1'), Buffer.from('x'))))).toBe('ERR_PEER_REFUSED')
    const member = new ForwardSeal({ barrier: at(1), random: systemRandom })
    for (const [from, to] of [
      ['node-3', 'node-1'],
      ['node-2', 'node-3'],
    ] as const)
      expect(await codeOf(leader.answer('node-2', member.seal(place(from, to), Buffer.from('x'))))).toBe('ERR_PEER_REFUSED')
    expect(await codeOf(leader.answer('node-2', member.seal(place('node-2', 'node-1'), Buffer.from('x'))))).toBe('ERR_FRAME')
    expect(seen).toHaveLength(0)
  })

  test("can't ask for the core's own operation", async () => {
    const { follower, seen } = await pair()
    expect(await codeOf(follower.forward({ ...request, operation: 'create' }))).toBe('ERR_FRAME')
    expect(seen).toHaveLength(0)
  })
})

test('a leader that hangs is not waited for once there is another', async () => {
  const { follower, cluster } = await pair(() => new Promise(() => {}))
  const asked = codeOf(follower.forward(request))
  cluster.elect('node-1')
  cluster.elect(null)
  expect(await Promise.race([asked, new Promise((resolve) => setImmediate(() => resolve('waits')))])).toBe('waits')
  cluster.elect('node-2')
  expect(await asked).toBe('ERR_OUTCOME_UNKNOWN')
})

test.each([
  ['none', undefined],
  ['a slot beyond its own', { boot: 1, slot: 1_024, serial: 1 }],
  ['a slot that is none', { boot: 1, slot: -1, serial: 1 }],
  ['a part of a serial', { boot: 1, slot: 0, serial: 1.5 }],
  ['a run that is no number', { boot: '1', slot: 0, serial: 1 } as never],
])('a ticket that is %s is refused', async (_what, ticket) => {
  const { follower, seen } = await pair()
  const { ticket: _none, ...rest } = request
  expect(await codeOf(follower.forward(ticket === undefined ? rest : { ...rest, ticket }))).toBe('ERR_FRAME')
  expect(seen).toHaveLength(0)
})

describe('what the client is told', () => {
  const fails =
    (code: ConstructorParameters<typeof HoldfastError>[0], data?: unknown): Carry =>
    async () => {
      throw new HoldfastError(code, 'x', { data })
    }
  test.each<[string, Carry, string]>([
    ['never sent', fails('ERR_UPSTREAM', { sent: false }), 'ERR_NO_LEADER'],
    ['sent, no answer', fails('ERR_UPSTREAM', { sent: true }), 'ERR_OUTCOME_UNKNOWN'],
    ['this node stops after it sent it', fails('ERR_SHUTTING_DOWN', { sent: true }), 'ERR_OUTCOME_UNKNOWN'],
    ['this node stops before', fails('ERR_SHUTTING_DOWN', { sent: false }), 'ERR_SHUTTING_DOWN'],
    ['the leader is a sealed caretaker', fails('ERR_SEALED'), 'ERR_NO_LEADER'],
    ['refused at the door', fails('ERR_BUSY', { sent: false }), 'ERR_BUSY'],
    ['the leader broke', fails('ERR_INTERNAL'), 'ERR_OUTCOME_UNKNOWN'],
    ['an answer that nobody unsealed gave', async () => Buffer.from('{"status":200}'), 'ERR_OUTCOME_UNKNOWN'],
  ])('%s', async (_name, carry, code) => {
    const { follower } = await pair(carry)
    expect(await codeOf(follower.forward(request))).toBe(code)
  })

  test("another request's answer is none", async () => {
    let first: Uint8Array | null = null
    const { follower } = await pair(async (_sealed, deliver) => (first ??= await deliver()))
    await follower.forward(request)
    expect(await codeOf(follower.forward(request))).toBe('ERR_OUTCOME_UNKNOWN')
  })

  test('a node that is sealed once the request is done knows that it may be', async () => {
    const leaderSeals = await pair(undefined, async () => {
      leaderSeals.at(0).seal()
      leaderSeals.leader.forget()
      return done
    })
    expect(await codeOf(leaderSeals.follower.forward(request))).toBe('ERR_OUTCOME_UNKNOWN')
    const followerSeals = await pair(async (_sealed, deliver) => {
      const answer = await deliver()
      followerSeals.at(1).seal()
      followerSeals.follower.forget()
      return answer
    })
    expect(await codeOf(followerSeals.follower.forward(request))).toBe('ERR_OUTCOME_UNKNOWN')
    expect(await codeOf(followerSeals.follower.forward(request))).toBe('ERR_SEALED')
  })
})
