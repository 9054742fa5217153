/**
 * Names that views still use although nobody is given them any more: their name key was replaced, or only one view was ever to have them. They can't be wiped
 * at once, since whoever went on with a zeroed key would look where nothing lies; and dropped, they would stay in memory for as long as the engine likes. So
 * they are wiped when the last view that may have them has ended, and all at once when their namespace or the node is sealed: then nobody may go on.
 *
 * Bounded by what is under way: a view lends at most one for each namespace that it reads, and what is retired waits for views that began before.
 */
import type { ViewPoint } from './cache.ts'
import type { NamespaceNames } from './names.ts'

export class LentNames {
  /** Views under way, in the order in which they began, with the number of each. */
  readonly #views = new Map<ViewPoint, number>()
  readonly #own = new Map<ViewPoint, Map<string, NamespaceNames>>()
  /** With the number of the newest view that may use them; in that order. */
  #retired: { readonly names: NamespaceNames; readonly lastView: number }[] = []
  #begun = 0

  /** How many wait to be wiped. */
  get size(): number {
    let own = 0
    for (const names of this.#own.values()) own += names.size
    return own + this.#retired.length
  }

  begin(point: ViewPoint): void {
    this.#views.set(point, (this.#begun += 1))
  }

  /** The view at `point` uses no names any more. */
  end(point: ViewPoint): void {
    for (const names of this.#own.get(point)?.values() ?? []) names.wipe()
    this.#own.delete(point)
    this.#views.delete(point)
    if (this.#retired.length > 0) this.#wipeUnused()
  }

  lentTo(point: ViewPoint, namespace: string): NamespaceNames | undefined {
    return this.#own.get(point)?.get(namespace)
  }

  /** Names that the view at `point` has, and nobody else. */
  lend(point: ViewPoint, namespace: string, names: NamespaceNames): void {
    const own = this.#own.get(point) ?? new Map<string, NamespaceNames>()
    this.#own.set(point, own.set(namespace, names))
  }

  /** No view that begins from now on is given `names`. */
  retire(names: NamespaceNames): void {
    this.#retired.push({ names, lastView: this.#begun })
    this.#wipeUnused()
  }

  /** Wipes, now, those that `which` holds for. */
  wipe(which: (names: NamespaceNames) => boolean): void {
    for (const own of this.#own.values())
      for (const [namespace, names] of own) {
        if (!which(names)) continue
        names.wipe()
        own.delete(namespace)
      }
    for (const { names } of this.#retired) if (which(names)) names.wipe()
    this.#retired = this.#retired.filter(({ names }) => !which(names))
  }

  #wipeUnused(): void {
    const { value: oldest = Infinity } = this.#views.values().next()
    for (let next = this.#retired[0]; next !== undefined && next.lastView < oldest; next = this.#retired[0]) {
      next.names.wipe()
      this.#retired.shift()
    }
  }
}
