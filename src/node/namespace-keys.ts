/**
 * How the keys of namespaces with their own seal come from node to node. The log says that one is to be open, and holds no key; a node that lacks it asks those
 * that may have it, under a key of the barrier that only unsealed nodes have (forward-seal.ts), and is given it where the log of the one asked says the same.
 *
 *   request:  version 1, id of the keyring, generation          answer:  version 1 | 1 and the root key, or 0 and zeros
 *
 * Rejected: the key in the log, in a box under the root's keyring. Whoever holds the root's shares and an old disk would read what its owners have sealed.
 * docs/internals/namespace-keys.md has the argument.
 */
import type { BarrierControl } from '#barrier/types.ts'
import type { Clock, Timer } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import type { Replica } from '#replica/types.ts'
import { decode, encode } from '#transport/msgpack.ts'
import type { Transport } from '#transport/types.ts'
import { ForwardSeal } from './forward-seal.ts'

export const namespaceKeyKind = 'namespace-key'
const version = 1
const keyBytes = 32
const askMsMax = 2_000
const readIndexMsMax = 2_000
const passMs = 1_000
const againMsMin = 250
const againMsMax = 15_000
/** Keys that one pass asks for: the others wait for the next. */
const askedPerPassMax = 256

export interface NamespaceKeyServiceOptions {
  readonly barrier: Pick<BarrierControl, 'sealed' | 'derivedKey' | 'namespaces' | 'onSealChange'>
  readonly replica: Pick<Replica, 'nodeId' | 'status' | 'readIndex'>
  readonly transport: () => Pick<Transport, 'request'> | null
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}

export class NamespaceKeyService {
  readonly #options: NamespaceKeyServiceOptions
  readonly #seal: ForwardSeal
  readonly #unsubscribe: readonly (() => void)[]
  /** When each is asked for again, on the monotonic clock, and after how many failures. Holds only what is wanted. */
  readonly #again = new Map<string, { atMs: number; failures: number }>()
  #timer: Timer | null = null
  #pass: Promise<void> = Promise.resolve()
  #started = false
  #stopped = false

  constructor(options: NamespaceKeyServiceOptions) {
    this.#options = options
    this.#seal = new ForwardSeal(options)
    this.#unsubscribe = [
      options.barrier.onSealChange(() => {
        this.#seal.forget()
        this.#rouse()
      }),
      options.barrier.namespaces.onChange((closed) => closed === null && this.#rouse()),
    ]
  }

  start(): void {
    this.#started = true
    this.#arm(passMs)
  }

  /** Resolves when the pass under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    for (const end of this.#unsubscribe) end()
    await this.#pass
  }

  /** Something is to be open that was not: whoever waited for another try need not any more. */
  #rouse(): void {
    this.#again.clear()
    if (this.#started) this.#arm(0)
  }

