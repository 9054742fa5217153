/**
 * Looks after a node's auto seal: opens the node at start, after a join, and when a KMS or an HSM comes back; probes it while the node is open;
 * ends migrations; wraps the root key anew when its key was changed. One loop, one thing at a time.
 */
import type { Clock } from '#base/clock.ts'
import { isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import type { Replica } from '#replica/types.ts'
import { faultOf } from './faults.ts'
import { jittered } from './guard.ts'
import type { AutoSeal, SealManager } from './types.ts'

export interface SealKeeperOptions {
  readonly seal: SealManager
  /** null: shares; only migrations are looked after. */
  readonly autoSeal: AutoSeal | null
  readonly replica: Pick<Replica, 'status'>
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}

/** How often it is looked whether there is something to do. */
const passMs = 500
const openAgainMsMin = 1_000
const openAgainMsMax = 15_000
const probeOkMs = 600_000
const probeFailingMs = 60_000
const rewrapAgainMs = 60_000
/** After something went wrong that is neither opening nor probing: a line in the log for each pass would fill it. */
const troubleMs = 5_000

export class SealKeeper {
  readonly #options: SealKeeperOptions
  #started = false
  #stopped = false
  /** Ends the present sleep. */
  #rouse: () => void = () => {}
  #openAfterMs = 0
  #failures = 0
  #probeAfterMs: number
  #rewrapAfterMs = 0
  #restUntilMs = 0
  #lastFailure = ''

  constructor(options: SealKeeperOptions) {
    this.#options = options
    this.#probeAfterMs = options.clock.monotonicMs() + probeOkMs
  }

  /** Begins. What goes wrong is logged and tried again. */
  start(): void {
    if (this.#started) return
    this.#started = true
    void this.#loop() // Never rejects: a pass answers for its own failures.
  }

  /** Ends the loop. A call to the seal that is under way ends with its own time limit, and is not waited for. */
  stop(): void {
    this.#stopped = true
    this.#rouse()
  }

  async #loop(): Promise<void> {
    while (!this.#stopped) {
      await this.#pass()
      await this.#sleep(passMs)
    }
  }

  async #pass(): Promise<void> {
    const { seal, clock, autoSeal } = this.#options
    const nowMs = clock.monotonicMs()
    try {
      if (seal.wantsToOpen && nowMs >= this.#openAfterMs) return await this.#open()
      if (nowMs < this.#restUntilMs) return
      await seal.settleMigration()
      if (autoSeal === null || seal.status().sealed) return
      if (nowMs >= this.#probeAfterMs) await this.#probe(autoSeal)
      if (nowMs >= this.#rewrapAfterMs && this.#leads() && seal.outdated) await this.#rewrap()
    } catch (error) {
      this.#restUntilMs = clock.monotonicMs() + troubleMs
      if (!this.#stopped) this.#options.log.warn({ error: wordsOf(error) }, 'looking after the seal: trying again')
    }
  }

  #leads(): boolean {
    const { role, ready } = this.#options.replica.status()
    return role === 'leader' && ready
  }

  async #open(): Promise<void> {
    const { seal, clock, random, log } = this.#options
    try {
      await seal.autoUnseal()
      if (this.#failures > 0) log.info({ failures: this.#failures }, 'the seal opens again')
      this.#failures = 0
      this.#openAfterMs = 0
      this.#lastFailure = ''
    } catch (error) {
      if (this.#stopped) return
      const waitMs = jittered(Math.min(openAgainMsMax, openAgainMsMin * 2 ** Math.min(this.#failures, 10)), random)
      this.#failures++
      this.#openAfterMs = clock.monotonicMs() + waitMs
      this.#say(error)
    }
  }

  /** A KMS that stays away for a night must not fill the log: each cause is an error once, then a line for debugging. */
  #say(error: unknown): void {
    const { log } = this.#options
    const words = wordsOf(error)
    const fields = { error: words, fault: faultOf(error), hint: isHoldfastError(error) ? error.hint : undefined }
    if (words === this.#lastFailure) log.debug(fields, 'the seal still does not open: trying again')
    else log.error(fields, 'the seal does not open: this node stays sealed and tries again')
    this.#lastFailure = words
  }

  async #probe(autoSeal: AutoSeal): Promise<void> {
    const { clock, random, log } = this.#options
    try {
      await autoSeal.probe()
      this.#probeAfterMs = clock.monotonicMs() + jittered(probeOkMs, random)
    } catch (error) {
      this.#probeAfterMs = clock.monotonicMs() + jittered(probeFailingMs, random)
      log.warn({ error: wordsOf(error), fault: faultOf(error) }, 'the seal would not open this node now, were it restarted')
    }
  }

  async #rewrap(): Promise<void> {
    const { seal, clock } = this.#options
    this.#rewrapAfterMs = clock.monotonicMs() + rewrapAgainMs
    await seal.rewrap()
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stopped) return resolve()
      const timer = this.#options.clock.setTimer(ms, resolve)
      this.#rouse = () => {
        timer.cancel()
        resolve()
      }
    })
  }
}

const wordsOf = (error: unknown): string => (isHoldfastError(error) ? error.message : 'an unknown error')
