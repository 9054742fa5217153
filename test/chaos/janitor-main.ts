/** The janitor's own process: see janitor.ts. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { startedAt, type Chore } from './janitor.ts'

const commandMsMax = 10_000
/** Nodes end by themselves when the run does (their lifeline closes); their folders are removed after that. */
const graceMs = 300

const chores = new Map<number, Chore>()
for await (const line of createInterface({ input: process.stdin })) {
  const { id, chore } = JSON.parse(line) as { id: number; chore: Chore | null }
  if (chore === null) chores.delete(id)
  else chores.set(id, chore)
}
await new Promise((resolve) => setTimeout(resolve, graceMs))
let failed = 0
for (const chore of [...chores.values()].toReversed()) {
  try {
    undo(chore)
  } catch (error) {
    failed += 1
    console.error(`janitor: ${JSON.stringify(chore)}: ${(error as Error).message}`)
  }
}
process.exitCode = failed === 0 ? 0 : 1

function undo(chore: Chore): void {
  if ('command' in chore) {
    const [program, ...args] = chore.command
    const { error } = spawnSync(program as string, args, { stdio: 'ignore', timeout: commandMsMax })
    if (error !== undefined) throw error
  } else if ('kill' in chore) {
    if (chore.startedAt !== '' && startedAt(chore.kill) === chore.startedAt) process.kill(chore.kill, 'SIGKILL')
  } else {
    if (mountsBelow(chore.remove)) throw new Error('expected nothing mounted below, got a mount: not removed')
    rmSync(chore.remove, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }
}

function mountsBelow(folder: string): boolean {
  if (!existsSync('/proc/self/mounts')) return false
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1]?.startsWith(`${folder}/`))
}
