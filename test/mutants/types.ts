/** A seeded bug: one condition or one line, that still compiles and that a cluster without faults does not notice. */
export interface Mutant {
  /** Short and stable: results are compared across commits by it. */
  readonly id: string
  /** Which of the listed failures of real implementations it stands for. */
  readonly failures: readonly number[]
  readonly file: string
  /** Occurs exactly once in `file`; anything else is an error, so that the set cannot rot silently. */
  readonly find: string
  readonly replace: string
  /** What goes wrong, in one sentence. */
  readonly breaks: string
  /**
   * `test` is 'path::name'. The simulator always has its try first: all of its time where it is expected to succeed, a third otherwise. Then the
   * named test has its own.
   */
  readonly killedBy: { readonly simulator: true; readonly test?: string } | { readonly test: string }
}

/** `text` with the mutant in it. @throws when its text does not occur exactly once, or the mutant changes nothing. */
export function mutate(text: string, { id, file, find, replace }: Mutant): string {
  const parts = text.split(find)
  if (parts.length !== 2) throw new Error(`mutant ${id}: expected its text once in ${file}, got it ${parts.length - 1} times`)
  if (find === replace) throw new Error(`mutant ${id}: expected another text than what is there`)
  return parts.join(replace)
}

/** The two halves of a named test. */
export function splitTest(test: string): { readonly path: string; readonly name: string } {
  const at = test.indexOf('::')
  if (at < 0) throw new Error(`expected 'path::name', got '${test}'`)
  return { path: test.slice(0, at), name: test.slice(at + 2) }
}
