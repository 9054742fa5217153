import { timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'

/** Key material as a type that will not print, and that is wiped when its scope ends. Takes ownership of the bytes. */
export class SecretBytes implements Disposable {
  readonly #bytes: Uint8Array
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }
  /** The bytes themselves, still owned by this object. One verb to search for in a review. */
  reveal(): Uint8Array {
    return this.#bytes
  }
  get length(): number {
    return this.#bytes.length
  }
  toJSON(): string {
    return '[secret]'
  }
  toString(): string {
    return '[secret]'
  }
  [inspect.custom](): string {
    return '[secret]'
  }
  /** Overwrites the bytes. Best effort: the engine may have copied them (docs/threat-model.md). */
  [Symbol.dispose](): void {
    this.#bytes.fill(0)
  }
}

/** Compares two byte strings in time that depends on their lengths only. */
export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

/** Compares two strings as `equalSecrets` does. */
export function equalSecretStrings(a: string, b: string): boolean {
  return equalSecrets(Buffer.from(a), Buffer.from(b))
}
