/** The lines of one write, as the bytes that are hashed, sent and written: encoded once, into memory that is used again for the next write. */
const keptBytesMax = 1024 * 1024
const bytesMin = 64 * 1024
/** Of UTF-8, from a character of a string. */
const bytesOfCharMax = 3
const newline = 0x0a

/** Lines one after the other, each with a newline behind it. Their bytes are valid until `clear`. */
export class LineBatch {
  #bytes: Buffer = Buffer.alloc(0)
  #end = 0
  /** Where each line ends, without its newline. */
  #ends: number[] = []

  /** Appends a line. Gives its bytes, without the newline. */
  add(line: string): Uint8Array {
    const start = this.#end
    this.#makeRoom(line.length * bytesOfCharMax + 1)
    const end = start + this.#bytes.write(line, start)
    this.#bytes[end] = newline
    this.#end = end + 1
    this.#ends.push(end)
    return this.#bytes.subarray(start, end)
  }

  /** All of it, newlines included. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#end)
  }

  /** The bytes of each line, without its newline. */
  lines(): Buffer[] {
    let start = 0
    return this.#ends.map((end) => {
      const line = this.#bytes.subarray(start, end)
      start = end + 1
      return line
    })
  }

  /** Forgets all lines; nobody may read them any more. They hold names, which are not left in memory for whoever finds it. */
  clear(): void {
    this.#bytes.fill(0, 0, this.#end)
    if (this.#bytes.length > keptBytesMax) this.#bytes = Buffer.alloc(0)
    this.#end = 0
    this.#ends = []
  }

  #makeRoom(more: number): void {
    const need = this.#end + more
    if (need <= this.#bytes.length) return
    const before = this.#bytes
    // Not from the pool of small buffers: these bytes are wiped, and stay.
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(need, 2 * before.length, bytesMin))
    before.copy(this.#bytes, 0, 0, this.#end)
    before.fill(0, 0, this.#end)
  }
}
