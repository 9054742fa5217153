/** Runs the CLI inside the test: what it prints, how it ends, nothing of this process's own environment. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readFileBytes, readTextFile, type Io } from '#cmd/cli/io.ts'
import { runCli } from '#cmd/cli/run.ts'
import { commands } from '#cmd/commands/index.ts'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface RunOptions {
  readonly address?: string
  readonly env?: Readonly<Record<string, string>>
  readonly stdin?: string
  readonly home?: string
  readonly tty?: boolean
}

export const temporaryHome = (): string => mkdtempSync(join(tmpdir(), 'holdfast-cli-'))

export async function runCommand(line: string | readonly string[], options: RunOptions = {}): Promise<Ran> {
  let out = ''
  let err = ''
  const stdin = options.stdin ?? ''
  const lines = stdin.split('\n')
  const io: Io = {
    env: { ...(options.address === undefined ? {} : { HOLDFAST_ADDR: options.address }), HOLDFAST_MAX_RETRIES: '0', ...options.env },
    home: options.home ?? '/nonexistent',
    stdoutIsTty: options.tty ?? false,
    stderrIsTty: options.tty ?? false,
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    outBytes: async (bytes) => void (out += Buffer.from(bytes).toString('latin1')),
    readStdin: () => Promise.resolve(stdin),
    readValue: () => Promise.resolve(stdin),
    stdinBytes: async function* () {
      yield Buffer.from(stdin, 'latin1')
    },
    readSecret: () => Promise.resolve((lines.shift() ?? '').trim()),
    readFile: readTextFile,
    readFileBytes,
  }
  const argv = typeof line === 'string' ? line.split(' ').filter((word) => word !== '') : line
  const code = await runCli(argv, commands, io)
  return { code, out, err }
}
