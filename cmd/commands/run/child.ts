/** The process that gets the secrets: started, told of signals, ended and started anew. */
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { RefusedError } from '../../cli/types.ts'

/** Those that whoever runs us may send, and means for the process. */
const passedOn = ['SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const
const codeOfSignal = 128

export interface Ended {
  /** Its exit code; 128 and the signal's number when one ended it, as shells have it. */
  readonly code: number
}

export class Child {
  readonly #process: ChildProcess
  readonly #ended: Promise<Ended>
  #isEnded = false

  /** @throws RefusedError where there is no such program (exit codes 126 and 127 as shells have them would say nothing of why). */
  private constructor(started: ChildProcess) {
    this.#process = started
    this.#ended = new Promise((resolve) => {
      started.once('exit', (code, signal) => {
        this.#isEnded = true
        resolve({ code: code ?? codeOfSignal + (signal === null ? 0 : constants.signals[signal]) })
      })
    })
  }

  static async start(command: readonly string[], env: Readonly<Record<string, string>>): Promise<Child> {
    const [program = '', ...args] = command
    const started = spawn(program, args, { stdio: 'inherit', env: { ...env } })
    const child = new Child(started)
    await new Promise<void>((resolve, reject) => {
      started.once('spawn', resolve)
      started.once('error', (error: NodeJS.ErrnoException) =>
        reject(
          new RefusedError(`could not start ${program}: ${error.code ?? 'unknown failure'}`, 'is it in PATH, and may it be executed?'),
        ),
      )
    })
    // A signal that may not be sent (the program has become another user) is an event as well: it must not end this process, which holds what was lent.
    started.on('error', () => {})
    return child
  }

  get ended(): Promise<Ended> {
    return this.#ended
  }

  signal(name: NodeJS.Signals): void {
    if (!this.#isEnded) this.#process.kill(name)
  }

  /** SIGTERM, and SIGKILL for what has not ended `graceMs` later. */
  async stop(graceMs: number): Promise<void> {
    this.signal('SIGTERM')
    const timer = setTimeout(() => this.signal('SIGKILL'), graceMs)
    await this.#ended
    clearTimeout(timer)
  }
}

/** After these nobody wants it started anew. */
const ending: readonly string[] = ['SIGTERM', 'SIGINT', 'SIGQUIT']

/** Signals for whichever process runs. `ended`: one came that means the end. */
export interface Signals extends Disposable {
  readonly ended: boolean
}

/** Hands signals on. At a terminal Ctrl-C reaches the whole group: passed on, it would arrive twice. */
export function passSignals(to: () => Child | null): Signals {
  let ended = false
  const handlers = [...passedOn, 'SIGINT' as const].map((name) => {
    const handler = (): void => {
      ended ||= ending.includes(name)
      if (name !== 'SIGINT' || !process.stdin.isTTY) to()?.signal(name)
    }
    return [name, handler] as const
  })
  for (const [name, handler] of handlers) process.on(name, handler)
  return {
    get ended() {
      return ended
    },
    [Symbol.dispose]() {
      for (const [name, handler] of handlers) process.off(name, handler)
    },
  }
}
