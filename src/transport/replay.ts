/** What was sent and is not acknowledged yet, so that another connection can go on where one broke. Whoever fills it keeps it small. */
import { HoldfastError } from '#base/errors.ts'

export class Replay {
  readonly #pieces: Uint8Array[] = []
  /** Offset of the first piece, and behind the last. */
  #start = 0
  #end = 0
  #waiting: PromiseWithResolvers<void> | null = null
  acknowledged = 0
  /** Nothing comes behind what is here. */
  ended = false

  get heldBytes(): number {
    return this.#end - this.acknowledged
  }

  /** Keeps `piece`, which must not change any more. */
  push(piece: Uint8Array): void {
    if (piece.length === 0) return
    this.#pieces.push(piece)
    this.#end += piece.length
    this.wake()
  }

  end(): void {
    this.ended = true
    this.wake()
  }

  /** The other end has the first `bytes`, and needs them no more. @throws ERR_FRAME for what can't be. */
  acknowledge(bytes: unknown): void {
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 0 || (bytes as number) > this.#end)
      throw new HoldfastError('ERR_FRAME', `snapshot: expected an acknowledgement of at most ${this.#end} bytes, got another`)
    this.acknowledged = Math.max(this.acknowledged, bytes as number)
    for (let first = this.#pieces[0]; first !== undefined && this.#start + first.length <= this.acknowledged; first = this.#pieces[0]) {
      this.#start += first.length
      this.#pieces.shift()
    }
    this.wake()
  }

  /** What comes at `offset`, at least a byte of it; null: nothing yet. */
  from(offset: number): Uint8Array | null {
    let at = this.#start
    for (const piece of this.#pieces) {
      if (offset < at + piece.length) return piece.subarray(offset - at)
      at += piece.length
    }
    return null
  }

  /** Resolves with the next change, or `wake`. */
  changed(): Promise<void> {
    this.#waiting ??= Promise.withResolvers()
    return this.#waiting.promise
  }

  wake(): void {
    this.#waiting?.resolve()
    this.#waiting = null
  }
}
