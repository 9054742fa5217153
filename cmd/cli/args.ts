/**
 * Command lines as the field's people type them: flags with one dash or two, `-flag value` or `-flag=value`, before, between or
 * after the arguments; `--` ends the flags; `-` alone is an argument (standard input).
 */
import { nearest } from '#base/suggest.ts'
import { UsageError, type Command, type FlagSpec } from './types.ts'

type Specs = Readonly<Record<string, FlagSpec>>
const isFlag = (word: string): boolean => word.startsWith('-') && word !== '-' && word !== '--'

/** Flags as given, by type. A getter of the wrong type or of an unknown name is a bug of the command and throws. */
export class Flags {
  readonly #specs: Specs
  readonly #values = new Map<string, string[]>()
  constructor(specs: Specs) {
    this.#specs = specs
  }
  add(name: string, value: string): void {
    this.#values.set(name, [...(this.#values.get(name) ?? []), value])
  }
  #all(name: string, type: FlagSpec['type']): readonly string[] {
    if (this.#specs[name]?.type !== type) throw new Error(`flag -${name} expected to be declared as ${type}`)
    return this.#values.get(name) ?? []
  }
  has(name: string): boolean {
    return this.#values.has(name)
  }
  string(name: string): string | undefined {
    return this.#all(name, 'string').at(-1)
  }
  bool(name: string): boolean {
    return this.#all(name, 'bool').at(-1) === 'true'
  }
  int(name: string): number | undefined {
    const value = this.#all(name, 'int').at(-1)
    return value === undefined ? undefined : Number(value)
  }
  list(name: string): readonly string[] {
    return this.#all(name, 'list')
  }
  /** undefined when never given, so that "set to nothing" and "not said" stay apart. */
  map(name: string): Record<string, string> | undefined {
    const pairs = this.#all(name, 'map')
    if (pairs.length === 0) return undefined
    return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
  }
}

export interface Parsed {
  readonly flags: Flags
  readonly args: readonly string[]
}

/** Splits `words` (without the command's own) by `specs`. @throws UsageError, with a suggestion where one is near. */
export function parseArgs(words: readonly string[], specs: Specs): Parsed {
  const flags = new Flags(specs)
  const args: string[] = []
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? ''
    if (word === '--') {
      args.push(...words.slice(at + 1))
      break
    }
    if (!isFlag(word)) args.push(word)
    else if (takeFlag(flags, specs, word, words[at + 1])) at += 1
  }
  return { flags, args }
}

/** @returns whether the next word was the flag's value. */
function takeFlag(flags: Flags, specs: Specs, word: string, next: string | undefined): boolean {
  const [, name = '', inline] = /^--?([^=]*)(?:=(.*))?$/s.exec(word) ?? []
  const spec = Object.hasOwn(specs, name) ? specs[name] : undefined
  if (spec === undefined) {
    const near = nearest(name, Object.keys(specs))
    throw new UsageError(`unknown flag -${name}`, near === null ? undefined : `did you mean -${near}?`)
  }
  if (spec.type === 'bool' && inline === undefined) {
    flags.add(name, 'true')
    return false
  }
  const value = inline ?? next
  if (value === undefined) throw new UsageError(`flag -${name} expected a value, got none`, `write -${name}=${spec.placeholder ?? 'VALUE'}`)
  flags.add(name, checked(name, spec, value))
  return inline === undefined
}

function checked(name: string, spec: FlagSpec, value: string): string {
  const refuse = (expected: string): never => {
    // Not the value itself: it may be a token that slipped into the wrong place.
    throw new UsageError(`flag -${name} expected ${expected}, got something else`)
  }
  if (spec.values !== undefined && !spec.values.includes(value)) {
    const near = nearest(value, spec.values)
    throw new UsageError(`flag -${name} expected one of ${spec.values.join(', ')}`, near === null ? undefined : `did you mean ${near}?`)
  }
  if (spec.type === 'int' && !/^-?\d{1,15}$/.test(value)) return refuse('a whole number')
  if (spec.type === 'map' && !/^[^=]+=/s.test(value)) return refuse('key=value')
  if (spec.type !== 'bool') return value
  if (/^(1|t|true)$/i.test(value)) return 'true'
  return /^(0|f|false)$/i.test(value) ? 'false' : refuse('true or false')
}

export interface Found {
  readonly command: Command
  /** Everything but the words of the command's path. */
  readonly rest: readonly string[]
}

/**
 * Finds the command that the words name, also when flags stand before or between them (`specs`: all flags there are, to know
 * which take a value). `words`: how far they matched, for help and did-you-mean.
 */
export function findCommand(
  argv: readonly string[],
  commands: readonly Command[],
  specs: Specs,
): Found | { readonly words: readonly string[]; readonly unknown: string | null } {
  const words: string[] = []
  const rest: string[] = []
  let candidates = commands
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? ''
    if (isFlag(word)) {
      rest.push(word)
      const name = word.replace(/^--?/, '')
      if (Object.hasOwn(specs, name) && specs[name]?.type !== 'bool' && at + 1 < argv.length) rest.push(argv[++at] ?? '')
      continue
    }
    const next = candidates.filter((command) => command.path[words.length] === word)
    if (next.length === 0) return { words, unknown: word }
    words.push(word)
    candidates = next
    const exact = next.find((command) => command.path.length === words.length)
    if (exact !== undefined && next.length === 1) return { command: exact, rest: [...rest, ...argv.slice(at + 1)] }
    const following = argv.slice(at + 1).find((later) => !isFlag(later))
    const deeper = next.some((command) => command.path[words.length] === following)
    if (exact !== undefined && !deeper) return { command: exact, rest: [...rest, ...argv.slice(at + 1)] }
  }
  return { words, unknown: null }
}
