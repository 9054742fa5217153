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

/** Resident set in MiB; null where unknown. */
export function residentMib(pid: number): number | null {
  try {
    const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
    return kib === undefined ? null : Math.round(Number(kib) / 1_024)
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
