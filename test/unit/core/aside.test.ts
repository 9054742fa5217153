import { describe, expect, test } from 'vitest'
import { aside } from '#core/aside.ts'
import type { EngineDef, HandlerContext, LogicalResponse } from '#core/types.ts'
import { HoldfastError } from '#base/errors.ts'
import { makeHarness, type Harness } from './harness.ts'

/** One path whose handler is the test's. */
async function harnessOf(handler: (context: HandlerContext) => Promise<LogicalResponse | null>, writes = true): Promise<Harness> {
  const engine: EngineDef = {
    type: 'test',
    kind: 'secret',
    description: '',
    paths: () => [
      {
        pattern: 'work',
        fields: {},
        help: { synopsis: '', description: '' },
        operations: { update: { summary: '', writes, handler }, read: { summary: '', writes: false, handler } },
      },
    ],
  }
  return makeHarness([engine], [{ path: 'test/', table: 'secret', type: 'test' }])
}
const ask = (harness: Harness, operation: 'update' | 'read' = 'update', token = 'root') =>
  harness.ask({ operation, path: 'test/work', token })

describe('work aside', () => {
  test.each(['update', 'read'] as const)('runs once, with nothing open, and the handler again with its result: %s', async (operation) => {
    let [handled, worked] = [0, 0]
    const harness = await harnessOf(async (context) => {
      handled += 1
      const value = await aside(context, 'k', async () => {
        worked += 1
        return 42
      })
      return { data: { value } }
    })
    const { status, body } = await ask(harness, operation)
    expect([status, body.data]).toEqual([200, { value: 42 }])
    expect([handled, worked]).toEqual([2, 1])
    // Recorded once.
    expect(harness.audit.map(({ type }) => type)).toEqual(['request', 'response'])
  })

  test('runs again for other inputs: what was read before it may have changed', async () => {
    let value = 'old'
    const seen: string[] = []
    const harness = await harnessOf(async (context) => {
      const read = value
      await aside(context, `check ${read}`, async () => {
        seen.push(read)
        value = 'new'
      })
      return { data: { read } }
    })
    expect((await ask(harness)).body.data).toEqual({ read: 'new' })
    expect(seen).toEqual(['old', 'new'])
  })

  test('that fails, fails the handler, where it can be caught', async () => {
    const harness = await harnessOf(async (context) => {
      await aside(context, 'k', async () => {
        throw new HoldfastError('ERR_UPSTREAM', 'the provider is away')
      })
      return null
    })
    expect(await ask(harness)).toMatchObject({ status: 502, body: { errors: ['the provider is away'] } })
  })

  test('writes nothing of the evaluation that asked for it, and counts a use of a token once', async () => {
    const harness = await harnessOf(async (context) => {
      context.storage.put('trace', Buffer.from('x'))
      await aside(context, 'k', async () => {
        expect([...harness.barrier.state.keys()].some((key) => key.endsWith('trace'))).toBe(false)
      })
      return null
    })
    harness.addToken('limited', { numUses: 3 })
    expect((await ask(harness, 'update', 'limited')).status).toBe(204)
    expect(harness.tokenUses('limited')).toBe(2)
    expect([...harness.barrier.state.keys()].some((key) => key.endsWith('trace'))).toBe(true)
  })

  test('has a bound', async () => {
    let count = 0
    const harness = await harnessOf(async (context) => {
      for (let key = 0; key < 100; key += 1) await aside(context, String(key), async () => (count += 1))
      return null
    })
    expect((await ask(harness)).status).toBe(500)
    expect(count).toBeLessThanOrEqual(17)
  })
})
