import fc from 'fast-check'
import { createNamespaceStore } from '#namespaces/store.ts'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import { silentLogger, type Logger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { LeaderJobs, type LeaderJob } from '#core/jobs.ts'
import { errorResponse } from '#core/errors.ts'
import { envelopeText } from '#core/envelope.ts'
import { checkMountPath, fullPath, mountTable, newMount } from '#core/mounts.ts'
import { MountReader } from '#core/mounts.ts'
import { EngineRegistry } from '#core/router.ts'
import { holdfastVersion } from '#core/version.ts'
import { scheduleSweep, sweepStep } from '#core/sweep.ts'
import type { CoreDeps } from '#core/deps.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'
import { standingClock } from '#test/support/open-barrier.ts'

test('the version is that of the package', () => {
  expect(holdfastVersion).toBe((JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version)
})

describe('errors', () => {
  const show = (error: unknown, log: Logger = silentLogger) => {
    const { status, body } = errorResponse(error, 'r', log)
    return [status, JSON.parse(Buffer.from(body).toString()) as unknown]
  }

  test('carry hint and code together, or neither', () => {
    expect(show(new HoldfastError('ERR_BAD_REQUEST', 'm'))).toEqual([400, { errors: ['m'] }])
    expect(show(new HoldfastError('ERR_SEALED', 'm', { hint: 'h', data: { a: 1 } }))).toEqual([
      503,
      { errors: ['m'], data: { a: 1 }, hint: 'h', code: 'ERR_SEALED' },
    ])
  })

  test('that nobody foresaw are logged without their message', () => {
    const lines: string[] = []
    const log: Logger = { ...silentLogger, error: (fields, message) => void lines.push(JSON.stringify({ fields, message })) }
    expect(show(new TypeError('token s.abc is wrong'), log)).toEqual([500, { errors: ['internal error'] }])
    expect(lines.join()).toContain('TypeError')
    expect(lines.join()).not.toContain('s.abc')
  })
})

test('injected data never hides a key of the envelope', () => {
  const text = envelopeText('r', { data: { data: 'own', x: 1, auth: 'own' } }, true)
  expect(JSON.parse(text)).toMatchObject({ x: 1, auth: null, data: { data: 'own', x: 1, auth: 'own' } })
  expect(text.match(/"auth":/g)).toHaveLength(2)
})

describe('mounts', () => {
  const table = mountTable([
    newMount(systemRandom, { path: 'kv/', table: 'secret', type: 'kv' }),
    newMount(systemRandom, { path: 'team/kv/', table: 'secret', type: 'kv' }),
    newMount(systemRandom, { path: 'token/', table: 'auth', type: 'token' }),
  ])

  test.each([
    ['kv/a/b', 'kv/', 'a/b'],
    ['kv', 'kv/', ''],
    ['kv/', 'kv/', ''],
    ['team/kv/a', 'team/kv/', 'a'],
    ['auth/token/create', 'auth/token/', 'create'],
  ])('%s lies in %s', (path, prefix, rest) => {
    expect(table.route(path)).toMatchObject({ prefix, rest })
  })

  test.each(['kvx/a', 'team/a', 'token/create', 'auth', ''])('%j lies in none', (path) => {
    expect(table.route(path)).toBeNull()
  })

  test('the way to a mount is its slow twin: of all mounts, the longest whose prefix begins the path', () => {
    const segment = fc.constantFrom('a', 'b', 'auth', '')
    const path = fc.array(segment, { maxLength: 5 }).map((parts) => parts.join('/'))
    const mountPath = fc.array(fc.constantFrom('a', 'b', 'auth'), { minLength: 1, maxLength: 3 }).map((parts) => `${parts.join('/')}/`)
    const mounted = fc.uniqueArray(fc.record({ path: mountPath, table: fc.constantFrom('secret' as const, 'auth' as const) }), {
      selector: fullPath,
      maxLength: 5,
    })
    fc.assert(
      fc.property(mounted, path, (mounts, asked) => {
        const some = mountTable(mounts.map((mount) => newMount(systemRandom, { ...mount, type: 'kv' })))
        const fitting = some.entries.map(fullPath).filter((prefix) => `${asked}/`.startsWith(prefix))
        const [longest] = fitting.toSorted((x, y) => y.length - x.length)
        const route = some.route(asked)
        expect(route?.prefix).toBe(longest)
        if (route !== null) expect(`${route.prefix}${route.rest}`.replace(/\/$/, '')).toBe(asked.replace(/\/$/, ''))
      }),
      { numRuns: 2_000 },
    )
  })

  test.each(['', '/', 'a//b', '..', 'a/../b'])('%j is no path to mount at', (path) => {
    expect(() => checkMountPath(table, 'secret', path)).toThrow(HoldfastError)
  })

  test('a login method may have the path of an engine', () => {
    expect(checkMountPath(table, 'auth', '/kv/')).toBe('kv/')
    expect(() => checkMountPath(table, 'secret', 'team')).toThrow('existing mount at team/kv/')
  })
})

test('the sweeper deletes in bounded steps, deep folders too, and nothing beside', async () => {
  const barrier = new MemoryBarrier()
  const section = { namespace: 'root', mount: 'gone' }
  await barrier.transact(async (transaction) => {
    for (let i = 0; i < 25; i += 1) transaction.put(section, `own/a/${i % 3}/${i}`, new Uint8Array())
    transaction.put(section, 'other/x', new Uint8Array())
    scheduleSweep(transaction, section, 'own')
  })
  const sizes = []
  for (let more = true; more;) {
    more = await barrier.transact((transaction) => sweepStep(transaction, 10))
    sizes.push(barrier.state.size)
  }
  expect(sizes).toEqual([17, 7, 1, 1])
  expect([...barrier.state.keys()][0]).toContain('other/x')
})

describe('jobs', () => {
  const makeJobs = (jobs: readonly LeaderJob[]) => {
    const clock = standingClock()
    const status = { role: 'leader', ready: true }
    const deps = { jobs, clock, barrier: new MemoryBarrier(), replica: { status: () => status }, log: silentLogger } as unknown as CoreDeps
    const runner = new LeaderJobs(deps, new EngineRegistry([]), new MountReader(), createNamespaceStore({ random: systemRandom }))
    const seconds = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i += 1) {
        clock.advance(1_000)
        for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
      }
    }
    return { runner, seconds, status }
  }

  test('run at their interval on the leader only, and go on after a failure', async () => {
    let runs = 0
    const { runner, seconds, status } = makeJobs([
      {
        name: 'count',
        everyMs: 3_000,
        run: async () => {
          runs += 1
          throw new Error('this time')
        },
      },
    ])
    runner.start()
    await seconds(3)
    expect(runs).toBe(0)
    await seconds(6)
    expect(runs).toBe(2)
    status.role = 'follower'
    await seconds(10)
    expect(runs).toBe(2)
    status.role = 'leader'
    await seconds(5)
    expect(runs).toBe(3)
    await runner.stop()
    await seconds(10)
    expect(runs).toBe(3)
  })
})
