/**
 * Reads at any node, at any time, that no client waits for: what each saw must be no older than what anybody had seen before it began. Stricter than
 * the clients' histories, which are judged key by key, and many more of them at followers and learners.
 */
import { isHoldfastError } from '#base/errors.ts'
import { Prng } from '../prng.ts'
import type { Life } from './life.ts'
import type { World } from './world.ts'

export class Probes {
  readonly #world: World
  readonly #random: Prng
  readonly #chance: number

  constructor(world: World, seed: number) {
    this.#world = world
    this.#random = new Prng(seed + 0x9806e)
    this.#chance = this.#random.pick([0.01, 0.05, 0.15])
  }

  /** Once a tick. */
  tick(): void {
    if (!this.#random.chance(this.#chance)) return
    const lives = [...this.#world.nodes.values()].flatMap(({ life }) => (life?.replica ? [life] : []))
    // Several in a row: the later ones find a round under way that began before them.
    for (let left = this.#random.between(1, 3); left > 0 && lives.length > 0; left -= 1) {
      const life = this.#random.pick(lives)
      this.#world.scheduler.after(this.#random.below(10_000), () => life.run(() => this.#read(life)))
    }
  }

  #read(life: Life): void {
    const { oracle, plan } = this.#world
    const { replica } = life
    if (replica === null) return
    const seen = oracle.core.observed
    replica.readIndex(plan.requestMs).then(
      () => {
        if (!life.alive) return
        const view = replica.view()
        const { applied } = view.meta
        view.release()
        this.#world.count('probe')
        try {
          oracle.core.read(life.id, applied, seen)
        } catch (error) {
          this.#world.fail(error)
        }
      },
      (error: unknown) => {
        if (!isHoldfastError(error)) this.#world.fail(error)
      },
    )
  }
}
