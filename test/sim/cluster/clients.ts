/**
 * Five clients, three keys, and the service that they talk to: what the barrier does for a request, done on the real Replica. What a client was
 * told goes into the history that the checker judges at the end. A write of unknown outcome is sent again under its ticket, to whoever leads then.
 */
import { isHoldfastError } from '#base/errors.ts'
import type { Ticket } from '#core/slots.ts'
import type { StartedReplica } from '#replica/index.ts'
import { HistoryRecorder, type Asked, type Output } from '#test/support/linearizability/history.ts'
import type { Prng } from '../prng.ts'
import type { Life } from './life.ts'
import { epochKey, epochOf } from './restores.ts'
import type { ClusterOracle } from './oracle.ts'
import { readSlot, slotName, slotOp, verdictOn, type SlotRecord } from './repeats.ts'
import { decodeValue, encodeValue, keyBytes, section, ValueRefused, type Value } from './value.ts'
import type { World } from './world.ts'

export const registers = ['a', 'b', 'c'] as const
const clients = ['c1', 'c2', 'c3', 'c4', 'c5'] as const
/** All that the service writes. */
export const keys: readonly string[] = [...registers, ...clients.map(slotName), epochKey]
const attemptsMax = 5
const sendingsMax = 8

/** How a request ended, as its client may know it. */
type Answer =
  | { readonly kind: 'done'; readonly output: Output | null; readonly epoch: number }
  | { readonly kind: 'failed' | 'unknown' | 'superseded' }
  | { readonly kind: 'reborn'; readonly epoch: number }

const failed: Answer = { kind: 'failed' }
const unknown: Answer = { kind: 'unknown' }

/** One operation on its way, sent as often as it takes. */
interface Asking {
  readonly asked: Asked
  readonly id: number
  /** null: sent once, as a client does that has no ids. */
  readonly ticket: Ticket | null
  /** The newest epoch that its client knew of, which the ticket is of. */
  readonly epoch: number
  sendings: number
  /** A sending may have been carried out. */
  lost: boolean
}

export class Clients {
  readonly #world: World
  readonly #random: Prng
  readonly recorder = new HistoryRecorder()
  operations = 0
  answered = 0
  #texts = 0
  #attempts = 0
  #stopped = false
  /** What each client saw last, by key: what its next cas expects. */
  readonly #seen = new Map<string, number>()
  #boots = 0
  #serials = 0
  readonly #bootOf = new Map<string, number>()
  readonly #epochOf = new Map<string, number>()
  /** Of each operation those that it was evaluated in, or the one that it was answered from. */
  readonly #epochs = new Map<number, Set<number>>()

  constructor(world: World) {
    this.#world = world
    this.#random = world.random.fork()
    for (const client of clients) this.#next(client)
  }

  /** In which epochs the operation may have taken effect. */
  epochsOf(id: number): readonly number[] {
    return [...(this.#epochs.get(id) ?? [])]
  }

  stop(): void {
    this.#stopped = true
  }

  #next(client: string): void {
    const { scheduler, plan } = this.#world
    const [least, most] = plan.thinkTime
    scheduler.after(this.#random.between(least, most), () => {
      if (!this.#stopped) this.#ask(client)
    })
  }

  #ask(client: string): void {
    const target = this.#target()
    if (target === null) return this.#next(client)
    const asked = this.#draw(client)
    const id = this.recorder.call(asked)
    this.operations += 1
    this.#world.trace(`ask ${asked.kind} ${asked.key}`, client, target.id, 0, id)
    const repeats = asked.kind !== 'get' && this.#random.chance(0.8)
    this.#send(
      { asked, id, ticket: repeats ? this.#ticket(client) : null, epoch: this.#epochOf.get(client) ?? 0, sendings: 0, lost: false },
      target,
    )
  }

  /** A client's slot is its own, so it is always the first. Now and then it has been restarted, and numbers its requests anew. */
  #ticket(client: string): Ticket {
    if (!this.#bootOf.has(client) || this.#random.chance(0.05)) {
      this.#boots += 1
      this.#bootOf.set(client, this.#boots)
    }
    this.#serials += 1
    return { boot: this.#bootOf.get(client) ?? 0, slot: 0, serial: this.#serials }
  }

  #send(asking: Asking, target: Life): void {
    const world = this.#world
    const { asked, id, ticket } = asking
    asking.sendings += 1
    let open = true
    const end = (answer: Answer): void => {
      if (!open) return
      open = false
      world.trace(`answer ${answer.kind}`, asked.client, target.id, 0, id)
      world.say(() => `${asked.client} ${asked.kind} ${asked.key} ${JSON.stringify(asked.input)} -> ${JSON.stringify(answer)}`)
      this.#answered(asking, answer)
    }
    world.scheduler.after(world.plan.requestMs * 1_000, () => end(unknown))
    // Lost on the way there: as far as the client knows, anything may have happened.
    if (this.#random.chance(world.chances.loss)) return
    // Or so late that the client is elsewhere by then, with the same request or the next.
    const late = ticket !== null && this.#random.chance(0.1)
    this.#deliver(asking, target, late ? this.#random.between(10_000, 500_000) : world.network.delay(), end)
  }

