/** A retried write is applied once: over a cluster of cores that really forward, with leaders that change and answers that get lost. */
import { beforeEach, describe, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { nodeName, Once, onceSection } from '#core/once.ts'
import { onceJobs } from '#core/once-sweep.ts'
import type { EngineDef, Request } from '#core/types.ts'
import { openHouse } from '#test/support/core-house.ts'
import { makeHarness } from './harness.ts'

type House = Awaited<ReturnType<typeof openHouse>>
let house: House

beforeEach(async () => {
  house = await openHouse(3)
  expect((await house.node.write('sys/mounts/secret', { type: 'kv', options: { version: '2' } })).status).toBe(204)
})

const put = (value: string, over: Partial<Request> = {}): Partial<Request> => ({
  operation: 'update',
  method: 'POST',
  path: 'secret/data/a',
  body: { data: { value } },
  ...over,
})
const versionOf = async (path = 'secret/metadata/a'): Promise<number> => {
  const answer = await house.node.read(path)
  return answer.status === 404 ? 0 : (answer.body.data.current_version as number)
}
/** Fails the next proposal of a node as a leader does that loses its place: `after` it was committed, or before. */
const loseAnswer = (position: number, committed: boolean): void => {
  const replica = house.cluster.node(position)
  const lost = new HoldfastError('ERR_OUTCOME_UNKNOWN', 'leadership was lost while this write was in flight', { hint: 'h' })
  const propose = replica.propose.bind(replica)
  replica.propose = async (proposal) => {
    replica.propose = propose
    if (committed) await propose(proposal)
    throw lost
  }
}
/** Lets polls run. */
const passTime = async (ms: number): Promise<void> => {
  for (let passed = 0; passed < ms; passed += 50) {
    for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    house.clock.advance(50)
  }
}

describe("with the client's own id", () => {
  test('a repetition changes nothing and has the first answer, on every node', async () => {
    const first = await house.node.ask(put('x', { retryId: 'id-1' }))
    expect(first).toMatchObject({ status: 200, body: { data: { version: 1 } } })
    expect(first.headers['x-holdfast-replayed']).toBeUndefined()
    for (const node of house.house) {
      const again = await node.ask(put('x', { retryId: 'id-1' }))
      expect(again.text).toBe(first.text)
      expect(again.headers['x-holdfast-replayed']).toBe('true')
    }
    expect(await versionOf()).toBe(1)
  })

  test('without an id, and with another, it is another request', async () => {
    for (const retryId of ['id-1', 'id-2', undefined, undefined]) await house.node.ask(put('x', retryId === undefined ? {} : { retryId }))
    expect(await versionOf()).toBe(4)
  })

  test('many at once are carried out once', async () => {
    const answers = await Promise.all(Array.from({ length: 24 }, (_, at) => house.house[at % 3]!.ask(put('x', { retryId: 'same' }))))
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
    expect(answers.filter(({ headers }) => headers['x-holdfast-replayed'] === undefined)).toHaveLength(1)
    expect(await versionOf()).toBe(1)
  })

  test.each<[string, Partial<Request>]>([
    ['body', { body: { data: { value: 'y' } } }],
    ['path', { path: 'secret/data/b' }],
    ['operation', { operation: 'patch', method: 'PATCH' }],
    ['query', { query: { a: '1' } }],
    ['wrapping', { wrapTtlSeconds: 60 }],
  ])('another %s under the id is refused, and nothing is done', async (_what, over) => {
    await house.node.ask(put('x', { retryId: 'id-1' }))
    expect(await house.node.ask(put('x', { retryId: 'id-1', ...over }))).toMatchObject({
      status: 400,
      body: { code: 'ERR_REQUEST_ID_REUSED' },
    })
    expect(await versionOf()).toBe(1)
    expect(await versionOf('secret/metadata/b')).toBe(0)
  })

  test("another token's same id is another request, and its answer is not shown", async () => {
    const token = await tokenWith('path "secret/*" { capabilities = ["create", "update"] }')
    await house.node.ask(put('x', { retryId: 'id-1' }))
    expect(await house.node.ask(put('x', { retryId: 'id-1', token }))).toMatchObject({ status: 200, body: { data: { version: 2 } } })
    expect((await house.node.ask(put('x', { retryId: 'id-1', token: 's.unknown' }))).status).toBe(403)
  })

  test('a repetition is authorised anew, as the operation that it was', async () => {
    const token = await tokenWith('path "secret/*" { capabilities = ["create"] }')
    expect((await house.node.ask(put('x', { retryId: 'id-1', token }))).status).toBe(200)
    expect((await house.node.ask(put('x', { retryId: 'id-1', token }))).headers['x-holdfast-replayed']).toBe('true')
    expect((await house.node.ask(put('x', { retryId: 'id-2', token }))).status, 'now it would be an update').toBe(403)
    await house.node.write('sys/policies/acl/p', { policy: 'path "other/*" { capabilities = ["read"] }' })
    expect((await house.node.ask(put('x', { retryId: 'id-1', token }))).status).toBe(403)
  })

  test('what wrote nothing is evaluated again', async () => {
    const cas = put('x', { retryId: 'id-1', body: { data: { value: 'x' }, options: { cas: 1 } } })
    expect((await house.node.ask(cas)).status).toBe(400)
    await house.node.ask(put('before'))
    expect(await house.node.ask(cas)).toMatchObject({ status: 200, body: { data: { version: 2 } } })
  })

  test("a token's only use is used once, whether the request succeeds or fails", async () => {
    const once = await tokenWith('path "secret/*" { capabilities = ["create", "update"] }', { num_uses: 1 })
    const first = await house.node.ask(put('x', { retryId: 'id-1', token: once }))
    expect(first.status).toBe(200)
    expect((await house.node.ask(put('x', { retryId: 'id-1', token: once }))).text).toBe(first.text)
    expect((await house.node.ask(put('x', { retryId: 'id-2', token: once }))).status).toBe(403)
    const twice = await tokenWith('path "secret/*" { capabilities = ["create", "update"] }', { num_uses: 2 })
    for (let n = 0; n < 4; n += 1)
      expect((await house.node.ask(put('x', { retryId: 'id-3', token: twice, path: 'other/a' }))).status, `sending ${n}`).toBe(403)
    expect((await house.node.ask(put('x', { token: twice }))).status, 'one use is left').toBe(200)
    expect((await house.node.ask(put('x', { token: twice }))).status).toBe(403)
  })

  test('an ended token is good for a repetition only as long as its parent is, and it would have lived', async () => {
    const parent = await tokenWith('path "*" { capabilities = ["create", "update", "sudo"] }')
    const child = (await house.node.write('auth/token/create', { num_uses: 1, policies: ['p'], ttl: '1h' }, parent)).body.auth.client_token
    await house.node.ask(put('x', { retryId: 'id-1', token: child }))
    expect((await house.node.ask(put('x', { retryId: 'id-1', token: child }))).status).toBe(200)
    await house.node.write('auth/token/revoke', { token: parent })
    expect((await house.node.ask(put('x', { retryId: 'id-1', token: child }))).status).toBe(403)
    const short = await tokenWith('path "*" { capabilities = ["create", "update"] }', { num_uses: 1, ttl: '60s' })
    await house.node.ask(put('x', { retryId: 'id-2', token: short }))
    house.clock.advance(61_000)
    expect((await house.node.ask(put('x', { retryId: 'id-2', token: short }))).status).toBe(403)
  })

  test('a wrapping token is made once, and opened once for good', async () => {
    const wrap = { ...put('x', { path: 'sys/wrapping/wrap', retryId: 'w-1', wrapTtlSeconds: 60 }) }
    const first = await house.node.ask(wrap)
    const again = await house.node.ask(wrap)
    expect(again.body.wrap_info.token).toBe(first.body.wrap_info.token)
    const unwrap: Partial<Request> = { operation: 'update', method: 'POST', path: 'sys/wrapping/unwrap', token: first.body.wrap_info.token }
    const opened = await house.node.ask({ ...unwrap, retryId: 'u-1' })
    expect(opened.status).toBe(200)
    expect((await house.node.ask({ ...unwrap, retryId: 'u-1' })).text).toBe(opened.text)
    expect((await house.node.ask({ ...unwrap, retryId: 'u-2' })).status).toBe(400)
  })

  test('a token that revokes itself hears again that it did', async () => {
    const token = await tokenWith('path "auth/token/revoke-self" { capabilities = ["update"] }')
    const revoke: Partial<Request> = { operation: 'update', method: 'POST', path: 'auth/token/revoke-self', token, retryId: 'r-1' }
    expect((await house.node.ask(revoke)).status).toBe(204)
    expect(await house.node.ask(revoke)).toMatchObject({ status: 204, headers: { 'x-holdfast-replayed': 'true' } })
    expect((await house.node.ask({ ...revoke, retryId: 'r-2' })).status).toBe(403)
  })

  test('an effect outside of the state is not repeated; one that failed may be', async () => {
    const stepDown: Partial<Request> = { operation: 'update', method: 'POST', path: 'sys/step-down', retryId: 's-1' }
    expect((await house.node.ask(stepDown)).status).toBe(204)
    expect(await house.node.ask(stepDown)).toMatchObject({ status: 500, body: { code: 'ERR_ANSWER_NOT_KEPT' } })
    expect(house.node.calls).toEqual(['step-down'])
  })

  test.each([[undefined], ['s-2']])(
    'an effect that a leader handed on instead is carried out by the next one (id: %s)',
    async (retryId) => {
      for (const from of [1, 0]) {
        house.cluster.elect('node-1')
        const calls = house.house.map((node) => ((node.calls.length = 0), node.calls))
        house.house[0]!.onCall = async () => {
          house.cluster.elect('node-3')
          throw new HoldfastError('ERR_NOT_LEADER', 'leadership was handed over: the next leader does it', { hint: 'h' })
        }
        const id = retryId === undefined ? {} : { retryId: `${retryId}-${from}` }
        const asked = house.house[from]!.ask({ operation: 'update', method: 'POST', path: 'sys/step-down', ...id })
        await passTime(1_000)
        expect((await asked).status).toBe(204)
        expect(calls).toEqual([['step-down'], [], ['step-down']])
      }
    },
  )

  test('is recorded: a repetition as a request of its own, and whose answer it has', async () => {
    await house.node.ask(put('x', { retryId: 'id-1', id: 'first' }))
    house.node.audit.length = 0
    await house.node.ask(put('x', { retryId: 'id-1', id: 'second' }))
    expect(house.node.audit).toMatchObject([
      { type: 'request', request: { id: 'second', retry_id: 'id-1', operation: 'create' } },
      { type: 'response', request: { id: 'second' }, response: { status: 200, replay_of: 'first', data: { version: 1 } } },
    ])
  })

  test('a leader that loses its place in the middle asks the next one', async () => {
    for (const committed of [true, false]) {
      const version = await versionOf()
      loseAnswer(0, committed)
      const asked = house.node.ask(put('x', { retryId: `lost-${committed}` }))
      await passTime(200)
      expect(await asked).toMatchObject({ status: 200, body: { data: { version: version + 1 } } })
      expect(await versionOf()).toBe(version + 1)
    }
  })
})

describe('a forwarded write', () => {
  test.each([
    ['that was committed', true],
    ['that was not', false],
  ])('%s when its leader fell silent is done once, and answered', async (_what, committed) => {
    loseAnswer(0, committed)
    const asked = house.house[1]!.ask(put('x'))
    await passTime(100)
    house.cluster.elect('node-3')
    await passTime(200)
    expect(await asked).toMatchObject({ status: 200, body: { data: { version: 1 } } })
    expect((await house.house[1]!.read('secret/metadata/a')).body.data.current_version).toBe(1)
  })

  test('also by the node itself that took it and leads now', async () => {
    for (const committed of [true, false]) {
      house.cluster.elect('node-1')
      const version = await versionOf()
      loseAnswer(0, committed)
      const asked = house.house[1]!.ask(put('x'))
      await passTime(20)
      house.cluster.elect('node-2')
      await passTime(200)
      expect(await asked).toMatchObject({ status: 200, body: { data: { version: version + 1 } } })
    }
  })

  test("its repetition is not authorised anew: what was carried out can't fail", async () => {
    const token = await tokenWith('path "secret/*" { capabilities = ["create"] }', { num_uses: 1 })
    loseAnswer(0, true)
    const asked = house.house[1]!.ask(put('x', { token }))
    await passTime(20)
    await house.node.write('sys/policies/acl/p', { policy: 'path "other/*" { capabilities = ["read"] }' })
    await passTime(200)
    expect(await asked).toMatchObject({ status: 200, body: { data: { version: 1 } } })
  })

  test('that was refused when it was repeated is not done by an earlier sending that comes behind it', async () => {
    const cas = { data: { value: 'x' }, options: { cas: 1 } }
    const sendings: Partial<Request>[] = [{ forwardedFrom: 'node-2', ticket: { boot: 1, slot: 7, serial: 1 } }, { retryId: 'id-1' }]
    for (const sending of sendings) {
      const straggler = put('x', { ...sending, body: cas, path: `secret/data/${sending.retryId ?? 'ticket'}` })
      expect((await house.node.ask({ ...straggler, repeated: true })).status).toBe(400)
      await house.node.ask(put('before', { path: straggler.path! }))
      expect((await house.node.ask(straggler)).status, 'without the first answer it would succeed now').toBe(400)
      expect((await house.node.ask({ ...put('x', { body: cas }), path: straggler.path! })).status).toBe(200)
    }
  })

  test('is superseded by the next request of its slot', async () => {
    const send = (serial: number, boot = 1): ReturnType<typeof house.node.ask> =>
      house.node.ask(put('x', { forwardedFrom: 'node-2', ticket: { boot, slot: 0, serial } }))
    await send(1)
    await send(2)
    expect(await send(1)).toMatchObject({ status: 500, body: { code: 'ERR_ANSWER_NOT_KEPT' } })
    await send(1, 2)
    expect((await send(3)).status, 'of a run that has ended').toBe(500)
    expect(await versionOf()).toBe(3)
  })

  test('of another life of the cluster is not done: it may come late, and what it did may be gone', async () => {
    const send = (more: object): ReturnType<typeof house.node.ask> =>
      house.node.ask(put('x', { forwardedFrom: 'node-2', ticket: { boot: 1, slot: 0, serial: 1, ...more } }))
    for (const repeated of [false, true])
      expect(await send({ incarnation: 2, repeated })).toMatchObject({ status: 500, body: { code: 'ERR_ANSWER_NOT_KEPT' } })
    expect(await versionOf()).toBe(0)
    expect((await send({ incarnation: 1 })).status).toBe(200)
  })

  test('that is refused for want of a token or a right leaves nothing, however often it is repeated', async () => {
    const token = await tokenWith('path "secret/*" { capabilities = ["read"] }')
    const before = house.cluster.log.length
    for (const by of ['s.unknown', null, token])
      expect((await house.node.ask(put('x', { token: by, retryId: 'id-1', repeated: true }))).status).toBe(403)
    const unwrap: Partial<Request> = { path: 'sys/wrapping/unwrap', token: null, retryId: 'id-1', repeated: true, body: { token: 'hvs.x' } }
    expect((await house.node.ask(put('', unwrap))).status).toBe(400)
    expect(house.cluster.log.length).toBe(before)
  })

  test('uses no more slots than it has requests under way', async () => {
    for (let n = 0; n < 20; n += 1) await house.house[1]!.ask(put(`x${n}`))
    await Promise.all(Array.from({ length: 5 }, (_, n) => house.house[1]!.ask(put('y', { path: `secret/data/p${n}` }))))
    expect((await records('node')).length).toBeLessThanOrEqual(5)
  })
})

describe('a repetition whose handler fails after it wrote', () => {
  /** A path that writes, and then fails as long as it is told to. */
  const open = async () => {
    const state = { fails: true }
    const engine: EngineDef = {
      type: 'notes',
      kind: 'secret',
      description: 'notes',
      paths: () => [
        {
          pattern: 'note/:name',
          fields: { name: { type: 'string', description: 'name', in: 'path' } },
          help: { synopsis: 's', description: 'd' },
          operations: {
            update: {
              summary: 'Write',
              writes: true,
              handler: async ({ storage }) => {
                storage.putJson('written', true)
                if (state.fails) throw new HoldfastError('ERR_BAD_REQUEST', 'not now')
                return null
              },
            },
          },
        },
      ],
    }
    const harness = await makeHarness([engine], [{ path: 'notes/', table: 'secret', type: 'notes' }])
    harness.addToken('thrice', { numUses: 3 })
    const ask = (over: Partial<Request>): ReturnType<typeof harness.ask> =>
      harness.ask({ operation: 'update', method: 'POST', path: 'notes/note/a', retryId: 'id-1', ...over })
    const written = (): boolean => [...harness.barrier.state.keys()].some((key) => key.endsWith('written'))
    return { state, ask, written, harness }
  }

  test('leaves its answer and nothing else', async () => {
    const { state, ask, written } = await open()
    expect((await ask({ repeated: true })).status).toBe(400)
    state.fails = false
    expect((await ask({})).body).toMatchObject({ errors: ['not now'] })
    expect(written()).toBe(false)
    expect((await ask({ retryId: 'id-2' })).status).toBe(204)
    expect(written()).toBe(true)
  })

  test('and has used its token once', async () => {
    const { ask, harness } = await open()
    for (const repeated of [false, true, true]) expect((await ask({ token: 'thrice', repeated })).status).toBe(400)
    expect(harness.tokenUses('thrice')).toBe(2)
  })
})

describe('the table', () => {
  const sweep = async (): Promise<void> => {
    const members = (): readonly string[] => house.cluster.nodes.flatMap(({ nodeId }) => (nodeId === removed ? [] : [nodeName(nodeId)]))
    for (const job of onceJobs({ barrier: house.at(0), members })) await job.run(house.clock.nowMs())
  }
  let removed: string | null = null
  beforeEach(() => {
    removed = null
  })

  test('keeps ids for ten minutes, and forgets them then', async () => {
    for (let n = 0; n < 3; n += 1) await house.node.ask(put('x', { retryId: `id-${n}` }))
    house.clock.advance(599_000)
    await sweep()
    expect((await house.node.ask(put('x', { retryId: 'id-1' }))).headers['x-holdfast-replayed']).toBe('true')
    expect((await records('client')).length).toBe(3)
    house.clock.advance(61_000)
    await sweep()
    expect(await records('client')).toEqual([])
    expect(await records('due')).toEqual([])
    expect((await house.node.ask(put('x', { retryId: 'id-1' }))).headers['x-holdfast-replayed']).toBeUndefined()
  })

  test('drops the slots of a node that was removed, and answers that lie there for long', async () => {
    await house.house[1]!.ask(put('x'))
    await house.house[2]!.ask(put('x'))
    await sweep()
    expect((await records('node')).length).toBe(2)
    removed = 'node-3'
    await sweep()
    expect((await records('node')).length).toBe(1)
    house.clock.advance(601_000)
    await sweep()
    expect(await records('node')).toEqual([])
  })

  test('is full at its bound, says so, and forgets nothing', async () => {
    const once = new Once(2)
    const key = (name: string) => ({
      path: `client/${name}`,
      fingerprint: '',
      byClient: true,
      sender: null,
      repeated: false,
      undoneId: null,
      counted: false,
    })
    const done = {
      requestId: 'r',
      operation: 'update',
      endedToken: null,
      answer: { status: 204, headers: {}, body: new Uint8Array(0) },
    } as const
    const nowMs = house.clock.nowMs()
    for (const name of ['a', 'b']) {
      once.checkRoom(nowMs, key(name))
      await house.at(0).transact(async (transaction) => once.put(transaction, key(name), done))
    }
    expect(() => once.checkRoom(nowMs, key('c'))).toThrow(/table of request ids is full/)
    once.checkRoom(nowMs, { ...key('node'), byClient: false })
    await house.at(0).read({ kind: 'linearizable' }, async (view) => expect((await once.find(view, key('a'))).kind).toBe('again'))
    once.checkRoom(nowMs + 60_000, key('c'))
  })

  test('a longer answer than it keeps is not given again, and the request is not repeated either', async () => {
    const wrapped = await house.node.ask(put('', { path: 'sys/wrapping/wrap', wrapTtlSeconds: 60, body: { long: 'x'.repeat(70_000) } }))
    const unwrap = put('', { path: 'sys/wrapping/unwrap', token: wrapped.body.wrap_info.token as string, body: {}, retryId: 'u-1' })
    expect((await house.node.ask(unwrap)).status).toBe(200)
    expect(await house.node.ask(unwrap)).toMatchObject({ status: 500, body: { code: 'ERR_ANSWER_NOT_KEPT' } })
  })
})

/** Every path of the table below `folder`. */
async function records(folder: string): Promise<string[]> {
  return house.at(0).read({ kind: 'linearizable' }, async (view) => {
    const below = async (path: string): Promise<string[]> => {
      const names = await view.list(onceSection, path)
      const found = await Promise.all(
        names.map(async (name) => (name.endsWith('/') ? below(`${path}/${name.slice(0, -1)}`) : [`${path}/${name}`])),
      )
      return found.flat()
    }
    return below(folder)
  })
}

async function tokenWith(policy: string, over: Record<string, unknown> = {}): Promise<string> {
  await house.node.write('sys/policies/acl/p', { policy })
  const made = await house.node.write('auth/token/create', { policies: ['p'], no_default_policy: true, ttl: '1h', ...over })
  return made.body.auth.client_token as string
}
