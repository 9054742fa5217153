/**
 * Whatever a run makes outside its own process (folders, namespaces, mounts, loop devices, helper processes) is told to the janitor first: a
 * process of its own that waits for the end of its standard input and then undoes all of it, the newest first. So one way serves a normal end,
 * Ctrl-C, a crash and a SIGKILL of the run, and it is the way that every run tests.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export type Chore =
  /** A command whose failure is expected where its work was done already. */
  | { readonly command: readonly string[] }
  /** A folder of the run's own; left alone while something is mounted below it. */
  | { readonly remove: string }
  /** A process that the run started; `startedAt` (jiffies since boot) tells it from a later one with the same id. */
  | { readonly kill: number; readonly startedAt: string }

export class Janitor {
  readonly #child: ChildProcess
  #next = 0

  constructor() {
    // A session of its own: Ctrl-C at the terminal must not reach it.
    this.#child = spawn(process.execPath, [fileURLToPath(new URL('./janitor-main.ts', import.meta.url))], {
      stdio: ['pipe', 'inherit', 'inherit'],
      detached: true,
    })
    this.#child.stdin?.on('error', () => {}) // It ended before us: its exit code is looked at in `finish`.
  }

  /** Say it before the thing is made. Returns what `forget` takes. */
  owe(chore: Chore): number {
    const id = this.#next++
    this.#child.stdin?.write(`${JSON.stringify({ id, chore })}\n`)
    return id
  }

  /** A process that has just been started. */
  oweKill(pid: number): number {
    return this.owe({ kill: pid, startedAt: startedAt(pid) ?? '' })
  }

  /** It is undone already, and its name may come to mean something else. */
  forget(id: number): void {
    this.#child.stdin?.write(`${JSON.stringify({ id, chore: null })}\n`)
  }

  /** Undoes everything. @throws when something could not be undone. */
  async finish(): Promise<void> {
    if (this.#child.exitCode !== null) throw new Error(`expected the janitor to wait, got its exit code ${this.#child.exitCode}`)
    const ended = once(this.#child, 'exit')
    this.#child.stdin?.end()
    const [code] = (await ended) as [number | null]
    if (code !== 0) throw new Error(`expected everything to be cleaned up, got exit code ${code} of the janitor`)
  }
}

/** When a process started, in jiffies since boot; null when there is none with this id. */
export function startedAt(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch {
    return null
  }
}
