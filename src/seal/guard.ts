/**
 * What every auto seal has, whatever is behind it: a bound on the time of each call, on how many wait, and on how often one is tried again;
 * a record of the last success and of the last failure, for status and metrics.
 */
import type { Clock } from '#base/clock.ts'
import { sleep } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { equalSecrets } from '#base/secret.ts'
import { faultOf, SealFault, sealFaults, type SealFaultKind } from './faults.ts'
import type { AutoSeal, AutoSealStatus, SealBackend } from './types.ts'

export interface GuardOptions {
  readonly clock: Clock
  readonly random: RandomSource
  /** Of one attempt. Default 10 s. */
  readonly callMsMax?: number
  /** Of one call; only what may pass by itself is tried again. Default 3. */
  readonly attemptsMax?: number
}

const callMsDefault = 10_000
const attemptsDefault = 3
const backoffMsMin = 200
const backoffMsMax = 2_000
/** Calls that may be under way or wait. */
const callsMax = 16
const probeBytes = 32
/** Never a place where something is kept. */
const probePlace = 'probe'

class GuardedSeal implements AutoSeal {
  readonly #backend: SealBackend
  readonly #options: GuardOptions
  readonly #failures = new Map<SealFaultKind, number>()
  #calls = 0
  #lastOkMs: number | null = null
  #lastFailure: AutoSealStatus['lastFailure'] = null
  #failing = false
  #closed = false
  /** Each ends a call under way. */
  readonly #ends = new Set<() => void>()

  constructor(backend: SealBackend, options: GuardOptions) {
    this.#backend = backend
    this.#options = options
  }

  get kind(): string {
    return this.#backend.kind
  }

  async wrap(plaintext: Uint8Array, place: string): Promise<Uint8Array> {
    return this.#call((signal) => this.#backend.wrap(plaintext, place, signal))
  }

  async unwrap(wrapped: Uint8Array, place: string): Promise<Uint8Array> {
    return this.#call((signal) => this.#backend.unwrap(wrapped, place, signal))
  }

  async health(): Promise<{ readonly ok: boolean; readonly detail: string }> {
    try {
      await this.probe()
      return { ok: true, detail: 'wraps and unwraps' }
    } catch (error) {
      return { ok: false, detail: `${faultOf(error)}: ${(error as Error).message}` }
    }
  }

  async probe(): Promise<void> {
    const sample = this.#options.random.bytes(probeBytes)
    const back = await this.unwrap(await this.wrap(sample, probePlace), probePlace)
    if (!equalSecrets(sample, back)) throw new SealFault('key', `seal ${this.kind} expected back what it wrapped, got something else`)
  }

  outdated(wrapped: Uint8Array): boolean {
    return this.#backend.outdated(wrapped)
  }

  status(): AutoSealStatus {
    return {
      kind: this.kind,
      ok: this.#lastOkMs === null && this.#lastFailure === null ? null : !this.#failing,
      lastOkMs: this.#lastOkMs,
      lastFailure: this.#lastFailure,
      failures: sealFaults.map((fault) => ({ fault, count: this.#failures.get(fault) ?? 0 })),
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    // A server that stops must not wait for a KMS that hangs.
    for (const end of this.#ends) end()
    await this.#backend.close()
  }

  async #call(work: (signal: AbortSignal) => Promise<Uint8Array>): Promise<Uint8Array> {
    if (this.#calls >= callsMax)
      throw new HoldfastError('ERR_BUSY', `seal ${this.kind} expected at most ${callsMax} calls at once, got more`, {
        hint: 'again in a moment',
      })
    this.#calls++
    try {
      return await this.#attempts(work)
    } finally {
      this.#calls--
    }
  }

  async #attempts(work: (signal: AbortSignal) => Promise<Uint8Array>): Promise<Uint8Array> {
    const { clock, random } = this.#options
    const attemptsMax = this.#options.attemptsMax ?? attemptsDefault
    for (let attempt = 1; ; attempt++) {
      try {
        const result = await this.#once(work)
        this.#failing = false
        this.#lastOkMs = clock.nowMs()
        return result
      } catch (error) {
        this.#note(error)
        if (attempt >= attemptsMax || this.#closed || !(error instanceof SealFault && error.passing)) throw error
        await sleep(clock, jittered(Math.min(backoffMsMax, backoffMsMin * 2 ** (attempt - 1)), random))
      }
    }
  }

  #note(error: unknown): void {
    const fault = faultOf(error)
    this.#failing = true
    this.#failures.set(fault, (this.#failures.get(fault) ?? 0) + 1)
    this.#lastFailure = { fault, message: error instanceof HoldfastError ? error.message : 'unknown', atMs: this.#options.clock.nowMs() }
  }

  /** One attempt. It is left behind when its time is over, whether or not it heeds the signal; what it gives then is wiped. */
  async #once(work: (signal: AbortSignal) => Promise<Uint8Array>): Promise<Uint8Array> {
    const callMsMax = this.#options.callMsMax ?? callMsDefault
    const controller = new AbortController()
    let late = false
    const { promise: ended, reject } = Promise.withResolvers<never>()
    const end = (fault: SealFault): void => {
      late = true
      reject(fault)
      controller.abort()
    }
    const timer = this.#options.clock.setTimer(callMsMax, () =>
      end(new SealFault('timeout', `seal ${this.kind} expected an answer within ${callMsMax} ms, got none`)),
    )
    const close = (): void => end(new SealFault('other', `seal ${this.kind} expected to finish, got the end of the server`))
    this.#ends.add(close)
    const running = work(controller.signal).then((bytes) => {
      if (late) bytes.fill(0)
      return bytes
    })
    running.catch(() => {}) // Told by the race, unless it came too late for anybody to be told.
    try {
      return await Promise.race([running, ended])
    } finally {
      timer.cancel()
      this.#ends.delete(close)
    }
  }
}

/** Between half of `ms` and all of it, so that nodes that failed together don't come back together. */
export function jittered(ms: number, random: RandomSource): number {
  return ms / 2 + ((random.bytes(1)[0] ?? 0) / 255) * (ms / 2)
}

/** `backend` with bounds and a record of how it does. */
export function guardSeal(backend: SealBackend, options: GuardOptions): AutoSeal {
  return new GuardedSeal(backend, options)
}