  #arm(ms: number): void {
    if (this.#stopped) return
    this.#timer?.cancel()
    this.#timer = this.#options.clock.setTimer(ms, () => {
      this.#pass = this.#pass.then(() => this.#run()).then(() => this.#arm(this.#again.size > 0 ? againMsMin : passMs))
    })
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { barrier, log } = this.#options
    if (barrier.sealed || this.#stopped) return this.#again.clear()
    try {
      await barrier.namespaces.refresh()
      const nowMs = this.#options.clock.monotonicMs()
      const wanted = barrier.namespaces.wanted()
      for (const id of this.#again.keys()) if (!wanted.includes(id)) this.#again.delete(id)
      const due = wanted.filter((id) => (this.#again.get(id)?.atMs ?? 0) <= nowMs).slice(0, askedPerPassMax)
      if (due.length > 0) await this.#fetch(due)
    } catch (error) {
      log.debug({ error: isHoldfastError(error) ? error.code : 'unknown' }, 'keys of namespaces could not be asked for')
    }
  }

  async #fetch(ids: readonly string[]): Promise<void> {
    const { barrier, replica, clock, log } = this.#options
    // By the cluster's present word, not by one that is as old as this node's log.
    await replica.readIndex(readIndexMsMax)
    for (const id of ids) {
      const from = await this.#fetchOne(id)
      if (from !== null) {
        this.#again.delete(id)
        log.info({ keyring: id, from }, 'a namespace is open here too: another node had its key')
        continue
      }
      if (barrier.sealed || this.#stopped) return
      const failures = (this.#again.get(id)?.failures ?? 0) + 1
      const waitMs = Math.min(againMsMax, againMsMin * 2 ** Math.min(failures, 10))
      this.#again.set(id, { atMs: clock.monotonicMs() + waitMs, failures })
    }
  }

  /** Who gave it; null where nobody had it. */
  async #fetchOne(id: string): Promise<string | null> {
    const { replica, barrier, log } = this.#options
    const { members, leader } = replica.status()
    const others = members.map((member) => member.id).filter((member) => member !== replica.nodeId)
    for (const peer of others.toSorted((a, b) => Number(b === leader) - Number(a === leader))) {
      const generation = barrier.sealed ? null : barrier.namespaces.generationOf(id)
      if (generation === null) return null
      try {
        const rootKey = await this.#ask(peer, id, generation)
        if (rootKey === null) continue
        if (barrier.namespaces.openById(id, rootKey)) return peer
        log.warn({ keyring: id, from: peer }, 'the key of a namespace that another node gave does not open it')
      } catch (error) {
        log.debug(
          { keyring: id, from: peer, error: isHoldfastError(error) ? error.code : 'unknown' },
          'no key of a namespace from this node',
        )
      }
    }
    return null
  }

  async #ask(peer: string, id: string, generation: number): Promise<SecretBytes | null> {
    const transport = this.#options.transport()
    if (transport === null) return null
    const { nodeId } = this.#options.replica
    const sealed = this.#seal.seal(requestPlace(nodeId, peer), encode({ version, id, generation }))
    const answer = await transport.request(peer, namespaceKeyKind, sealed, askMsMax)
    const plain = this.#seal.open(answerPlace(nodeId, peer, sealed), answer)
    try {
      if (plain[0] !== version || plain.length !== 2 + keyBytes) throw badFrame('answer')
      return plain[1] === 1 ? new SecretBytes(Uint8Array.from(plain.subarray(2))) : null
    } finally {
      plain.fill(0)
    }
  }

  /** Answers another node. @throws ERR_PEER_REFUSED for whoever has no key of the barrier; ERR_SEALED; ERR_FRAME. */
  async answer(from: string, sealed: Uint8Array): Promise<Uint8Array> {
    const { barrier, replica } = this.#options
    const request = decode(this.#seal.open(requestPlace(from, replica.nodeId), sealed)) as {
      version?: unknown
      id?: unknown
      generation?: unknown
    }
    const { id, generation } = request
    if (request.version !== version || typeof id !== 'string' || !/^[0-9a-f]{16}$/.test(id) || !Number.isSafeInteger(generation))
      throw badFrame('request')
    const plain = new Uint8Array(2 + keyBytes)
    plain[0] = version
    try {
      using rootKey = barrier.namespaces.rootKeyFor(id, generation as number)
      if (rootKey !== null) {
        plain[1] = 1
        plain.set(rootKey.reveal(), 2)
      }
      return this.#seal.seal(answerPlace(from, replica.nodeId, sealed), plain)
    } finally {
      plain.fill(0)
    }
  }
}

const requestPlace = (from: string, to: string): string => `namespace key request ${JSON.stringify([from, to])}`

/** Bound to its request by that one's tag: no answer can be given for another. */
const answerPlace = (from: string, to: string, request: Uint8Array): string =>
  `namespace key answer ${JSON.stringify([from, to, Buffer.from(request.subarray(-16)).toString('hex')])}`

const badFrame = (what: string): HoldfastError =>
  new HoldfastError('ERR_FRAME', `namespace key ${what} expected version ${version}, an id and a generation, got something else`)
