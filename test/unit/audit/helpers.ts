import { chainOf, lineHash } from '#audit/chain.ts'
import type { LastLine } from '#audit/types.ts'
import type { LineBatch } from '#audit/line-batch.ts'
import type { Clock, Timer } from '#base/clock.ts'
import type { AuditRecord, AuditSink, NonHmacKeys } from '#audit/types.ts'

export const none: NonHmacKeys = { request: [], response: [] }

export const record = (path: string, more: Partial<AuditRecord> = {}): AuditRecord => ({
  type: 'request',
  time: '2026-08-01T10:00:00.000Z',
  auth: { client_token: 's.tokentokentokentokentoke', accessor: 'acc', policies: ['default'], display_name: 'token' },
  request: {
    id: 'r1',
    operation: 'read',
    namespace: { id: 'root' },
    path,
    remote_address: '127.0.0.1',
    client_token: 's.tokentokentokentokentoke',
  },
  ...more,
})

/** A sink in memory that can fail or hang at a test's will. */
export class MemorySink implements AuditSink {
  readonly type = 'memory'
  lines: string[] = []
  writes = 0
  reopened = 0
  closed = false
  /** The next write: 'fail' loses its lines, 'half' keeps the first, both throw; 'hang' waits for `release` and keeps them. */
  next: 'ok' | 'fail' | 'half' | 'hang' = 'ok'
  #release: (() => void) | null = null

  async write(batch: LineBatch): Promise<void> {
    const lines = batch.lines().map(String)
    this.writes += 1
    const mode = this.next
    this.next = 'ok'
    if (mode === 'hang') await new Promise<void>((resolve) => (this.#release = resolve))
    if (mode !== 'fail') this.lines.push(...(mode === 'half' ? lines.slice(0, 1) : lines))
    if (mode === 'fail' || mode === 'half') throw new Error('disk')
  }
  release(): void {
    this.#release?.()
  }
  async lastLine(): Promise<LastLine | null> {
    const last = this.lines.at(-1)
    return last === undefined ? null : { head: lineHash(last), chain: chainOf(Buffer.from(last)) }
  }
  async reopen(): Promise<void> {
    this.reopened += 1
  }
  async close(): Promise<void> {
    this.closed = true
  }
}

/** A clock whose timers fire when told to. */
export class ManualClock implements Clock {
  ms = 0
  readonly #timers = new Map<object, { atMs: number; fire: () => void }>()
  nowMs(): number {
    return this.ms
  }
  monotonicMs(): number {
    return this.ms
  }
  setTimer(delayMs: number, fire: () => void): Timer {
    const timer: Timer = { cancel: () => void this.#timers.delete(timer) }
    this.#timers.set(timer, { atMs: this.ms + delayMs, fire })
    return timer
  }
  advance(ms: number): void {
    this.ms += ms
    const due = [...this.#timers].filter(([, { atMs }]) => atMs <= this.ms)
    for (const [timer, { fire }] of due) {
      this.#timers.delete(timer)
      fire()
    }
  }
}

/** Lets everything that is ready run: a write begins a turn of the event loop after its first record. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
