/** Everything of the process that a command may touch, so that a test can hand in its own. */
import { readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { StringDecoder } from 'node:string_decoder'
import { limits } from '#base/limits.ts'
import { RefusedError, UsageError } from './types.ts'

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly home: string
  readonly stdoutIsTty: boolean
  readonly stderrIsTty: boolean
  out(text: string): void
  err(text: string): void
  /** Binary to standard output; resolves when more may be written. */
  outBytes(bytes: Uint8Array): Promise<void>
  /** All of standard input, bounded. */
  readStdin(): Promise<string>
  /**
   * A value, called `label` where somebody is asked for it: from a terminal without echo, up to Ctrl-D, without the last line's end, which
   * nobody means; else all of standard input as it comes, bounded.
   */
  readValue(label: string): Promise<string>
  /** Standard input as it comes, of any length. */
  stdinBytes(): AsyncIterable<Uint8Array>
  /** One secret: from a terminal without echo, else the next line of standard input. */
  readSecret(label: string): Promise<string>
  readFile(path: string): string
  /** The same of a file that is no text. */
  readFileBytes(path: string): Uint8Array
}

const inputBytesMax = limits.requestBodyBytesMax

/** @throws UsageError, worded with the path and never the content. */
export function readFileBytes(path: string): Uint8Array {
  try {
    const { size } = statSync(path)
    if (size > inputBytesMax) throw new UsageError(`file ${path} expected at most ${inputBytesMax} bytes, got ${size}`)
    return readFileSync(path)
  } catch (error) {
    if (error instanceof UsageError) throw error
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown failure'
    throw new UsageError(
      `could not read file ${path}: ${code}`,
      code === 'ENOENT' ? `there is no such file, seen from ${process.cwd()}` : undefined,
    )
  }
}

/** As text. @throws as `readFileBytes`. */
export function readTextFile(path: string): string {
  return Buffer.from(readFileBytes(path)).toString('utf8')
}

async function readAll(): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of process.stdin) {
    bytes += (part as Buffer).byteLength
    if (bytes > inputBytesMax) throw new UsageError(`standard input expected at most ${inputBytesMax} bytes, got more`)
    parts.push(part as Buffer)
  }
  return Buffer.concat(parts).toString('utf8')
}

type Until = 'the end of a line' | 'Ctrl-D'

/**
 * Reads from the terminal and shows nothing of it. What is pasted has several lines: those behind a line that was asked for alone would go to
 * the shell, and into its history, so a value is read up to Ctrl-D.
 * Ends of lines come as they were typed ('\\r').
 * @throws RefusedError on Ctrl-C, on Ctrl-D where a line was asked for, and where the terminal is closed; UsageError for what is too long.
 */
async function promptHidden(label: string, until: Until): Promise<string> {
  // First: who types as soon as the label stands there would see it.
  process.stdin.setRawMode(true)
  try {
    process.stderr.write(`${label}: `)
    let line = ''
    const decoder = new StringDecoder('utf8')
    // Another prompt may follow: the end of this one must not end standard input.
    for await (const part of process.stdin.iterator({ destroyOnReturn: false })) {
      for (const letter of decoder.write(part as Buffer)) {
        const isEnter = letter === '\r' || letter === '\n'
        if (until === 'Ctrl-D' ? letter === '\u0004' : isEnter) return line
        if (letter === '\u0003' || letter === '\u0004') throw new RefusedError('nothing was entered')
        // A pasted end of line may be two letters.
        if (isEnter) line += letter === '\n' && line.endsWith('\r') ? '' : letter
        else if (letter === '\u007f' || letter === '\b') line = line.slice(0, -1)
        else line += letter
      }
      if (line.length > inputBytesMax) throw new UsageError(`${label} expected at most ${inputBytesMax} letters, got more`)
    }
    // Half of a value is none.
    throw new RefusedError('the terminal was closed before the end of what was entered')
  } finally {
    process.stdin.setRawMode(false)
    process.stdin.pause()
    process.stderr.write('\n')
  }
}

/** Lines of standard input that no prompt has taken yet: who pipes a password and a code writes them below each other. */
let piped: string[] | null = null

const refuseClosed = (): never => process.exit(2)

export const processIo: Io = {
  env: process.env,
  home: homedir(),
  stdoutIsTty: process.stdout.isTTY === true,
  stderrIsTty: process.stderr.isTTY === true,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  outBytes: (bytes) =>
    new Promise((resolve, reject) => {
      // A pipe that closes early is no end of a backup: whoever looks at the exit code must see it.
      if (process.stdout.listenerCount('error', refuseClosed) === 0) process.stdout.prependListener('error', refuseClosed)
      process.stdout.write(bytes, (error) => (error ? reject(new RefusedError('standard output was closed')) : resolve()))
    }),
  readStdin: readAll,
  async readValue(label) {
    if (!process.stdin.isTTY) return await readAll()
    return (await promptHidden(`${label} (will be hidden; Ctrl-D ends it)`, 'Ctrl-D')).replaceAll('\r', '\n').replace(/\n$/, '')
  },
  stdinBytes: () => process.stdin,
  async readSecret(label) {
    if (process.stdin.isTTY) return (await promptHidden(label, 'the end of a line')).trim()
    piped ??= (await readAll()).split('\n')
    return (piped.shift() ?? '').trim()
  },
  readFile: readTextFile,
  readFileBytes,
}
