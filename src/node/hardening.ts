/**
 * What a server's process does so that its memory stays its own: no debugger, no dumps of the heap, nothing in a core dump. The launcher
 * (cmd/holdfast.mjs) has done what must be done before Node starts; here it is checked, and done as far as a running process can, since a server
 * may have been started without it. What can't be done from here (PR_SET_DUMPABLE, mlock) is in docs/threat-model.md.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { url as debuggerUrl } from 'node:inspector'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'

/** Set to 1, a server may run under a debugger: for whoever develops it, on secrets that are none. */
export const debuggerSwitch = 'HOLDFAST_UNSAFE_DEBUGGER'

/** Flags of Node that show its memory, to a debugger or as a file. */
const showsMemory = /^--(?:inspect|debug-port|heapsnapshot|heap-prof|cpu-prof|experimental-network-inspection)/

/** What of the process is looked at; tests hand in their own. */
export interface ProcessFacts {
  readonly execArgv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Where a debugger may connect; null: nowhere. */
  readonly debuggerUrl: string | null
  /** The kernel's files on this process; null where there is none of that name. */
  readonly read: (path: string) => string | null
  readonly write: (path: string, text: string) => void
}

const ofThisProcess = (): ProcessFacts => ({
  execArgv: process.execArgv,
  env: process.env,
  debuggerUrl: debuggerUrl() ?? null,
  read: readIfAny,
  write: writeFileSync,
})

/**
 * Refuses to go on under a debugger, keeps memory out of core dumps, and has SIGUSR1 do nothing. Returns what could not be had, a sentence each,
 * for the log. Call it before anything secret is read. @throws ERR_CONFIG.
 */
export function hardenProcess(log: Logger, facts: ProcessFacts = ofThisProcess()): readonly string[] {
  const warnings = [refuseDebugger(facts), emptyCoreDumps(facts), swapWarning(facts)].filter((warning) => warning !== null)
  // Its default is to end the process, or, without --disable-sigusr1, to open a debugger.
  process.on('SIGUSR1', () => log.warn({}, 'SIGUSR1 has no effect: a server opens no debugger'))
  return warnings
}

function refuseDebugger({ execArgv, env, debuggerUrl: open }: ProcessFacts): string | null {
  const given = [...execArgv, ...(env['NODE_OPTIONS'] ?? '').split(/\s+/)].find((flag) => showsMemory.test(flag))
  if (given === undefined && open === null) return null
  if (env[debuggerSwitch] === '1') return `${debuggerSwitch} is set: a debugger may read every key of this node. For development only`
  throw new HoldfastError(
    'ERR_CONFIG',
    `a server expected nothing that shows its memory, got ${given?.split('=')[0] ?? 'an open debugger'}`,
    {
      hint: `start it without; for development, with secrets that are none, ${debuggerSwitch}=1 allows it`,
    },
  )
}

/**
 * With an empty filter a core dump holds registers and headers, and no page of memory, wherever the machine sends it: RLIMIT_CORE alone does not
 * keep the kernel from handing a dump to a program (core(5): with a pipe it counts only when it is 1).
 */
function emptyCoreDumps({ read, write }: ProcessFacts): string | null {
  const path = '/proc/self/coredump_filter'
  if (read(path) === null) return null // Not Linux, or a kernel without core dumps.
  try {
    write(path, '0')
    if (Number.parseInt(read(path) ?? '', 16) === 0) return null
  } catch {
    // Said below.
  }
  const limit = /^Max core file size\s+(\S+)/m.exec(read('/proc/self/limits') ?? '')?.[1]
  if (limit === '0' || limit === '1') return null
  return `core dumps of this process may hold keys: expected a core file size of 0, got ${limit ?? 'none'}; start it by the command holdfast, or with ulimit -c 0`
}

/** Pages that were swapped out stay on the disk for long. Only what is sure is said: swap on the machine, and no limit of this process's own group. */
function swapWarning({ read }: ProcessFacts): string | null {
  const areas = (read('/proc/swaps') ?? '').trim().split('\n').length - 1
  if (areas < 1) return null
  const group = /^0::(\/.*)$/m.exec(read('/proc/self/cgroup') ?? '')?.[1]
  const limit = group === undefined ? null : read(`/sys/fs/cgroup${group === '/' ? '' : group}/memory.swap.max`)
  return limit?.trim() === '0'
    ? null
    : 'swap is on: keys and secrets may reach the disk by it. Switch it off, or set MemorySwapMax=0 for this service'
}

function readIfAny(path: string): string | null {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return null
  }
}
