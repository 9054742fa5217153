/** A shell that stays, as a person's does: what one command exports or starts is there for the next. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'

const commandMsMax = 60_000
const sentinel = '-- the command has ended with'

export interface TerminalOptions {
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** Run before the first command, unseen: what `npx` means here. */
  readonly prelude: string
}

export class Terminal {
  readonly #shell: ChildProcess
  #text = ''

  constructor({ cwd, env, prelude }: TerminalOptions) {
    // Descriptor 3 is a lifeline for servers that are left running in the background: it closes with this process, however that ends.
    this.#shell = spawn('bash', ['--noprofile', '--norc'], { cwd, env, stdio: ['pipe', 'pipe', 'inherit', 'pipe'] })
    this.#shell.stdout?.on('data', (part: Buffer) => (this.#text += part.toString()))
    for (const stream of [this.#shell.stdin, this.#shell.stdio[3]]) stream?.on('error', () => {}) // Its end is seen by run().
    this.#shell.stdin?.write(`exec 2>&1\n${prelude}\n`)
  }

  /**
   * Runs one command and returns what it printed, both streams in order.
   * @throws when it ends with another code than `code`, or does not end within a minute.
   */
  async run(command: string, code = 0): Promise<string> {
    this.#text = ''
    this.#shell.stdin?.write(`${command}\nprintf '%s %s\\n' '${sentinel}' $?\n`)
    const deadline = performance.now() + commandMsMax
    const end = new RegExp(`${sentinel} (\\d+)\\n$`)
    for (;;) {
      const found = end.exec(this.#text)
      if (found !== null) {
        const output = this.#text.slice(0, found.index)
        if (Number(found[1]) === code) return output
        throw new Error(`"${command}" expected exit code ${code}, got ${found[1]}:\n${output}`)
      }
      if (this.#shell.exitCode !== null || performance.now() > deadline) throw new Error(`"${command}" did not end:\n${this.#text}`)
      await delay(5)
    }
  }

  /** Ends the shell, and the servers that it left running by the end of their lifeline. */
  async close(): Promise<void> {
    if (this.#shell.exitCode !== null) return
    const ended = once(this.#shell, 'exit')
    this.#shell.stdio[3]?.destroy()
    this.#shell.stdin?.end('wait\n')
    await ended
  }
}
