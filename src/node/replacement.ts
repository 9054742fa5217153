/**
 * Sealing replaces the process. JavaScript can't wipe what it holds: strings of requests and answers, buffers that the engine or the kernel
 * has copied, freed pages of the heap. So a node that an operator seals closes its stores and becomes a fresh process (execve): same id,
 * same standard streams, same program and arguments, and no page of before. It comes up sealed and votes again.
 *
 * Rejected: a supervisor that starts a child anew. It is a second process to watch and to signal, and a pid that changes under systemd, for
 * what execve does by itself. Rejected, too: overwriting the heap, which the engine lets nobody do.
 */
import { isMainThread } from 'node:worker_threads'
import type { Logger } from '#base/logger.ts'

/** `holdfast server` knows it, and asks no auto seal to open what an operator has sealed. */
export const staySealedFlag = 'stay-sealed'

/** Whether this process can become another: not on Windows, and not in a thread. */
export function canBeReplaced(): boolean {
  return typeof process.execve === 'function' && isMainThread
}

/** The arguments of the next process: those of this one, and that it must stay sealed. */
export function argumentsOfNext(argv: readonly string[], execArgv: readonly string[]): readonly string[] {
  const [program = '', script = '', ...args] = argv
  const known = new RegExp(`^--?${staySealedFlag}(=.*)?$`)
  return [program, ...execArgv, script, ...args.filter((arg) => !known.test(arg)), `--${staySealedFlag}`]
}

/**
 * Becomes a fresh process of the same program, sealed. Call it last: stores closed, listeners closed. Does not return, unless there is no
 * such program any more: then the caller must end the process, which forgets as well, and whoever watches it starts it again.
 */
export function becomeSealed(log: Logger): void {
  try {
    log.info({}, 'replacing this process: it comes back sealed')
    process.execve?.(process.execPath, argumentsOfNext([process.execPath, ...process.argv.slice(1)], process.execArgv), process.env)
  } catch (error) {
    log.error(
      { error: (error as NodeJS.ErrnoException).code ?? 'unknown', program: process.execPath },
      'this process could not be replaced by a fresh one, and ends, so that nothing of what it served stays in memory: start it again',
    )
  }
}
