/**
 * The memory of another process, page by page: what a core dump of it would hold. Not by gcore: of a Node server it writes 18 GB, of which 17 are
 * address space that V8 and the allocator have only reserved, and no page of it exists. The kernel says which pages do (pagemap).
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

const pageBytes = 4_096
const chunkPages = 4_096
/** Chunks of one run overlap by this, so that nothing is missed between them. */
const overlapPages = 1
/** Of an entry of the page map: in memory, or swapped out. */
const existsBits = 0xc0
/** The kernel's own, the same in every process. */
const ofTheKernel = /\[(?:vvar|vvar_vclock|vsyscall)\]$/

interface Mapping {
  readonly from: number
  readonly to: number
}

function mappingsOf(pid: number): Mapping[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'latin1').trim().split('\n')
  return lines
    .filter((line) => !ofTheKernel.test(line))
    .map((line) => {
      const [from = '', to = ''] = (line.split(' ')[0] ?? '').split('-')
      return { from: Number.parseInt(from, 16), to: Number.parseInt(to, 16) }
    })
}

function readAt(file: number, position: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length)
  let done = 0
  while (done < length) {
    const read = readSync(file, buffer, done, length - done, position + done)
    if (read === 0) throw new Error(`expected ${length} bytes at ${position.toString(16)}, got ${done}`)
    done += read
  }
  return buffer
}

/** Runs of pages that exist, of at most `chunkPages`, as [first, count]. */
function* existing(pages: Buffer): Generator<readonly [first: number, count: number]> {
  const count = pages.length / 8
  let first = 0
  for (let at = 0; at <= count; at++) {
    const exists = at < count && ((pages[8 * at + 7] ?? 0) & existsBits) !== 0
    if (exists && at - first < chunkPages) continue
    if (at > first) yield [first, at - first]
    first = exists ? at - overlapPages : at + 1
  }
}

/**
 * Every page of process `pid` that exists, of whatever kind: heap, stacks, environment, program and mapped files. It stands still meanwhile
 * and goes on afterwards. @throws where the kernel does not let us (another user's, or Yama).
 */
export function* memoryOf(pid: number): Generator<Buffer> {
  process.kill(pid, 'SIGSTOP')
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r')
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  try {
    for (const { from, to } of mappingsOf(pid)) {
      // The map of the 8 GB that V8 reserves is 16 MB long itself.
      for (let start = from; start < to; start += 2 ** 30) {
        const pages = Math.min(2 ** 30, to - start) / pageBytes
        for (const [first, count] of existing(readAt(pagemap, (start / pageBytes) * 8, pages * 8)))
          yield readAt(memory, start + first * pageBytes, count * pageBytes)
      }
    }
  } finally {
    closeSync(memory)
    closeSync(pagemap)
    process.kill(pid, 'SIGCONT')
  }
}
