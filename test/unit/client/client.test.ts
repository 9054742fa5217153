import { expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { Client, normalizeAddress } from '#client/client.ts'
import type { ClientOptions } from '#client/types.ts'
import { closedAddress, StubServer } from '#test/support/stub-server.ts'

const clientOf = (options: ClientOptions) => new Client({ timeoutMs: 5_000, ...options }, { clock: systemClock, random: systemRandom })
const sealed = { status: 503, json: { errors: ['Vault is sealed'] } }
const ok = (data: object) => ({ json: { data } })

test('reads, lists, writes, patches and deletes as the field does', async () => {
  await using stub = await StubServer.start((asked) => (asked.method === 'GET' ? ok({ keys: ['a'] }) : {}))
  await using client = clientOf({ addresses: [stub.address], token: 's.t', namespace: 'team', wrapTtl: '60s' })
  expect((await client.read('secret/a b', { version: '2' }))?.data).toEqual({ keys: ['a'] })
  expect(stub.last).toMatchObject({ method: 'GET', path: 'secret/a b', query: { version: '2' } })
  expect(stub.last.headers).toMatchObject({
    'x-vault-token': 's.t',
    'x-vault-namespace': 'team',
    'x-vault-wrap-ttl': '60s',
    'x-vault-request': 'true',
  })
  await client.list('/secret/')
  expect(stub.last).toMatchObject({ method: 'GET', path: 'secret/', query: { list: 'true' } })
  expect(await client.write('secret/a', { k: 1 })).toBeNull()
  expect(stub.last).toMatchObject({ method: 'POST', body: { k: 1 } })
  await client.patch('secret/a', { k: null })
  expect(stub.last).toMatchObject({ method: 'PATCH', body: { k: null } })
  expect(stub.last.headers['content-type']).toBe('application/merge-patch+json')
  await client.delete('secret/a')
  expect(stub.last).toMatchObject({ method: 'DELETE', body: undefined })
})

test('a 404 is null; with data it is the data; other refusals are typed and carry the words', async () => {
  await using stub = await StubServer.start((asked) => {
    if (asked.path === 'gone') return { status: 404, json: { data: { data: null, metadata: { version: 1 } } } }
    if (asked.path === 'none') return { status: 404, json: { errors: [] } }
    return { status: 403, json: { errors: ['permission denied'], hint: 'log in' } }
  })
  await using client = clientOf({ addresses: [stub.address], token: 's.secret-token' })
  expect(await client.read('none')).toBeNull()
  expect((await client.read('gone'))?.data).toMatchObject({ metadata: { version: 1 } })
  const error = await client.read('denied').catch((caught: unknown) => caught)
  expect(error).toMatchObject({ name: 'ApiError', status: 403, errors: ['permission denied'], hint: 'log in' })
  expect((error as Error).message).toBe(`GET ${stub.address}/v1/denied answered 403: permission denied`)
  expect(String((error as Error).stack)).not.toContain('secret-token')
})

test('an address where nobody listens is passed over, also for writes, and the good one is kept', async () => {
  await using stub = await StubServer.start(() => ({}))
  await using client = clientOf({ addresses: [await closedAddress(), stub.address] })
  await client.write('a', {})
  await client.write('a', {})
  expect(stub.asked).toHaveLength(2)
})

test('a sealed node is passed over; when all are sealed the answer comes at once', async () => {
  await using one = await StubServer.start(() => sealed)
  await using two = await StubServer.start((_, count) => (count === 1 ? ok({}) : sealed))
  await using client = clientOf({ addresses: [one.address, two.address] })
  await client.write('a', {})
  await expect(client.write('a', {})).rejects.toMatchObject({ status: 503, errors: ['Vault is sealed'] })
  expect([one.asked.length, two.asked.length]).toEqual([2, 2])
})

test.each([412, 429, 503])('a %d is tried again after a while, also for a write', async (status) => {
  await using stub = await StubServer.start((_, count) => (count < 3 ? { status, json: { errors: ['no leader'] } } : ok({ n: 1 })))
  await using client = clientOf({ addresses: [stub.address] })
  expect((await client.write('a', {}))?.data).toEqual({ n: 1 })
  expect(stub.asked).toHaveLength(3)
})

test('retries are bounded, and can be switched off', async () => {
  await using stub = await StubServer.start(() => ({ status: 503, json: { errors: ['no leader'] } }))
  await using client = clientOf({ addresses: [stub.address], retriesMax: 1 })
  await expect(client.read('a')).rejects.toMatchObject({ status: 503 })
  expect(stub.asked).toHaveLength(2)
  expect((await client.raw({ method: 'GET', path: 'sys/health', retry: false })).status).toBe(503)
  expect(stub.asked).toHaveLength(3)
})

test('a dropped read is repeated; a dropped write, too, under its id, and without one it is not, and says that it may have run', async () => {
  await using stub = await StubServer.start((asked, count) => (asked.method === 'POST' || count === 1 ? 'drop' : ok({})))
  await using other = await StubServer.start(() => ok({}))
  await using client = clientOf({ addresses: [stub.address, other.address] })
  await client.read('a')
  expect(other.asked).toHaveLength(1)
  await using both = clientOf({ addresses: [stub.address, other.address] })
  await expect(both.write('a', {}, { requestId: '' })).rejects.toMatchObject({ name: 'UnreachableError', mayHaveRun: true })
  expect(other.asked).toHaveLength(1)
  await both.write('a', {})
  const [first, again] = [stub.last, other.last].map(({ headers }) => headers)
  expect(first?.['x-holdfast-request-id']).toMatch(/^[0-9a-f-]{36}$/)
  expect(again?.['x-holdfast-request-id']).toBe(first?.['x-holdfast-request-id'])
  expect([first, again].map((headers) => headers?.['x-holdfast-request-repeated'])).toEqual([undefined, 'true'])
  await both.write('a', {})
  expect(other.last.headers['x-holdfast-request-id']).not.toBe(first?.['x-holdfast-request-id'])
  await both.read('a')
  expect(other.last.headers['x-holdfast-request-id']).toBeUndefined()
})

test.each([
  ['nobody knows', { status: 500, json: { errors: ['x'], code: 'ERR_OUTCOME_UNKNOWN', hint: 'h' } }],
  ['a proxy gave up', { status: 504, text: 'gateway' }],
])('a write of which %s is sent again, and not called undone by a refusal that follows', async (_what, lost) => {
  await using stub = await StubServer.start((_, count) =>
    count === 1 ? lost : count < 3 ? { status: 503, json: { errors: ['no leader'] } } : ok({ n: 1 }),
  )
  await using client = clientOf({ addresses: [stub.address] })
  expect((await client.write('a', {}))?.data).toEqual({ n: 1 })
  await using never = await StubServer.start((_, count) => (count === 1 ? lost : { status: 503, json: { errors: ['no leader'] } }))
  await using impatient = clientOf({ addresses: [never.address], retriesMax: 2 })
  await expect(impatient.write('a', {})).rejects.toMatchObject({ status: lost.status })
  expect(never.asked).toHaveLength(3)
})

test('a server that never answers costs no more than the timeout', async () => {
  await using stub = await StubServer.start(() => 'hang')
  await using client = clientOf({ addresses: [stub.address], timeoutMs: 150 })
  await expect(client.read('a')).rejects.toMatchObject({
    name: 'UnreachableError',
    mayHaveRun: false,
    message: expect.stringContaining('no answer in time'),
  })
})

test('nobody there: a message with the address and a hint', async () => {
  const address = await closedAddress()
  await using client = clientOf({ addresses: [address] })
  await expect(client.read('a')).rejects.toMatchObject({
    message: `GET ${address}/v1/a: connection refused`,
    hint: expect.stringContaining('HOLDFAST_ADDR'),
  })
})

test('a proxy page instead of JSON is an error of its status', async () => {
  await using stub = await StubServer.start(() => ({ status: 500, text: '<html>' }))
  await using client = clientOf({ addresses: [stub.address] })
  await expect(client.read('a')).rejects.toMatchObject({ status: 500, errors: [] })
})

test('paths and headers that would be something else on the wire are refused before they are sent', async () => {
  await using client = clientOf({ addresses: ['http://127.0.0.1:1'], token: 's.secret\n' })
  await expect(client.read('a')).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST', message: expect.not.stringContaining('s.secret') })
  await using plain = clientOf({ addresses: ['http://127.0.0.1:1'] })
  await expect(plain.read('a/../b')).rejects.toMatchObject({ code: 'ERR_RELATIVE_PATH' })
})

test.each([
  ['http://h:8200/', 'http://h:8200'],
  ['h:8200', 'http://h:8200'],
  ['https://h/prefix/v1/', 'https://h/prefix'],
])('the address %s is %s', (text, address) => {
  expect(normalizeAddress(text)).toBe(address)
})
test.each(['ftp://h', '', 'http://user@h'])('%j is no address', (text) => {
  expect(() => normalizeAddress(text)).toThrow('address expected a URL')
})

test('a mount called v1 is one like any other; one read is not wrapped though the client asks for it', async () => {
  await using stub = await StubServer.start(() => ok({}))
  await using client = clientOf({ addresses: [stub.address], wrapTtl: '60s' })
  await client.read('v1/a', {}, { wrapTtl: '' })
  expect(stub.last.path).toBe('v1/a')
  expect(stub.last.headers['x-vault-wrap-ttl']).toBeUndefined()
})

test('describe shows the request without sending it', async () => {
  await using client = clientOf({ addresses: ['http://h:1'], token: 's.t' })
  expect(client.describe({ method: 'POST', path: 'a', body: { k: 1 } })).toMatchObject({ url: 'http://h:1/v1/a', body: '{"k":1}' })
})

test('a call that gives up leaves no timer behind, whatever a server said of when to come back', async () => {
  let running = 0
  const clock: typeof systemClock = {
    ...systemClock,
    setTimer(delayMs, fire) {
      running += 1
      let over = false
      const end = (): void => {
        if (!over) running -= 1
        over = true
      }
      const timer = systemClock.setTimer(delayMs, () => {
        end()
        fire()
      })
      return {
        cancel: () => {
          end()
          timer.cancel()
        },
      }
    },
  }
  await using stub = await StubServer.start(() => ({ status: 429, json: { errors: ['slow'] }, headers: { 'retry-after': '3600' } }))
  const client = new Client({ addresses: [stub.address], timeoutMs: 200 }, { clock, random: systemRandom })
  expect((await client.raw({ method: 'GET', path: 'a' })).status).toBe(429)
  expect(running).toBe(0)
  await client.close()
})
