import { createHash, randomBytes } from 'node:crypto'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { createAuditBroker, type ManagedAuditBroker } from '#audit/broker.ts'
import { describe, expect, test } from 'vitest'
import { ManualClock, MemorySink, none, record, settle } from './helpers.ts'

function setUp(names: readonly string[] = ['file']) {
  const clock = new ManualClock()
  const sinks = names.map(() => new MemorySink())
  const broker: ManagedAuditBroker = createAuditBroker({
    nodeId: 'n1',
    clock,
    random: systemRandom,
    log: silentLogger,
    devices: names.map((name, i) => ({ name, sink: sinks[i]! })),
    writeMsMax: 1_000,
  })
  broker.setKey(Buffer.alloc(32, 1))
  return { clock, sinks, sink: sinks[0]!, broker, write: (path: string) => broker.record(record(path), none) }
}

/** What happened to a promise by now. */
function watch(promise: Promise<void>): { state: string } {
  const watched = { state: 'waiting' }
  promise.then(
    () => (watched.state = 'done'),
    (error: Error) => (watched.state = error.message),
  )
  return watched
}

const chains = (lines: readonly string[]) =>
  lines.map((line) => JSON.parse(line).chain as { seq: number; prev: string | null; mac: string | null; boot: string })

function expectWhole(lines: readonly string[], firstPrev: string | null = null): void {
  const all = chains(lines)
  expect(all.map(({ prev }) => prev)).toEqual([
    firstPrev,
    ...lines.slice(0, -1).map((line) => createHash('sha256').update(line).digest('hex')),
  ])
}

const paths = (lines: readonly string[]): string[] => lines.map((line) => JSON.parse(line).request.path)

test('records that come together share a write, in order, each tied to the one before', async () => {
  const { sink, write } = setUp()
  await Promise.all(['a', 'b', 'c'].map(write))
  await write('d')
  expect([sink.writes, paths(sink.lines)]).toEqual([2, ['a', 'b', 'c', 'd']])
  expectWhole(sink.lines)
  expect(chains(sink.lines).map(({ seq }) => seq)).toEqual([1, 2, 3, 4])
})

test('what comes during a write goes with the next one', async () => {
  const { sink, write } = setUp()
  sink.next = 'hang'
  const first = write('a')
  await settle()
  const rest = Promise.all(['b', 'c', 'd'].map(write))
  await settle()
  expect([sink.writes, sink.lines.length]).toEqual([1, 0])
  sink.release()
  await Promise.all([first, rest])
  expect([sink.writes, paths(sink.lines)]).toEqual([2, ['a', 'b', 'c', 'd']])
})

test('without devices everything passes', async () => {
  const { broker } = setUp([])
  await expect(broker.record(record('a'), none)).resolves.toBeUndefined()
})

