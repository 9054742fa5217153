/** What the kernel says of a process on this machine: CPU used, memory held. Of others nothing is known, and then nothing is said. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface ServerProcess {
  readonly name: string
  readonly pid: number
}

/** Ticks of /proc are hundredths of a second on every Linux that Node runs on (USER_HZ). */
const microsPerTick = 10_000

/** User and system time of all threads, in microseconds; null where the process is gone or not ours to see. */
export function cpuMicros(pid: number): number | null {
  try {
    return cpuMicrosOf(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return null
  }
}

/** Of the text of /proc/PID/stat. The name in brackets may hold blanks and brackets itself, so fields count from the last one. */
export function cpuMicrosOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * microsPerTick
}

/** CPU of each kind of thread, by the name that it gave itself, in microseconds; empty where unknown. Threads of one name count together. */
export function threadMicros(pid: number): Map<string, number> {
  const found = new Map<string, number>()
  for (const thread of entriesOf(`/proc/${pid}/task`)) {
    try {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1')
      const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
      found.set(name, (found.get(name) ?? 0) + cpuMicrosOf(stat))
    } catch {
      continue // It has ended meanwhile.
    }
  }
  return found
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** Resident set in MiB, and what of it are pages of files, which the kernel takes back when it wants the room; null where unknown. */
export function residentMib(pid: number): { readonly all: number; readonly files: number } | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1')
    const mib = (name: string): number =>
      Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? Number.NaN) / 1_024)
    const held = { all: mib('VmRSS'), files: mib('RssFile') }
    return Number.isFinite(held.all) ? held : null
  } catch {
    return null
  }
}

/** The process of this machine that listens on `port` of loopback or of every address; null where there is none, or it cannot be seen. */
export function listenerOn(port: number): number | null {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  const sockets = new Set<string>()
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of linesOf(table)) {
      const [, local = '', , state = '', , , , , , inode = ''] = line.trim().split(/\s+/)
      if (state === '0A' && local.endsWith(`:${wanted}`)) sockets.add(`socket:[${inode}]`)
    }
  }
  return sockets.size === 0 ? null : ownerOf(sockets)
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').trim().split('\n').slice(1)
  } catch {
    return []
  }
}

function ownerOf(sockets: ReadonlySet<string>): number | null {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      for (const file of readdirSync(`/proc/${pid}/fd`)) if (sockets.has(readlinkSync(`/proc/${pid}/fd/${file}`))) return Number(pid)
    } catch {
      continue // It has ended meanwhile, or belongs to somebody else.
    }
  }
  return null
}
