/**
 * Work that must not be done inside a view or a transaction: it costs much (hashing a password) or leaves the process (asking a provider).
 *
 * Intuition: the handler says what it needs and is unwound; its view is let go; the work is done once; then the handler runs again from its
 * beginning, in a view of its own, and finds the result. So no snapshot is held while a directory server thinks, a conflict repeats the handler but
 * not the hash, and what was read before the work is read again after it.
 */
import { assert } from '#base/assert.ts'
import { Attached } from '#base/attached.ts'

/** Kinds of work that one request may set aside. */
const asidesMax = 16

type Result = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: unknown }

/** Unwinds a handler. Only the core catches it: a handler that catches everything must let it pass. */
export class NeedsAside extends Error {
  readonly key: string
  readonly work: () => Promise<unknown>
  constructor(key: string, work: () => Promise<unknown>) {
    super('work to be done outside of the transaction')
    this.key = key
    this.work = work
  }
}

/** What was done aside for one request; outlives its evaluations. */
export class Asides {
  readonly #results = new Map<string, Result>()

  find(key: string): Result | undefined {
    return this.#results.get(key)
  }

  /** Never rejects: a failure is a result, thrown where the handler asks for it. */
  async carryOut({ key, work }: NeedsAside): Promise<void> {
    assert(this.#results.size < asidesMax, `a request expected at most ${asidesMax} pieces of work aside`)
    this.#results.set(
      key,
      await work().then(
        (value) => ({ ok: true, value }),
        (error: unknown) => ({ ok: false, error }),
      ),
    )
  }
}

/** The context of a handler, or what else is called in its place (a lease's `LeaseCall`). */
class WithAsides extends Attached {
  readonly #asides: Asides
  constructor(context: object, asides: Asides) {
    super(context)
    this.#asides = asides
  }
  static of(context: object): Asides | undefined {
    return #asides in context ? (context as WithAsides).#asides : undefined
  }
}

/** For the core only; once a context. */
export function bindAsides(context: object, asides: Asides): void {
  new WithAsides(context, asides)
}

/** For the core only: `to` is called on behalf of the request of `from`. */
export function shareAsides(from: object, to: object): void {
  const asides = WithAsides.of(from)
  if (asides !== undefined) bindAsides(to, asides)
}

/**
 * The result of `work`, done once a request and key, with no view or transaction open. `key` names the inputs, in the clear of no secret: for other
 * inputs (the stored hash changed meanwhile) it must be another. Call it before the handler's first write: what it wrote is lost when it is unwound.
 * @throws what `work` throws.
 */
export async function aside<T>(context: object, key: string, work: () => Promise<T>): Promise<T> {
  const asides = WithAsides.of(context)
  if (asides === undefined) return work()
  const result = asides.find(key)
  if (result === undefined) throw new NeedsAside(key, work)
  if (!result.ok) throw result.error
  return result.value as T
}
