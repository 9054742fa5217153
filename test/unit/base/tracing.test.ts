/** The context of a request, and W3C's header: what is believed of it, and what is not. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HoldfastError } from '#base/errors.ts'
import {
  currentRequest,
  errorTypeOf,
  formatTraceParent,
  inSpan,
  parseTraceParent,
  runForRequest,
  type Span,
  type SpanName,
} from '#base/tracing.ts'

const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
const span = '00f067aa0ba902b7'

test('a traceparent is read as the standard says, and what is none begins a new trace', () => {
  expect(parseTraceParent(`00-${trace}-${span}-01`)).toEqual({ traceId: trace, spanId: span, sampled: true })
  expect(parseTraceParent(`00-${trace}-${span}-00`)?.sampled).toBe(false)
  // Other flags may come; only the lowest is known. A later version may have more behind it.
  expect(parseTraceParent(`00-${trace}-${span}-03`)?.sampled).toBe(true)
  expect(parseTraceParent(`cc-${trace}-${span}-01-what-the-future-holds`)?.traceId).toBe(trace)
  for (const text of [
    '',
    'nonsense',
    `ff-${trace}-${span}-01`,
    `00-${trace}-${span}-01-more`,
    `00-${trace}-${span}-1`,
    `00-${'0'.repeat(32)}-${span}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${span}-01`,
    `00-${trace}-${span}-01, 00-${trace}-${span}-01`,
    `00-${trace.slice(1)}\n-${span}-01`,
  ])
    expect(parseTraceParent(text), text).toBeNull()
})

test('what is written is what was read', () => {
  const hex = (length: number): fc.Arbitrary<string> =>
    fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`)).filter((text) => !/^0+$/.test(text))
  fc.assert(
    fc.property(fc.record({ traceId: hex(32), spanId: hex(16), sampled: fc.boolean() }), (parent) => {
      expect(parseTraceParent(formatTraceParent(parent))).toEqual(parent)
    }),
  )
})

class Recorded implements Span {
  readonly parent = { traceId: trace, spanId: span, sampled: true }
  readonly lines: string[]
  readonly #name: string

  constructor(name: string, lines: string[]) {
    this.#name = name
    this.lines = lines
  }

  child(name: SpanName): Span {
    this.lines.push(`${this.#name} > ${name}`)
    return new Recorded(name, this.lines)
  }

  rename(): void {}
  set(): void {}
  end(error?: unknown): void {
    this.lines.push(`${this.#name} ended${error === undefined ? '' : ` with ${errorTypeOf(error)}`}`)
  }
}

test('work is a part of the request that started it, each wait a part of the one around it; outside of one it just runs', async () => {
  const lines: string[] = []
  const state = { answered: false }
  expect(await inSpan('forward', async (none) => none)).toBeNull()
  await runForRequest({ requestId: 'a', traceId: trace, span: new Recorded('request', lines), state }, async () => {
    await inSpan('forward', async () => {
      await Promise.resolve()
      expect(currentRequest()?.requestId).toBe('a')
      await inSpan('audit.record', async () => {})
    })
    const failure = new HoldfastError('ERR_CONFLICT', 'secret/customers/jane')
    await expect(inSpan('raft.propose', () => Promise.reject(failure))).rejects.toBe(failure)
  })
  expect(lines).toEqual([
    'request > forward',
    'forward > audit.record',
    'audit.record ended',
    'forward ended',
    'request > raft.propose',
    'raft.propose ended with ERR_CONFLICT',
  ])
  expect(currentRequest()).toBeNull()
})

test('what a request has started and goes on after its answer belongs to it no more', async () => {
  const state = { answered: false }
  const gate = Promise.withResolvers<void>()
  const seen: (string | undefined)[] = []
  const loop = runForRequest({ requestId: 'init', traceId: null, span: null, state }, async () => {
    seen.push(currentRequest()?.requestId)
    await gate.promise
    seen.push(currentRequest()?.requestId)
  })
  state.answered = true
  gate.resolve()
  await loop
  expect(seen).toEqual(['init', undefined])
})
