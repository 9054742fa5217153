/** An empty record without a prototype that V8 keeps fast: Object.create(null) begins as a hash table, at a microsecond a header. */
export interface BareRecord {
  [name: string]: string
}

const Bare = function (): void {} as unknown as new () => BareRecord
Bare.prototype = Object.freeze(Object.create(null) as object)

/** A new one, owned by the caller. Any name may be set, `__proto__` too. */
export const bareRecord = (): BareRecord => new Bare()
