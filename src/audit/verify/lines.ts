/** Lines of a file, plain or gzip, by '\n' alone: readline also splits at U+2028, which may stand inside a JSON string. */
import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'

const chunkBytes = 1024 * 1024
const newline = 10
/** No line that we wrote is longer (sinks/tail.ts). */
const lineBytesMax = 192 * 1024 * 1024

export interface Line {
  /** Without its newline. Good until the next line is asked for. */
  readonly bytes: Buffer
  /** It ended in a newline. */
  readonly whole: boolean
}

/** Rejects when the file can't be read, or a line has no end. */
export async function* linesOf(path: string): AsyncGenerator<Line> {
  const file = createReadStream(path, { highWaterMark: chunkBytes })
  const unzip = path.endsWith('.gz') ? file.pipe(createGunzip({ chunkSize: chunkBytes })) : null
  if (unzip !== null) file.on('error', (error) => unzip.destroy(error))
  let rest: Buffer[] = []
  let restBytes = 0
  try {
    for await (const chunk of (unzip ?? file) as AsyncIterable<Buffer>) {
      let from = 0
      for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
        const piece = chunk.subarray(from, end)
        yield { bytes: rest.length === 0 ? piece : Buffer.concat([...rest, piece]), whole: true }
        rest = []
        restBytes = 0
        from = end + 1
      }
      if (from < chunk.length) {
        rest.push(chunk.subarray(from))
        restBytes += chunk.length - from
      }
      if (restBytes > lineBytesMax) throw new RangeError(`expected lines of at most ${lineBytesMax} bytes, got a longer one`)
    }
    if (rest.length > 0) yield { bytes: Buffer.concat(rest), whole: false }
  } finally {
    file.destroy()
    unzip?.destroy()
  }
}