  #deliver({ asked, id, ticket, epoch, lost }: Asking, target: Life, delay: number, end: (answer: Answer) => void): void {
    const world = this.#world
    const sending = ticket === null ? null : { ticket, epoch, repeated: lost }
    world.scheduler.after(delay, () => {
      if (!target.alive) return
      target.run(() => {
        serve(target, asked, sending, this.#service(target, asked, id)).then(
          (answer) => {
            if (answer.kind === 'superseded') world.count('superseded')
            if (answer.kind === 'reborn') world.count('asked-before-restore')
            if (target.alive && !this.#random.chance(world.chances.loss)) world.scheduler.after(world.network.delay(), () => end(answer))
          },
          (error: unknown) => world.fail(error),
        )
      })
    })
  }

  #answered(asking: Asking, answer: Answer): void {
    const { asked, id, ticket } = asking
    if (answer.kind === 'unknown' || answer.kind === 'superseded') asking.lost = true
    // A refusal says nothing of an earlier sending.
    if (answer.kind === 'reborn') this.#epochOf.set(asked.client, answer.epoch)
    const repeat = ticket !== null && answer.kind !== 'done' && answer.kind !== 'reborn' && asking.lost
    if (repeat && asking.sendings < sendingsMax) return this.#again(asking)
    if (answer.kind === 'done') {
      this.answered += 1
      this.recorder.returned(id, answer.output)
      this.#epochs.set(id, new Set([answer.epoch]))
      this.#epochOf.set(asked.client, answer.epoch)
      if (answer.output !== null && typeof answer.output.version === 'number')
        this.#seen.set(`${asked.client} ${asked.key}`, answer.output.version)
    } else if (asking.lost) this.recorder.unknown(id)
    else this.recorder.failed(id)
    this.#next(asked.client)
  }

  /** Stays open where the run ends first: its outcome is unknown then. */
  #again(asking: Asking): void {
    this.#world.scheduler.after(this.#random.between(1_000, 60_000), () => {
      if (this.#stopped) return
      const target = this.#target()
      if (target === null) return this.#again(asking)
      this.#world.count('repeated')
      this.#send(asking, target)
    })
  }

  #service(life: Life, asked: Asked, id: number): Service {
    const { oracle, plan } = this.#world
    return {
      oracle,
      timeoutMs: plan.requestMs,
      nowMs: () => life.clock().nowMs(),
      key: keyBytes(asked.key),
      attempt: (epoch) => {
        const known = this.#epochs.get(id) ?? new Set()
        this.#epochs.set(id, known.add(epoch))
        return (this.#attempts += 1)
      },
      late: () => this.#world.count('late-view'),
      dawdle: async () => {
        if (!this.#random.chance(0.15)) return
        const time = this.#random.between(1_000, 400_000)
        await new Promise<void>((resolve) => void this.#world.scheduler.after(time, () => life.run(resolve)))
      },
    }
  }

  /** Usually the leader, as far as anybody knows. */
  #target(): Life | null {
    const lives = [...this.#world.nodes.values()].flatMap((node) => (node.life?.replica ? [node.life] : []))
    if (lives.length === 0) return null
    const { leader } = this.#world.oracle
    const known = lives.find(({ id }) => id === leader?.id)
    return known !== undefined && this.#random.chance(0.75) ? known : this.#random.pick(lives)
  }

  #draw(client: string): Asked {
    const key = this.#random.pick(registers)
    const common = { client, key }
    const kind = this.#random.pick(['get', 'get', 'put', 'put', 'cas', 'cas', 'delete'] as const)
    if (kind === 'get' || kind === 'delete') return { ...common, kind, input: null }
    this.#texts += 1
    const value = `v${this.#texts}`
    if (kind === 'put') return { ...common, kind, input: { value } }
    return { ...common, kind, input: { expected: this.#seen.get(`${client} ${key}`) ?? 0, value } }
  }
}

/** One sending of a write that may be sent again. */
interface Sending {
  readonly ticket: Ticket
  readonly epoch: number
  /** An earlier one may have been carried out, or may be yet. */
  readonly repeated: boolean
}

/** The node led `term`, in which everything up to `index` was committed, and is applied there by now. */
interface Confirmed {
  readonly term: number
  readonly index: number
}

interface Service {
  readonly oracle: ClusterOracle
  readonly timeoutMs: number
  readonly key: Uint8Array
  readonly nowMs: () => number
  readonly attempt: (epoch: number) => number
  /** The view lacked what had been committed. */
  readonly late: () => void
  /** Some evaluations take their time: others write meanwhile, and leaders come and go. */
  readonly dawdle: () => Promise<void>
}

async function serve(life: Life, asked: Asked, sending: Sending | null, service: Service): Promise<Answer> {
  const { replica } = life
  if (replica === null) return failed
  try {
    if (asked.kind === 'get') return await read(replica, asked, service)
    let confirmed: Confirmed | null = null
    for (let at = 0; at < attemptsMax; at += 1) {
      const answer: Answer | Confirmed | 'conflict' = await write(replica, asked, sending, confirmed, service)
      if (answer === 'conflict') continue
      if (!('index' in answer)) return answer
      confirmed = answer
    }
    return failed
  } catch (error) {
    // The value was not what had been written: refused, and nothing was proposed.
    if (error instanceof ValueRefused) return failed
    if (isHoldfastError(error)) return failed
    throw error
  }
}

async function read(replica: StartedReplica, asked: Asked, service: Service): Promise<Answer> {
  await replica.readIndex(service.timeoutMs)
  const { version, text, epoch } = current(replica, asked, service)
  return { kind: 'done', output: { version, value: text }, epoch }
}

function current(
  replica: StartedReplica,
  asked: Asked,
  service: Service,
): Value & { readonly viewIndex: number; readonly slot: SlotRecord | null; readonly epoch: number } {
  const view = replica.view()
  try {
    const slot = readSlot(asked.client, view)
    return { ...decodeValue(asked.key, view.get(service.key)), viewIndex: view.meta.applied, slot, epoch: epochOf(view) }
  } finally {
    view.release()
  }
}

/**
 * One evaluation, as the barrier does it: read at a view, decide, propose what follows. What writes nothing is confirmed first, and evaluated again where
 * the view lacked what had been committed by then.
 */
async function write(
  replica: StartedReplica,
  asked: Asked,
  sending: Sending | null,
  confirmed: Confirmed | null,
  service: Service,
): Promise<Answer | Confirmed | 'conflict'> {
  const { ready, term } = replica.status()
  if (!ready) return failed
  const held = current(replica, asked, service)
  // Asked before a restore, it may have been done, and is gone with what it did: this sending may be one that comes late.
  if (sending !== null && sending.epoch !== held.epoch) return { kind: 'reborn', epoch: held.epoch }
  const verdict = sending === null ? 'first' : verdictOn(held.slot, sending.ticket)
  const next = verdict === 'first' ? decide(held, asked) : null
  // What did nothing needs no record, unless an earlier sending may come yet, and do it after the client was told that it is not done.
  if (next === null && !(verdict === 'first' && sending?.repeated)) {
    if (confirmed?.term !== term || held.viewIndex < confirmed.index) {
      const { index } = await replica.readIndex(service.timeoutMs)
      const now = replica.status()
      if (!now.ready || now.term !== term) return failed
      if (held.viewIndex < index) {
        service.late()
        return { term, index }
      }
    }
    if (verdict === 'superseded') return { kind: 'superseded' }
    return { kind: 'done', output: verdict === 'again' ? (held.slot?.output ?? null) : outputOf(asked, held, null), epoch: held.epoch }
  }
  await service.dawdle()
  const later = replica.status()
  if (!later.ready) return failed
  const attempt = service.attempt(held.epoch)
  const { oracle } = service
  oracle.attempted(attempt)
  const output = outputOf(asked, held, next)
  const ops = next === null ? [] : [{ key: service.key, value: encodeValue(asked.key, { ...next, attempt }) }]
  if (sending !== null) ops.push(slotOp(asked.client, sending.ticket, { output, attempt: next === null ? attempt : 0 }))
  try {
    const { index } = await replica.propose({
      // Of now, though the view may be of an earlier one: what an earlier leader changed behind the view counts as changed.
      term: later.term,
      viewIndex: held.viewIndex,
      reads: [service.key, keyBytes(slotName(asked.client))],
      ranges: [],
      sections: [{ section, ops }],
      timeMs: Math.max(0, Math.floor(service.nowMs())),
    })
    oracle.outcome(attempt, 'ok', index)
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    // What the barrier makes of it: conflicts are tried again; only these codes promise that nothing was written.
    const surelyNot = ['ERR_CONFLICT', 'ERR_NOT_LEADER', 'ERR_BUSY'].includes(error.code)
    oracle.outcome(attempt, surelyNot ? 'failed' : 'unknown', null)
    if (error.code === 'ERR_CONFLICT') return 'conflict'
    return surelyNot ? failed : unknown
  }
  return { kind: 'done', output, epoch: held.epoch }
}

function outputOf(asked: Asked, held: Value, next: { readonly version: number } | null): Output | null {
  if (asked.kind === 'cas') return next === null ? { applied: false, version: held.version } : { applied: true, version: next.version }
  return asked.kind === 'put' && next !== null ? { version: next.version } : null
}

/** What the write makes of the held value; null: nothing. */
function decide(held: Value, asked: Asked): { readonly version: number; readonly text: string | null } | null {
  if (asked.kind === 'put') return { version: held.version + 1, text: asked.input.value }
  if (asked.kind === 'cas') return held.version === asked.input.expected ? { version: held.version + 1, text: asked.input.value } : null
  return held.text === null ? null : { version: held.version, text: null }
}
