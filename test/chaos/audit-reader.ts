/** A node's audit file is a FIFO; this is its reader. Stopped, it lets the pipe fill up: then the node's audit file hangs. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { run } from './command.ts'
import type { Janitor } from './janitor.ts'

export class AuditReader {
  readonly path: string
  readonly #child: ChildProcess

  constructor(path: string, janitor: Janitor) {
    this.path = path
    run('mkfifo', '-m', '600', path)
    // Open for both, so that the pipe outlives each life of its node.
    const fifo = openSync(path, 'r+')
    this.#child = spawn('cat', [], { stdio: [fifo, 'ignore', 'ignore'], detached: true })
    closeSync(fifo)
    janitor.oweKill(this.#child.pid ?? 0)
  }

  hang(): void {
    this.#child.kill('SIGSTOP')
  }

  goOn(): void {
    this.#child.kill('SIGCONT')
  }
}
