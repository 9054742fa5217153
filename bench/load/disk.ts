/** What the disk below a folder takes for a write that is on it: measured beside every run, since every durable write waits for it. */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
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
