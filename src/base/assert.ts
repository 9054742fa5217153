/** The project's own assertion, never compiled out: a broken invariant must stop the process before it reaches a disk or a client. */
export class AssertionError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'AssertionError'
  }
}

/** Throws AssertionError unless `condition`. `message` says what would break, worded "expected X, got Y"; never a secret. */
export function assert(condition: unknown, message = 'invariant broken'): asserts condition {
  if (!condition) throw new AssertionError(message)
}
