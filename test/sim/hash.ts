/** FNV-1a over 32 bits, twice with different bases: enough to tell histories apart, and quick. */
export class Hash {
  #a = 0x811c9dc5
  #b = 0x01000193

  number(value: number): this {
    this.#mix(value >>> 0)
    this.#mix(Math.floor(value / 2 ** 32) >>> 0)
    return this
  }

  text(text: string): this {
    for (let i = 0; i < text.length; i += 1) this.#mix(text.charCodeAt(i))
    this.#mix(text.length)
    return this
  }

  bytes(bytes: Uint8Array): this {
    for (const byte of bytes) this.#mix(byte)
    this.#mix(bytes.length)
    return this
  }

  #mix(word: number): void {
    this.#a = Math.imul(this.#a ^ word, 0x01000193)
    this.#a ^= this.#a >>> 15
    this.#b = Math.imul(this.#b ^ word, 0x85ebca6b)
    this.#b ^= this.#b >>> 13
  }

  hex(): string {
    return (this.#a >>> 0).toString(16).padStart(8, '0') + (this.#b >>> 0).toString(16).padStart(8, '0')
  }
}
