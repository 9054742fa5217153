/** Whose is a connection on this machine? Without namespaces all nodes call from one address, and only /proc tells them apart. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** The process among `pids` that holds the TCP socket whose local port is `port`; null when none does. */
export function ownerOfPort(port: number, pids: readonly number[]): number | null {
  const inode = inodeOfPort(port)
  return inode === null ? null : (pids.find((pid) => holds(pid, `socket:[${inode}]`)) ?? null)
}

function inodeOfPort(port: number): string | null {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
    const fields = line.trim().split(/\s+/)
    if (fields[1]?.endsWith(`:${hex}`) === true && fields[9] !== '0') return fields[9] ?? null
  }
  return null
}

function holds(pid: number, wanted: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === wanted
      } catch {
        return false // Closed while we looked.
      }
    })
  } catch {
    return false // It has ended.
  }
}
