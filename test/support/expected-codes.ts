/**
 * Which error codes a test's text expects: those that stand whole in what an assertion compares with, `toMatchObject({ code: 'ERR_X' })` or the like. A code
 * in a title, a comment, a sentence, or an error that the test makes itself proves nothing: such a test passes when the code is never met.
 *
 * Read by a scanner of brackets and strings, not by a parser: it needs to know only which calls are open where a string stands.
 */
const compares = /^(?:to[A-Z]\w*|objectContaining)$/
/** An error that the test puts together to hand it on: what comes out later may be another. */
const makes = /^(?:HoldfastError|RefusedError|Error)$/

interface Seen {
  readonly text: string
  /** Names of the calls that are open there, outermost first; '' for brackets of another kind. */
  readonly calls: readonly string[]
}

/** Codes that `source` expects, each once. */
export function expectedCodes(source: string): Set<string> {
  const found = new Set<string>()
  for (const { text, calls } of stringsOf(source)) {
    if (!/^ERR_[A-Z_]+$/.test(text)) continue
    if (calls.some((name) => compares.test(name)) && !calls.some((name) => makes.test(name))) found.add(text)
  }
  return found
}

function* stringsOf(source: string): Generator<Seen, void, undefined> {
  const calls: string[] = []
  for (let at = 0; at < source.length; at += 1) {
    const letter = source[at]!
    const skipped = commentEnd(source, at) ?? regexEnd(source, at)
    if (skipped !== null) at = skipped - 1
    else if (`'"\``.includes(letter)) {
      const end = stringEnd(source, at)
      yield { text: source.slice(at + 1, end), calls: [...calls] }
      at = end
    } else if ('([{'.includes(letter)) calls.push(letter === '(' ? nameBefore(source, at) : '')
    else if (')]}'.includes(letter)) calls.pop()
  }
}

const nameBefore = (source: string, at: number): string => /(\w+)(?:<[^<>()]*>)?$/.exec(source.slice(Math.max(0, at - 80), at))?.[1] ?? ''

/** Behind the string that begins at `at`, at its closing quote. */
function stringEnd(source: string, at: number): number {
  let end = at + 1
  while (end < source.length && source[end] !== source[at]) end += source[end] === '\\' ? 2 : 1
  return end
}

function commentEnd(source: string, at: number): number | null {
  const end = source.startsWith('//', at) ? source.indexOf('\n', at) : source.startsWith('/*', at) ? source.indexOf('*/', at) + 2 : null
  return end === null ? null : end < at ? source.length : end
}

/** A slash begins an expression where no value can have ended: else it divides. */
function regexEnd(source: string, at: number): number | null {
  if (source[at] !== '/' || !/(?:^|[(,=:[!&|?{};\n>])\s*$/.test(source.slice(Math.max(0, at - 40), at))) return null
  let inClass = false
  for (let end = at + 1; end < source.length && source[end] !== '\n'; end += 1) {
    if (source[end] === '\\') end += 1
    else if (source[end] === '[') inClass = true
    else if (source[end] === ']') inClass = false
    else if (source[end] === '/' && !inClass) return end + 1
  }
  return null
}