describe('failures', () => {
  test.each(['fail', 'half'] as const)('a write that fails (%s) leaves no gap', async (mode) => {
    const { sink, write } = setUp()
    await write('a')
    sink.next = mode
    const lost = [watch(write('b')), watch(write('c'))]
    await settle()
    expect(lost.map(({ state }) => state)).toEqual(['internal error', 'internal error'])
    await write('d')
    expect(paths(sink.lines)).toEqual(mode === 'half' ? ['a', 'b', 'd'] : ['a', 'd'])
    expectWhole(sink.lines)
    expect(chains(sink.lines).map(({ seq }) => seq)).toEqual(mode === 'half' ? [1, 2, 3] : [1, 2])
  })

  test('one device is enough; none is too few', async () => {
    const { sinks, broker, write } = setUp(['a', 'b'])
    sinks[0]!.next = 'fail'
    await write('x')
    expect([sinks[0]!.lines.length, sinks[1]!.lines.length]).toEqual([0, 1])
    for (const sink of sinks) sink.next = 'fail'
    await expect(write('y')).rejects.toMatchObject({ code: 'ERR_AUDIT', message: 'internal error' })
    expect(broker.status().a).toMatchObject({ failures: 2, records: 0 })
  })

  test('a device that hangs holds up nobody, and comes back by itself', async () => {
    const { clock, sinks, broker, write } = setUp(['hanging', 'good'])
    sinks[0]!.next = 'hang'
    await write('a') // At once: the other device has it.
    await write('b')
    expect(sinks[0]!.lines).toEqual([])
    clock.advance(1_000)
    await settle()
    expect(broker.status().hanging).toMatchObject({ stuck: true, waiting: 0, failures: 2 })
    await write('c')
    sinks[0]!.release()
    await settle()
    await write('d')
    await settle()
    // 'a' did reach it in the end; 'b' and 'c' were refused; nothing hides that they are missing here, and the other device has them.
    expect(paths(sinks[0]!.lines)).toEqual(['a', 'd'])
    expect(chains(sinks[0]!.lines).map(({ seq }) => seq)).toEqual([1, 2])
    expectWhole(sinks[0]!.lines)
    expect(paths(sinks[1]!.lines)).toEqual(['a', 'b', 'c', 'd'])
  })

  test('alone, it fails its records after the time limit, and later ones at once', async () => {
    const { clock, sink, write } = setUp()
    sink.next = 'hang'
    const first = watch(write('a'))
    await settle()
    const second = watch(write('b'))
    clock.advance(999)
    await settle()
    expect([first.state, second.state]).toEqual(['waiting', 'waiting'])
    clock.advance(1)
    await settle()
    expect([first.state, second.state]).toEqual(['internal error', 'internal error'])
    const third = watch(write('c'))
    await settle()
    expect(third.state).toBe('internal error')
    expect(sink.writes).toBe(1)
    sink.release()
    await settle()
    await write('d')
    expectWhole(sink.lines)
  })

  test('what waits is bounded', async () => {
    const { sink, write } = setUp()
    sink.next = 'hang'
    const all = Array.from({ length: 20_010 }, (_, i) =>
      write(`p${i}`).then(
        () => true,
        () => false,
      ),
    )
    await settle()
    sink.release()
    const done = await Promise.all(all)
    expect(done.filter((ok) => !ok)).toHaveLength(10)
    expect(sink.lines).toHaveLength(20_000)
    expectWhole(sink.lines)
  })
})

describe('keys', () => {
  test('sealed: no MAC, and hashes that nobody can compare; open: a MAC', async () => {
    const { broker, sink, write } = setUp()
    broker.setKey(null)
    await write('sealed')
    broker.setKey(Buffer.alloc(32, 1))
    await write('open')
    broker.setKey(null)
    await write('sealed again')
    expect(chains(sink.lines).map(({ mac }) => mac !== null)).toEqual([false, true, false])
    const tokens = sink.lines.map((line) => JSON.parse(line).auth.client_token as string)
    expect(tokens[0]).toBe(tokens[2])
    expect(tokens[0]).not.toBe(tokens[1])
    expect(tokens.join()).not.toContain('s.token')
    expect(() => broker.hashValue('file', 'x')).toThrow('Vault is sealed')
  })

  test('hashValue finds what is in the log, on any node with the key', async () => {
    const a = setUp()
    const b = setUp()
    await a.write('x')
    const token = 's.tokentokentokentokentoke'
    expect(a.sink.lines[0]).toContain(b.broker.hashValue('file', token))
    b.broker.setKey(randomBytes(32))
    expect(a.sink.lines[0]).not.toContain(b.broker.hashValue('file', token))
    expect(() => a.broker.hashValue('other', 'x')).toThrow('unknown audit backend "other"')
  })
})

describe('devices', () => {
  test('come and go', async () => {
    const { broker, sink, write } = setUp()
    const second = new MemorySink()
    broker.enable({ name: 'second', sink: second })
    expect(() => broker.enable({ name: 'second', sink: second })).toThrow('path already in use at second/')
    await write('a')
    await broker.disable('second')
    await broker.disable('never')
    await write('b')
    expect([second.closed, second.lines.length, sink.lines.length]).toEqual([true, 1, 2])
  })

  test('reopen goes between two writes, and the chain goes on in the new file', async () => {
    const { broker, sink, write } = setUp()
    await write('a')
    const old = sink.lines
    sink.reopen = async () => {
      sink.lines = []
    }
    await Promise.all([write('b'), broker.reopen(), write('c')])
    await write('d')
    const all = [...old, ...sink.lines]
    expect(paths(all)).toEqual(['a', 'b', 'c', 'd'])
    expectWhole(all)
  })

  test('close writes what waits, and gives up on a device that hangs', async () => {
    const { clock, sinks, broker, write } = setUp(['good', 'hanging'])
    sinks[1]!.next = 'hang'
    const writing = write('a')
    const closing = broker.close()
    await writing
    for (let i = 0; i < 4; i += 1) {
      clock.advance(1_000)
      await settle()
    }
    await closing
    expect([sinks[0]!.closed, paths(sinks[0]!.lines)]).toEqual([true, ['a']])
  })
})
