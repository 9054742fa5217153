/**
 * The clients: workers that all act at once, a few times a second, on few keys, so that most operations meet another on their key; and one prober a
 * node, whose only business is to tell how long no write was accepted. Both record what they did into the history.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Prng } from '#test/sim/prng.ts'
import { Histories, type Epoch } from './history.ts'
import { KvClient, type Outcome } from './kv.ts'

export interface ClientsOptions {
  readonly addresses: readonly string[]
  readonly token: string
  readonly dice: Prng
  readonly workers: number
}

const versionedKeys = 3
const plainKeys = 2
const roundMs = 100
const probeMs = 100
const epochMs = 20_000
const requestMsMax = 4_000
const probeMsMax = 1_500
/** Answers that no fault explains. */
const neverRight = [/ERR_PERMISSION_DENIED/, /ERR_NO_ROUTE/, /ERR_DECRYPT/, /internal error/]

export class Clients {
  readonly histories = new Histories()
  /** When each write was acknowledged, in ms of performance.now(). */
  readonly ackedAtMs: number[] = []
  /** How often each refusal or failure was met. */
  readonly refusals = new Map<string, number>()
  readonly strange: string[] = []
  acknowledged = 0
  unknown = 0
  operations = 0
  readonly #options: ClientsOptions
  readonly #clients: readonly KvClient[]
  readonly #probes: readonly KvClient[]
  /** The version of each key that some client saw last: what a cas expects. */
  readonly #seen = new Map<string, number>()
  #epoch: Epoch
  #stopped = false
  #running: Promise<unknown> = Promise.resolve()
  #values = 0

  constructor(options: ClientsOptions) {
    this.#options = options
    this.#clients = options.addresses.map((address) => new KvClient(address, options.token, requestMsMax))
    this.#probes = options.addresses.map((address) => new KvClient(address, options.token, probeMsMax))
    this.#epoch = this.histories.begin()
  }

  start(): void {
    const { workers, dice } = this.#options
    const loops = [
      this.#turnEpochs(),
      ...Array.from({ length: workers }, (_, id) => this.#work(id, dice.fork())),
      ...this.#probes.map((probe, slot) => this.#probe(probe, slot)),
    ]
    this.#running = Promise.all(loops)
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
    await Promise.all([...this.#clients, ...this.#probes].map((client) => client.close()))
  }

  async #turnEpochs(): Promise<void> {
    while (!this.#stopped) {
      for (let waited = 0; waited < epochMs && !this.#stopped; waited += 500) await delay(500)
      if (!this.#stopped) this.#epoch = this.histories.begin()
    }
  }

  async #work(id: number, dice: Prng): Promise<void> {
    while (!this.#stopped) {
      // All at the same beat: who comes late from an operation waits for the next.
      await delay(roundMs - (performance.now() % roundMs))
      const slot = dice.below(this.#clients.length)
      const client = this.#clients[slot] as KvClient
      const note = `w${id}@node${slot + 1}`
      if (dice.chance(0.25)) await this.#plainOperation(client, note, dice)
      else await this.#versionedOperation(client, note, dice)
    }
  }

  async #versionedOperation(client: KvClient, note: string, dice: Prng): Promise<void> {
    const epoch = this.#epoch
    const key = `${epoch.name}/k${dice.below(versionedKeys)}`
    const chance = dice.below(100)
    this.operations += 1
    const common = { client: note, key }
    if (chance < 45) {
      const id = epoch.versioned.call({ ...common, kind: 'get', input: null })
      const answer = await client.get(key)
      if (answer.outcome !== 'done') {
        this.#count(answer)
        return epoch.versioned.failed(id)
      }
      this.#seen.set(key, answer.value.version)
      return epoch.versioned.returned(id, answer.value)
    }
    const value = `v${this.#values++}`
    const expected = this.#seen.get(key) ?? 0
    const isPut = chance < 75
    const id = isPut
      ? epoch.versioned.call({ ...common, kind: 'put', input: { value } })
      : epoch.versioned.call({ ...common, kind: 'cas', input: { expected, value } })
    const answer = isPut ? await client.put(key, value) : await client.cas(key, value, expected)
    if (answer.outcome !== 'done') {
      this.#count(answer)
      return answer.outcome === 'refused' ? epoch.versioned.failed(id) : epoch.versioned.unknown(id)
    }
    if (answer.value === null) return epoch.versioned.returned(id, { applied: false, version: null })
    this.#acknowledge()
    const version = answer.value
    epoch.acknowledged.push({ key, version, value })
    this.#seen.set(key, version)
    epoch.versioned.returned(id, isPut ? { version } : { applied: true, version })
  }

  async #plainOperation(client: KvClient, note: string, dice: Prng): Promise<void> {
    const epoch = this.#epoch
    const key = `${epoch.name}/p${dice.below(plainKeys)}`
    if (dice.chance(0.5)) return this.#plainWrite(client, note, key, epoch)
    this.operations += 1
    const id = epoch.plain.call({ client: note, key, kind: 'read', value: null })
    const answer = await client.getPlain(key)
    if (answer.outcome === 'done') return epoch.plain.read(id, answer.value)
    this.#count(answer)
    epoch.plain.failed(id)
  }

  async #plainWrite(client: KvClient, note: string, key: string, epoch: Epoch): Promise<void> {
    const value = `p${this.#values++}`
    this.operations += 1
    const id = epoch.plain.call({ client: note, key, kind: 'write', value })
    const answer = await client.putPlain(key, value)
    if (answer.outcome === 'done') {
      this.#acknowledge()
      return epoch.plain.wrote(id)
    }
    this.#count(answer)
    if (answer.outcome === 'refused') epoch.plain.failed(id)
  }

  async #probe(client: KvClient, slot: number): Promise<void> {
    while (!this.#stopped) {
      await Promise.all([
        delay(probeMs),
        this.#plainWrite(client, `probe@node${slot + 1}`, `${this.#epoch.name}/probe${slot}`, this.#epoch),
      ])
    }
  }

  #acknowledge(): void {
    this.acknowledged += 1
    this.ackedAtMs.push(performance.now())
  }

  #count(answer: Exclude<Outcome<unknown>, { outcome: 'done' }>): void {
    if (answer.outcome === 'unknown') this.unknown += 1
    this.refusals.set(answer.code, (this.refusals.get(answer.code) ?? 0) + 1)
    if (neverRight.some((pattern) => pattern.test(answer.code)) && this.strange.length < 20) this.strange.push(answer.code)
  }
}

/** The longest time without an acknowledgement in [fromMs, toMs]. `times` ascend. */
export function longestGapMs(times: readonly number[], fromMs: number, toMs: number): number {
  let last = fromMs
  let longest = 0
  for (const at of times.slice(firstAtOrAfter(times, fromMs))) {
    if (at > toMs) break
    longest = Math.max(longest, at - last)
    last = at
  }
  return Math.max(longest, toMs - last)
}

function firstAtOrAfter(times: readonly number[], wanted: number): number {
  let low = 0
  let high = times.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((times[middle] as number) < wanted) low = middle + 1
    else high = middle
  }
  return low
}
