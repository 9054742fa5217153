import { expect, test } from 'vitest'
import type { Transaction } from '#barrier/types.ts'
import { silentLogger } from '#base/logger.ts'
import { newTrace } from '#core/evaluate.ts'
import { Keeping } from '#core/keeping.ts'
import { onceKeyOf } from '#core/once.ts'
import type { PathDef, Request } from '#core/types.ts'

const request: Request = {
  id: 'r',
  operation: 'update',
  method: 'POST',
  path: 'sys/namespaces/own',
  namespace: '',
  body: {},
  query: {},
  headers: {},
  token: null,
  wrapTtlSeconds: 0,
  ticket: { boot: 1, slot: 0, serial: 1 },
} as unknown as Request

test.each([
  [true, false],
  [false, true],
  [false, false],
])(
  'what must not lie under the root keys (unkept: %s, in a namespace with a seal of its own: %s) is not laid down for a repetition',
  async (unkept, apart) => {
    const tokens = { hash: () => 'h', lookup: async () => null } as never
    const keeping = new Keeping({ barrier: {} as never, replica: {} as never, tokens, nodeId: 'n', log: silentLogger })
    const trace = newTrace(request, 1, onceKeyOf(request, 'n', null))
    trace.found = { kind: 'first' } as typeof trace.found
    trace.def = { pattern: 'namespaces/:path*', fields: {}, operations: {}, help: { synopsis: '', description: '' } } satisfies PathDef
    trace.namespace = { id: 'team' } as typeof trace.namespace
    const laidDown: Buffer[] = []
    const keyrings = { underOwnSeal: (namespace: string) => apart && namespace === 'team' }
    const transaction = {
      keyrings,
      writes: 1,
      nowMs: 1,
      put: (_: unknown, __: unknown, value: Uint8Array) => laidDown.push(Buffer.from(value)),
    }
    const response = { data: { key_shares: ['a share'] }, ...(unkept ? { unkept } : {}) }
    await keeping.answered(transaction as unknown as Transaction, request, trace, { kind: 'answer', response })
    expect(laidDown.length).toBeGreaterThan(0)
    expect(
      laidDown.some((bytes) => bytes.includes('a share') || bytes.includes(Buffer.from('a share').toString('base64').slice(0, 8))),
    ).toBe(!unkept && !apart)
    expect(trace.rendered === null).toBe(unkept || apart)
  },
)
