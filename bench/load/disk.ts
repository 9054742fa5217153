/** What the disk below a folder takes for a write that is on it: measured beside every run, since every durable write waits for it. */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Latencies } from './latency.ts'

const probeMs = 500
const blockBytes = 4_096

/** fdatasync of 4 KiB appended, one after another, for half a second: milliseconds. */
export function syncLatency(dataDir: string): { readonly p50: number; readonly p99: number; readonly count: number } {
  const dir = mkdtempSync(join(dataDir, 'holdfast-disk-'))
  const latencies = new Latencies()
  const file = openSync(join(dir, 'probe'), 'w')
  try {
    const block = Buffer.alloc(blockBytes, 0x5a)
    for (const end = performance.now() + probeMs; performance.now() < end;) {
      const started = performance.now()
      writeSync(file, block)
      fdatasyncSync(file)
      latencies.record(performance.now() - started)
    }
  } finally {
    closeSync(file)
    rmSync(dir, { recursive: true, force: true })
  }
  return { p50: latencies.at(0.5), p99: latencies.at(0.99), count: latencies.count }
}

/** Major and minor number of a device, as Linux packs them into st_dev. */
const deviceOf = (dev: number): string => `${Math.floor(dev / 256) % 4_096}:${(dev % 256) + 256 * Math.floor(dev / 2 ** 20)}`

/**
 * Flushes that the disk below `dataDir` has completed since the machine started: what fsync ends in. Of the whole machine, so it says something of one
 * server only where nobody else writes. null where the kernel doesn't say.
 */
export function diskFlushes(dataDir: string): number | null {
  try {
    return flushesOf(readFileSync('/proc/diskstats', 'latin1'), deviceOf(statSync(dataDir).dev))
  } catch {
    return null
  }
}

/** `device` as MAJOR:MINOR. A partition has no count of its own: then its disk's, which stands before it, is taken. */
export function flushesOf(diskstats: string, device: string): number | null {
  let before: number | null = null
  for (const line of diskstats.trim().split('\n')) {
    const fields = line.trim().split(/\s+/)
    const flushes = fields.length > 18 ? Number(fields[18]) : 0
    if (`${fields[0]}:${fields[1]}` === device) return flushes > 0 ? flushes : before
    if (flushes > 0) before = flushes
  }
  return null
}
