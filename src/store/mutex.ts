/** Runs tasks one after the other, in the order in which they came. A failed one does not stop those behind it. */
export class Mutex {
  #last: Promise<void> = Promise.resolve()

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task)
    this.#last = result.then(
      () => {},
      () => {},
    )
    return result
  }
}
