/** What runs on this machine, as the kernel tells it. */
import { readFileSync } from 'node:fs'

/** Whether `pid` still runs. One that has ended and that nobody has asked after yet (a zombie: in a container without an init it stays) does not. */
export function isRunning(pid: number): boolean {
  try {
    // The name before the state is in brackets, and may hold anything.
    const state = /^.*\) (\S)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
    return state !== 'Z' && state !== 'X'
  } catch {
    return false
  }
}
