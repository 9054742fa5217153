/**
 * Snapshots that are saved from one node and restored later by whoever leads then, in the middle of everything else. Each restore begins an epoch of its own:
 * the marker that lies in the restored state says which, so that every view tells what life of the cluster it is of. Operations are judged by epoch: each
 * register begins as the snapshot had it, and nothing that began after an answer of one epoch may see an earlier one.
 */
import { isHoldfastError } from '#base/errors.ts'
import type { Operation } from '#test/support/linearizability/history.ts'
import { empty, type State } from '#test/support/linearizability/model.ts'
import type { StateView } from '#store/types.ts'
import { Prng } from '../prng.ts'
import type { Life } from './life.ts'
import { OracleError } from './oracle.ts'
import { decodeValue, encodeValue, keyBytes, ValueRefused } from './value.ts'
import type { World } from './world.ts'

export const epochKey = 'epoch'

/** @throws ValueRefused */
export const epochOf = (view: StateView): number => decodeValue(epochKey, view.get(keyBytes(epochKey))).version

interface Saved {
  readonly pieces: readonly Uint8Array[]
  readonly registers: ReadonlyMap<string, State>
  readonly incarnation: number
  readonly timeMs: number
}

interface Attempt {
  readonly registers: ReadonlyMap<string, State>
  readonly callAt: number
  /** null: nobody was told that it is done. */
  returnAt: number | null
}

/** Refusals that say that nothing was replaced. */
const surelyNot: readonly string[] = ['ERR_NOT_LEADER', 'ERR_BUSY', 'ERR_NO_MAJORITY', 'ERR_CONFLICT']

export class Restores {
  readonly #world: World
  readonly #random: Prng
  readonly #chance: number
  readonly #registers: readonly string[]
  #saved: Saved | null = null
  readonly #busy = new WeakSet<Life>()
  readonly #attempts: Attempt[] = []

  constructor(world: World, seed: number, registers: readonly string[]) {
    this.#world = world
    this.#registers = registers
    this.#random = new Prng(seed + 0x4e570)
    this.#chance = this.#random.chance(0.3) ? this.#random.pick([0.004, 0.01, 0.02]) : 0
  }

  /** Whether anything is ever restored in this run. */
  get active(): boolean {
    return this.#chance > 0
  }

  /** Once a tick. */
  tick(): void {
    if (!this.#random.chance(this.#chance)) return
    const lives = [...this.#world.nodes.values()].flatMap(({ life }) => (life?.replica ? [life] : []))
    if (lives.length === 0) return
    const life = this.#random.pick(lives)
    if (this.#saved === null || this.#random.chance(0.3)) life.run(() => this.#detached(this.#save(life)))
    const leader = lives.find(({ id }) => id === this.#world.oracle.leader?.id)
    if (this.#saved !== null && leader !== undefined) leader.run(() => this.#detached(this.#restore(leader, this.#saved as Saved)))
  }

  /** A node whose state was just replaced, between two steps of its disk. */
  strikes(): number {
    return this.#world.stormy && this.#random.chance(0.3) ? this.#random.between(1, 30) : 0
  }

  #detached(work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!isHoldfastError(error) && !(error instanceof ValueRefused)) this.#world.fail(error)
    })
  }

  async #save({ state, replica }: Life): Promise<void> {
    if (state === null || replica === null || state.damage !== null) return
    const { level, incarnation } = replica.status()
    const view = state.view()
    const registers = new Map<string, State>()
    try {
      for (const key of this.#registers) {
        const { version, text } = decodeValue(key, view.get(keyBytes(key)))
        registers.set(key, { version, value: text })
      }
    } finally {
      view.release()
    }
    const { leaderTimeMs: timeMs } = state.meta
    const sent = state.snapshot(level)
    const pieces: Uint8Array[] = []
    try {
      for await (const piece of sent.stream) pieces.push(Uint8Array.from(piece))
    } finally {
      sent.release()
    }
    this.#world.count('restore-saved')
    this.#saved = { pieces, registers, incarnation, timeMs }
  }

  async #restore(life: Life, { pieces, registers, incarnation, timeMs }: Saved): Promise<void> {
    const { replica } = life
    const { recorder } = this.#world.clients ?? {}
    if (replica === null || recorder === undefined || this.#busy.has(life)) return
    this.#busy.add(life)
    const attempt: Attempt = { registers, callAt: recorder.instant(), returnAt: null }
    const epoch = this.#attempts.push(attempt)
    const marker = { key: keyBytes(epochKey), value: encodeValue(epochKey, { version: epoch, text: null, attempt: 0 }) }
    const leaveOut = (key: Uint8Array): boolean => Buffer.compare(key, marker.key) === 0
    try {
      const staged = await replica.stage(streamOf(pieces), { leaveOut, add: () => [marker] })
      this.#world.count('restore-staged')
      const now = Math.max(0, Math.floor(life.clock().nowMs()), timeMs)
      try {
        await replica.restore(staged, { incarnation, timeMs: now })
        attempt.returnAt = recorder.instant()
        this.#world.count('restore-acknowledged')
        this.#world.trace('restored', life.id, '', epoch, 0)
      } catch (error) {
        if (isHoldfastError(error) && surelyNot.includes(error.code)) await replica.discard(staged.id)
        throw error
      }
    } finally {
      this.#busy.delete(life)
    }
  }

  /** `history` with each operation under the epoch that it belongs to; `epochs` of those whose outcome is unknown may be several. */
  split(history: readonly Operation[], epochs: (operation: Operation) => readonly number[]): Operation[] {
    const split: Operation[] = []
    for (const operation of history)
      for (const epoch of epochs(operation)) split.push({ ...operation, id: split.length, key: `${operation.key}@${epoch}` })
    this.#checkOrder(split)
    return split
  }

  /** How a register begins, by its name after `split`. */
  initial(name: string): State {
    const at = name.lastIndexOf('@')
    return this.#attempts[Number(name.slice(at + 1)) - 1]?.registers.get(name.slice(0, at)) ?? empty
  }

  /** Real time over the epochs: what began after somebody was told of a later one sees that, or one later still. */
  #checkOrder(split: readonly Operation[]): void {
    const told = this.#attempts.flatMap(({ callAt, returnAt }, at) => (returnAt === null ? [] : [{ epoch: at + 1, callAt, returnAt }]))
    const seen = [
      ...split.flatMap(({ key, callAt, returnAt }) => (returnAt === null ? [] : [{ epoch: epochIn(key), callAt, returnAt }])),
      ...told,
    ]
    const byReturn = seen.toSorted((a, b) => a.returnAt - b.returnAt)
    const byCall = seen.toSorted((a, b) => a.callAt - b.callAt)
    let next = 0
    let newest = 0
    for (const { epoch, callAt } of byCall) {
      for (let first = byReturn[next]; first !== undefined && first.returnAt < callAt; first = byReturn[next]) {
        newest = Math.max(newest, first.epoch)
        next += 1
      }
      if (epoch < newest)
        throw new OracleError(`restore: something that began at ${callAt}, after an answer of epoch ${newest}, saw epoch ${epoch}`)
    }
  }
}

const epochIn = (name: string): number => Number(name.slice(name.lastIndexOf('@') + 1))

async function* streamOf(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces
}
