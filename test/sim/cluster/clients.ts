/**
 * Five clients, three keys, and the service that they talk to: what the barrier does for a request, done on the real Replica. What a client was
 * told goes into the history that the checker judges at the end.
 */
import { isHoldfastError } from '#base/errors.ts'
import type { StartedReplica } from '#replica/index.ts'
import { HistoryRecorder, type Asked, type Output } from '#test/support/linearizability/history.ts'
import type { Prng } from '../prng.ts'
import type { Life } from './life.ts'
import type { ClusterOracle } from './oracle.ts'
import { decodeValue, encodeValue, keyBytes, section, ValueRefused, type Value } from './value.ts'
import type { World } from './world.ts'

export const keys = ['a', 'b', 'c'] as const
const clientsCount = 5
const attemptsMax = 5

/** How a request ended, as its client may know it. */
type Answer = { readonly kind: 'done'; readonly output: Output | null } | { readonly kind: 'failed' } | { readonly kind: 'unknown' }

const failed: Answer = { kind: 'failed' }
const unknown: Answer = { kind: 'unknown' }

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

  constructor(world: World) {
    this.#world = world
    this.#random = world.random.fork()
    for (let at = 1; at <= clientsCount; at += 1) this.#next(`c${at}`)
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
    const world = this.#world
    const target = this.#target()
    if (target === null) return this.#next(client)
    const asked = this.#draw(client)
    const id = this.recorder.call(asked)
    this.operations += 1
    world.trace(`ask ${asked.kind} ${asked.key}`, client, target.id, 0, id)
    let open = true
    const end = (answer: Answer): void => {
      if (!open) return
      open = false
      world.trace(`answer ${answer.kind}`, client, target.id, 0, id)
      world.say(() => `${client} ${asked.kind} ${asked.key} ${JSON.stringify(asked.input)} -> ${JSON.stringify(answer)}`)
      if (answer.kind === 'done') {
        this.answered += 1
        this.recorder.returned(id, answer.output)
        if (answer.output !== null && typeof answer.output.version === 'number')
          this.#seen.set(`${client} ${asked.key}`, answer.output.version)
      } else if (answer.kind === 'failed') this.recorder.failed(id)
      else this.recorder.unknown(id)
      this.#next(client)
    }
    world.scheduler.after(world.plan.requestMs * 1_000, () => end(unknown))
    world.scheduler.after(world.network.delay(), () => {
      // Lost on the way there: as far as the client knows, anything may have happened.
      if (!target.alive || this.#random.chance(world.chances.loss)) return
      target.run(() => {
        serve(target, asked, this.#service(target, asked)).then(
          (answer) => {
            if (target.alive && !this.#random.chance(world.chances.loss)) world.scheduler.after(world.network.delay(), () => end(answer))
          },
          (error: unknown) => world.fail(error),
        )
      })
    })
  }

  #service(life: Life, asked: Asked): Service {
    const { oracle, plan } = this.#world
    return {
      oracle,
      timeoutMs: plan.requestMs,
      nowMs: () => life.clock().nowMs(),
      key: keyBytes(asked.key),
      attempt: () => (this.#attempts += 1),
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
    const key = this.#random.pick(keys)
    const common = { client, key }
    const kind = this.#random.pick(['get', 'get', 'put', 'put', 'cas', 'cas', 'delete'] as const)
    if (kind === 'get' || kind === 'delete') return { ...common, kind, input: null }
    this.#texts += 1
    const value = `v${this.#texts}`
    if (kind === 'put') return { ...common, kind, input: { value } }
    return { ...common, kind, input: { expected: this.#seen.get(`${client} ${key}`) ?? 0, value } }
  }
}

interface Service {
  readonly oracle: ClusterOracle
  readonly timeoutMs: number
  readonly key: Uint8Array
  readonly nowMs: () => number
  readonly attempt: () => number
}

async function serve(life: Life, asked: Asked, service: Service): Promise<Answer> {
  const { replica } = life
  if (replica === null) return failed
  try {
    if (asked.kind === 'get') return await read(replica, asked, service)
    for (let at = 0; at < attemptsMax; at += 1) {
      const answer = await write(replica, asked, service)
      if (answer !== 'conflict') return answer
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
  const { version, text } = current(replica, asked, service)
  return { kind: 'done', output: { version, value: text } }
}

function current(replica: StartedReplica, asked: Asked, service: Service): Value & { readonly viewIndex: number } {
  const view = replica.view()
  try {
    return { ...decodeValue(asked.key, view.get(service.key)), viewIndex: view.meta.applied }
  } finally {
    view.release()
  }
}

/** One evaluation, as the barrier does it: read at a view, decide, propose what follows; what writes nothing is confirmed first. */
async function write(replica: StartedReplica, asked: Asked, service: Service): Promise<Answer | 'conflict'> {
  const { ready, term } = replica.status()
  if (!ready) return failed
  const held = current(replica, asked, service)
  const next = decide(held, asked)
  if (next === null) {
    await replica.readIndex(service.timeoutMs)
    const now = replica.status()
    if (!now.ready || now.term !== term) return failed
    return { kind: 'done', output: asked.kind === 'cas' ? { applied: false, version: held.version } : null }
  }
  const attempt = service.attempt()
  const { oracle } = service
  oracle.attempted(attempt)
  const value = encodeValue(asked.key, { ...next, attempt })
  const sections = [{ section, ops: [{ key: service.key, value }] }]
  try {
    const { index } = await replica.propose({
      term,
      viewIndex: held.viewIndex,
      reads: [service.key],
      ranges: [],
      sections,
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
  if (asked.kind === 'put') return { kind: 'done', output: { version: next.version } }
  return { kind: 'done', output: asked.kind === 'cas' ? { applied: true, version: next.version } : null }
}

/** What the write makes of the held value; null: nothing. */
function decide(held: Value, asked: Asked): { readonly version: number; readonly text: string | null } | null {
  if (asked.kind === 'put') return { version: held.version + 1, text: asked.input.value }
  if (asked.kind === 'cas') return held.version === asked.input.expected ? { version: held.version + 1, text: asked.input.value } : null
  return held.text === null ? null : { version: held.version, text: null }
}
