/**
 * Calls and returns of the completed operations in order of time, as a doubly linked list from which an operation can
 * be lifted and put back in constant time (Lowe, "Testing for linearizability", 2017). What stands before the first
 * return is what may be linearised next.
 */
import type { Operation } from './history.ts'

const head = 0

export class EventList {
  readonly #next: Int32Array
  readonly #previous: Int32Array

  /** Node 2p+1 is the call and node 2p+2 the return of the operation at position p. All of them must have returned. */
  constructor(operations: readonly Operation[]) {
    const time = (node: number): number => {
      const operation = operations[(node - 1) >> 1] as Operation
      return isReturn(node) ? (operation.returnAt as number) : operation.callAt
    }
    const nodes = Array.from({ length: operations.length * 2 }, (_, i) => i + 1)
    // At a tie calls go first: the two operations then count as concurrent.
    nodes.sort((a, b) => time(a) - time(b) || Number(isReturn(a)) - Number(isReturn(b)) || a - b)
    this.#next = new Int32Array(nodes.length + 1)
    this.#previous = new Int32Array(nodes.length + 1)
    let last = head
    for (const node of nodes) {
      this.#link(last, node)
      last = node
    }
    this.#link(last, head)
  }

  /**
   * Visits the operations before the first return, in order of their calls; `visit` says whether to lift the one it
   * was given, which may let more of them come before the first return. Returns the position of the operation whose
   * return ends the walk (it must be linearised before anything called later), or -1 if the list is empty.
   */
  walk(visit: (position: number) => boolean): number {
    let node = this.#next[head] as number
    while (node !== head && !isReturn(node)) {
      const before = this.#previous[node] as number
      const position = (node - 1) >> 1
      const lifted = visit(position)
      if (lifted) this.lift(position)
      // Not the lifted node's own successor: that may be its return, which has left the list with it.
      node = this.#next[lifted ? before : node] as number
    }
    return node === head ? -1 : (node - 1) >> 1
  }

  lift(position: number): void {
    this.#unlink(2 * position + 1)
    this.#unlink(2 * position + 2)
  }

  /** Only in the reverse order of the lifts: a node remembers its neighbours as they were when it left. */
  putBack(position: number): void {
    this.#relink(2 * position + 2)
    this.#relink(2 * position + 1)
  }

  #link(a: number, b: number): void {
    this.#next[a] = b
    this.#previous[b] = a
  }

  #unlink(node: number): void {
    this.#link(this.#previous[node] as number, this.#next[node] as number)
  }

  #relink(node: number): void {
    this.#next[this.#previous[node] as number] = node
    this.#previous[this.#next[node] as number] = node
  }
}

function isReturn(node: number): boolean {
  return node % 2 === 0
}
