import { beforeEach, describe, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import type { EngineDef, PathDef } from '#core/types.ts'
import { makeHarness, type Harness } from './harness.ts'

let handlerRuns = 0

const notePath: PathDef = {
  pattern: 'note/:name',
  fields: {
    name: { type: 'string', in: 'path', description: 'its name' },
    text: { type: 'string', description: 'its text', required: true },
  },
  help: { synopsis: 'A note.', description: 'A note that is kept.' },
  exists: async ({ storage, fields }) => (await storage.get(String(fields.name))) !== null,
  operations: {
    read: {
      summary: 'Read',
      writes: false,
      handler: async ({ storage, fields }) => ((handlerRuns += 1), readNote(await storage.getJson(String(fields.name)))),
    },
    create: {
      summary: 'Make',
      writes: true,
      handler: async ({ storage, fields }) => (storage.putJson(String(fields.name), { text: fields.text }), null),
    },
    update: {
      summary: 'Change',
      writes: true,
      handler: async ({ storage, fields, operation }) => (
        storage.putJson(String(fields.name), { text: fields.text }),
        { warnings: [operation] }
      ),
    },
  },
}
const readNote = (note: unknown) => (note === null ? null : { data: note as Record<string, unknown> })

const otherPaths: readonly PathDef[] = [
  {
    pattern: 'fail',
    fields: {},
    help: { synopsis: 'Fails', description: 'Writes, then fails.' },
    operations: {
      update: {
        summary: 'Fail',
        writes: true,
        handler: async ({ storage }) => {
          storage.putJson('half', {})
          throw new HoldfastError('ERR_BAD_REQUEST', 'as asked')
        },
      },
      read: { summary: 'Bug', writes: false, handler: async () => JSON.parse('secret!') },
    },
  },
  {
    pattern: 'keys',
    fields: { limit: { type: 'int', in: 'query', description: 'at most' } },
    help: { synopsis: 'Keys', description: 'Keys' },
    operations: {
      list: {
        summary: 'List',
        writes: false,
        handler: async ({ fields }) => ({ data: { keys: ['a', 'b', 'c'].slice(0, Number(fields.limit ?? 3)) } }),
      },
    },
  },
  {
    pattern: 'nothing',
    fields: {},
    help: { synopsis: 'None', description: 'None' },
    operations: { list: { summary: 'List', writes: false, handler: async () => ({ data: { keys: [] } }) } },
  },
  {
    pattern: 'sneaky',
    fields: {},
    help: { synopsis: 'Writes though it says it does not', description: '' },
    operations: { read: { summary: 'Read', writes: false, handler: async ({ storage }) => (storage.put('x', new Uint8Array()), null) } },
  },
]

const engine: EngineDef = { type: 'notes', kind: 'secret', description: 'notes', paths: () => [notePath, ...otherPaths] }

let harness: Harness
beforeEach(async () => {
  handlerRuns = 0
  harness = await makeHarness([engine], [{ path: 'notes/', table: 'secret', type: 'notes' }])
})

const write = (name: string, body: Record<string, unknown> = { text: 'hello' }) =>
  harness.ask({ operation: 'update', method: 'POST', path: `notes/note/${name}`, body })

describe('an answer', () => {
  test('has the envelope, its keys in order', async () => {
    await write('a')
    const { text, status } = await harness.ask({ id: 'r1', path: 'notes/note/a' })
    expect(status).toBe(200)
    expect(text).toBe(
      '{"request_id":"r1","lease_id":"","renewable":false,"lease_duration":0,"data":{"text":"hello"},"wrap_info":null,"warnings":null,"auth":null}\n',
    )
  })

  test('of a write without a body is 204; with a warning 200; create and update are told apart by existence', async () => {
    expect(await write('a')).toMatchObject({ status: 204, body: null })
    expect(await write('a')).toMatchObject({ status: 200, body: { data: null, warnings: ['update'] } })
  })

  test('for nothing there is 404 without errors, and so is an empty list', async () => {
    expect(await harness.ask({ path: 'notes/note/none' })).toMatchObject({ status: 404, body: { errors: [] } })
    expect(await harness.ask({ operation: 'list', path: 'notes/nothing/' })).toMatchObject({ status: 404, body: { errors: [] } })
  })

  test('to wrong fields names each of them, and never the value', async () => {
    const answer = await write('a', { text: { deep: 'hunter2' } })
    expect(answer).toMatchObject({
      status: 400,
      body: { errors: ['error converting input for field "text": expected a string, got an object'] },
    })
    expect(answer.text).not.toContain('hunter2')
    expect(await write('a', {})).toMatchObject({
      status: 400,
      body: { errors: ['missing required field "text"'], code: 'ERR_BAD_REQUEST' },
    })
  })

  test('to a bug is "internal error" and nothing else', async () => {
    expect(await harness.ask({ path: 'notes/fail' })).toMatchObject({ status: 500, body: { errors: ['internal error'] } })
  })

  test('of a read path that writes is an error', async () => {
    expect((await harness.ask({ path: 'notes/sneaky' })).status).toBe(500)
  })
})

describe('who may', () => {
  test('a missing and an unknown token are told the same', async () => {
    for (const token of [null, '', 'unknown']) {
      expect(await harness.ask({ token, path: 'notes/note/a' })).toMatchObject({ status: 403, body: { errors: ['permission denied'] } })
    }
  })

  test('policy comes before the route: who has no right does not learn whether it exists', async () => {
    harness.addToken('weak', { policies: ['weak'] })
    harness.allows = () => false
    const there = await harness.ask({ token: 'weak', path: 'notes/note/a' })
    const missing = await harness.ask({ token: 'weak', path: 'no/such/route' })
    expect(there).toMatchObject({ status: 403, body: { errors: ['1 error occurred:\n\t* permission denied\n\n'] } })
    expect(missing.text).toBe(there.text)
    expect(await harness.ask({ path: 'no/such/route' })).toMatchObject({
      status: 404,
      body: { errors: ['no handler for route "no/such/route". route entry not found.'] },
    })
    expect((await harness.ask({ operation: 'delete', path: 'notes/note/a' })).status).toBe(405)
  })

  test('the policy is asked for create or update as existence has decided', async () => {
    harness.addToken('weak', { policies: ['weak'] })
    harness.allows = ({ operation }) => operation === 'create'
    const body = { text: 'x' }
    const once = { token: 'weak', operation: 'update', path: 'notes/note/n', body } as const
    expect((await harness.ask(once)).status).toBe(204)
    expect((await harness.ask(once)).status).toBe(403)
  })

  test("a policy's page limit reaches the list, its filter the answer", async () => {
    harness.addToken('weak', { policies: ['weak'] })
    harness.allows = () => ({ paginationLimit: 2 })
    expect((await harness.ask({ token: 'weak', operation: 'list', path: 'notes/keys/' })).body.data.keys).toEqual(['a', 'b'])
    harness.allows = ({ path }) => (path === 'notes/keys/' ? { listFilter: '{{ .path }}{{ .key }}' } : path === 'notes/keys/b')
    expect((await harness.ask({ token: 'weak', operation: 'list', path: 'notes/keys/' })).body.data.keys).toEqual(['b'])
    harness.allows = ({ path }) => (path === 'notes/keys/' ? { listFilter: '{{ .path }}{{ .secret }}' } : true)
    expect((await harness.ask({ token: 'weak', operation: 'list', path: 'notes/keys/' })).status).toBe(404)
  })
})

describe('a limited token', () => {
  const addLimited = (uses: number) => harness.addToken('few', { numUses: uses })

  test('counts reads, writes, refusals and failures alike, and ends with its last use', async () => {
    addLimited(4)
    await harness.ask({ token: 'few', path: 'notes/note/a' })
    expect(harness.tokenUses('few')).toBe(3)
    await harness.ask({ token: 'few', path: 'no/such' })
    expect(harness.tokenUses('few')).toBe(2)
    await harness.ask({ token: 'few', operation: 'update', path: 'notes/fail' })
    expect(harness.tokenUses('few')).toBe(1)
    expect((await harness.ask({ token: 'few', path: 'notes/note/a' })).status).toBe(404)
    expect((await harness.ask({ token: 'few', path: 'notes/note/a' })).status).toBe(403)
  })

  test('what a failing handler wrote is not committed with the use', async () => {
    addLimited(2)
    const before = [...harness.barrier.state.keys()]
    await harness.ask({ token: 'few', operation: 'update', path: 'notes/fail' })
    expect([...harness.barrier.state.keys()]).toEqual(before)
    expect(harness.tokenUses('few')).toBe(1)
  })

  test('on a follower goes to the leader', async () => {
    addLimited(2)
    harness.status.role = 'follower'
    expect((await harness.ask({ token: 'few', path: 'notes/note/a' })).body).toEqual({ from: 'leader' })
    expect(harness.tokenUses('few')).toBe(2)
  })
})

describe('where it is answered', () => {
  test('a follower reads itself, forwards writes, and records that it did', async () => {
    await write('a')
    harness.audit.length = 0
    harness.status.role = 'follower'
    expect((await harness.ask({ path: 'notes/note/a' })).status).toBe(200)
    expect(harness.forwarded).toHaveLength(0)
    expect((await write('b')).body).toEqual({ from: 'leader' })
    expect(harness.audit.map(({ type }) => type)).toEqual(['request', 'response', 'forward'])
    expect(harness.audit[2]).toMatchObject({ request: { forwarded_to: 'other' }, response: { status: 200 } })
    expect(harness.audit[2]!.request.data).toBeUndefined()
  })

  test('a forwarded request that finds no leader here is not forwarded again', async () => {
    harness.status.role = 'follower'
    const answer = await harness.ask({ operation: 'update', path: 'notes/note/a', body: { text: 'x' }, forwardedFrom: 'n2' })
    expect(answer).toMatchObject({ status: 503, body: { code: 'ERR_NOT_LEADER' } })
  })

  test('a write waits for a leader while there is none, and leads itself if it becomes one', async () => {
    harness.status.role = 'follower'
    harness.forward = async () => {
      throw new HoldfastError('ERR_NO_LEADER', 'nobody leads')
    }
    const asked = write('a')
    await harness.passTime(1_000)
    const notLeader = { errors: ['this node is not the leader'], hint: 'h', code: 'ERR_NOT_LEADER' }
    harness.forward = async () => ({ status: 503, headers: {}, body: Buffer.from(JSON.stringify(notLeader)) })
    await harness.passTime(1_000)
    harness.status.role = 'leader'
    await harness.passTime(100)
    expect((await asked).status).toBe(204)
    expect(harness.audit.map(({ type }) => type)).toEqual(['request', 'response'])
  })

  test('but not for ever; longer where it may have been carried out, and then it is not called undone', async () => {
    harness.status.role = 'follower'
    harness.forward = async () => {
      throw new HoldfastError('ERR_NO_LEADER', 'nobody leads')
    }
    const asked = write('a')
    await harness.passTime(6_000)
    expect(await asked).toMatchObject({ status: 503, body: { errors: ['nobody leads'] } })
    harness.forward = async () => {
      throw new HoldfastError('ERR_OUTCOME_UNKNOWN', 'perhaps')
    }
    const lost = write('a')
    await harness.passTime(1_000)
    harness.forward = async () => {
      throw new HoldfastError('ERR_NO_LEADER', 'nobody leads')
    }
    await harness.passTime(28_000)
    const busy = { status: 503, headers: {}, body: Buffer.from('{"errors":["busy"],"code":"ERR_BUSY"}') }
    harness.forward = async () => busy
    await harness.passTime(2_000)
    expect(await lost).toMatchObject({ status: 500, body: { errors: ['perhaps'] } })
    expect(harness.audit.map(({ type, error }) => [type, error])).toEqual([
      ['forward', 'nobody leads'],
      ['forward', 'perhaps'],
    ])
    expect(new Set(harness.forwarded.slice(-100).map(({ ticket }) => ticket?.serial)).size, 'one ticket for all sendings').toBe(1)
  })

  test('sealed: 503 with the text that clients know', async () => {
    harness.barrier.sealed = true
    expect(await harness.ask({ path: 'notes/note/a' })).toMatchObject({ status: 503, body: { errors: ['Vault is sealed'] } })
  })
})

describe('audit', () => {
  test('the request is recorded before the handler, once though it is evaluated twice, and the response after', async () => {
    harness.barrier.conflictNext = true
    await write('a')
    expect(harness.audit.map(({ type }) => type)).toEqual(['request', 'response'])
    expect(harness.audit[0]).toMatchObject({ request: { operation: 'create', mount_type: 'notes', data: { text: 'hello' } } })
    expect(harness.audit[1]).toMatchObject({ response: { status: 204 } })
  })

  test('what both records of a request say alike is one object, so that it is hashed once; the next request has its own', async () => {
    await write('a')
    await write('b')
    const [request, response, next] = harness.audit
    expect(response!.request).toBe(request!.request)
    expect(response!.auth).toBe(request!.auth)
    expect(next!.request).not.toBe(request!.request)
    expect(next!.request).toMatchObject({ path: 'notes/note/b' })
  })

  test('a refusal is recorded with its reason', async () => {
    await harness.ask({ token: 'unknown', path: 'notes/note/a' })
    expect(harness.audit.map(({ error }) => error)).toEqual(['permission denied', 'permission denied'])
  })

  test('without a record of the request nothing is done', async () => {
    harness.auditFails = ({ type }) => type === 'request'
    const before = new Map(harness.barrier.state)
    expect((await write('a')).status).toBe(500)
    expect(harness.barrier.state).toEqual(before)
    expect((await harness.ask({ path: 'notes/note/a' })).status).toBe(500)
    expect(handlerRuns).toBe(0)
  })

  test('without a record of the response the answer is not given, and a write says that it was done', async () => {
    harness.auditFails = ({ type }) => type === 'response'
    expect(await write('a')).toMatchObject({ status: 500, body: { code: 'ERR_DONE_NOT_AUDITED' } })
    expect(await harness.ask({ path: 'notes/note/a' })).toMatchObject({ status: 500 })
  })

  test('a write whose outcome nobody knows is not called undone since its record failed too', async () => {
    harness.status.role = 'follower'
    harness.forward = async () => {
      throw new HoldfastError('ERR_OUTCOME_UNKNOWN', 'unknown', { hint: 'look' })
    }
    harness.auditFails = ({ type }) => type === 'forward'
    const asked = write('a')
    await harness.passTime(31_000)
    expect(await asked).toMatchObject({ status: 500, body: { code: 'ERR_OUTCOME_UNKNOWN' } })
  })
})

test('help needs a token but no policy', async () => {
  harness.addToken('weak', { policies: ['weak'] })
  harness.allows = () => false
  const { body } = await harness.ask({ token: 'weak', operation: 'help', path: 'notes/note/a' })
  expect(body.help).toContain('A note.')
  expect(Object.keys(body.openapi.paths)).toEqual(['/notes/note/{name}'])
  expect((await harness.ask({ token: null, operation: 'help', path: 'notes/note/a' })).status).toBe(403)
})
