/**
 * A token helper is a program of the user's that keeps the token: called with `get` it prints it, with `store` it reads it from standard input, with
 * `erase` it forgets it. The protocol is the field's, so that helpers for the peers' commands serve here.
 */
import { spawnSync } from 'node:child_process'
import { RefusedError } from './types.ts'

const helperMsMax = 10_000
const tokenBytesMax = 65_536

type Environment = Readonly<Record<string, string | undefined>>

export class TokenHelper {
  readonly #program: string
  readonly #env: Environment
  constructor(program: string, env: Environment) {
    this.#program = program
    this.#env = env
  }

  /** What it printed. @throws RefusedError with the helper's name and how it ended; what it said goes to standard error by itself. */
  #run(verb: 'get' | 'store' | 'erase', input: string): string {
    const ran = spawnSync(this.#program, [verb], {
      input,
      env: { ...this.#env },
      timeout: helperMsMax,
      maxBuffer: tokenBytesMax,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    if (ran.status === 0) return ran.stdout.toString('utf8').trim()
    const how = ran.error === undefined ? `exit code ${ran.status ?? 'none'}` : ((ran.error as NodeJS.ErrnoException).code ?? 'an error')
    throw new RefusedError(
      `the token helper ${this.#program} ${verb} expected to end with 0, got ${how}`,
      'HOLDFAST_TOKEN_HELPER names it; without it the token is kept in ~/.holdfast-token',
    )
  }

  /** undefined: it keeps none. */
  get(): string | undefined {
    return this.#run('get', '') || undefined
  }
  store(token: string): void {
    this.#run('store', token)
  }
  erase(): void {
    this.#run('erase', '')
  }
}
