import { once } from 'node:events'
import type { ChildProcess } from 'node:child_process'

const endMsMax = 7_000

/** Ends a process that this run started; resolves when it has ended, by SIGKILL at the latest. */
export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const killer = setTimeout(() => child.kill('SIGKILL'), endMsMax)
  await ended
  clearTimeout(killer)
}
