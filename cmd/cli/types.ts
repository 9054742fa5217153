/** What a subcommand is: one row of the table from which parsing, help, did-you-mean and shell completion come. */
import type { Client } from '#client/client.ts'
import type { Flags } from './args.ts'
import type { Io } from './io.ts'
import type { Output } from './output.ts'

export interface FlagSpec {
  /** 'list' may be given several times; 'map' too, each time as key=value. */
  readonly type: 'string' | 'bool' | 'int' | 'list' | 'map'
  readonly description: string
  /** Shown for its value: FILE, SECONDS ... */
  readonly placeholder?: string
  readonly values?: readonly string[]
}

export interface Command {
  /** ['kv', 'get'] */
  readonly path: readonly string[]
  /** One line. */
  readonly synopsis: string
  /** The arguments as help shows them: 'PATH [KEY=VALUE ...]'. */
  readonly args: string
  readonly argsMin: number
  readonly argsMax: number
  readonly description?: string
  /** At least one. */
  readonly examples: readonly string[]
  readonly flags?: Readonly<Record<string, FlagSpec>>
  /** Talks to no server: has no connection flags. */
  readonly local?: boolean
  /** Sends several requests, of which the later ones depend on answers: there is no one request to print in its place, and no one policy. */
  readonly sendsSeveral?: boolean
  /** @returns the exit code, 0 when nothing is returned. */
  readonly run: (context: CommandContext) => Promise<number | void>
}

export interface CommandContext {
  readonly command: Command
  readonly args: readonly string[]
  readonly flags: Flags
  readonly io: Io
  readonly output: Output
  /** Made at the first call; closed by the dispatcher. */
  readonly client: () => Promise<Client>
  readonly commands: readonly Command[]
}

/** 0 ok, 1 used wrongly, 2 refused, sealed or unreachable. */
export const exitCodes = { ok: 0, usage: 1, refused: 2 } as const

/** The command line is wrong. Exit code 1. */
export class UsageError extends Error {
  readonly hint: string | undefined
  constructor(message: string, hint?: string) {
    super(message)
    this.name = 'UsageError'
    this.hint = hint
  }
}

/** Asked rightly, and the answer is no. Exit code 2. */
export class RefusedError extends Error {
  readonly hint: string | undefined
  constructor(message: string, hint?: string) {
    super(message)
    this.name = 'RefusedError'
    this.hint = hint
  }
}
