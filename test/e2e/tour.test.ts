/** docs/tour.md says what happens: the tour is recorded again and compared, commands, output and prose. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const hint = 'if the new output is right: node scripts/record-tour.ts, and read the diff'
let dir = ''
let recorder: ChildProcess | null = null
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-tour-test-'))
})
afterAll(async () => {
  // Told to end, it stops its cluster first.
  if (recorder !== null && recorder.exitCode === null) {
    const ended = once(recorder, 'exit')
    recorder.kill('SIGTERM')
    await ended
  }
  rmSync(dir, { recursive: true, force: true })
})

/** Runs the recorder into a file of its own. @returns the text. @throws with what the recorder said when it fails. */
async function record(): Promise<string> {
  const path = join(dir, 'tour.md')
  const child = spawn(process.execPath, ['scripts/record-tour.ts', path], { stdio: ['ignore', 'pipe', 'pipe'] })
  recorder = child
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => (said += part.toString()))
  await once(child, 'exit')
  if (child.exitCode !== 0) throw new Error(`the recorder expected to end with 0, got ${child.exitCode}:\n${said}`)
  return readFileSync(path, 'utf8')
}

/** What may differ between two true recordings: how long things took, which node was elected, how far one lags, and the widths that follow. */
function normalised(text: string): string {
  return text
    .replace(/\b\d+\.\d s\b/g, 'N s')
    .replace(/^(node\d +)(?:leader|follower)( +(?:true|false|no answer) +)(?:\d+|unknown)/gm, '$1ROLE$2LAG')
    .replace(/^=+ (.*) =+$/gm, '== $1 ==')
    .replace(/ {2,}/g, '  ')
    .replace(/ +$/gm, '')
}

/** The tables of `operator members`, each as its rows. */
function memberTables(text: string): string[][] {
  return text
    .split(/^Node +Role.*\n----.*\n/m)
    .slice(1)
    .map((rest) => rest.split('\n').filter((_, at, lines) => lines.slice(0, at + 1).every((line) => /^node\d/.test(line))))
}

const consoleBlocks = (text: string): string[] => [...text.matchAll(/^```console\n(.*?)^```$/gms)].map(([, block]) => block as string)
const placeholders = /s\.X{24}|UnsealKey\dX+|00000000-1111-2222-3333-444444444444/g

describe('docs/tour.md', () => {
  test('a new recording says the same', { timeout: 180_000 }, async () => {
    const recorded = await record()
    expect(consoleBlocks(recorded).length).toBeGreaterThan(8)
    expect(normalised(recorded), hint).toBe(normalised(readFileSync('docs/tour.md', 'utf8')))
    const leaders = memberTables(recorded).map((rows) => rows.filter((row) => row.includes(' leader ')).map((row) => row.slice(0, 5)))
    expect(leaders).toEqual([['node1'], [expect.stringMatching(/node[23]/)], ['node1']])
  })

  test('it holds no key, no token, and nothing of the machine it was recorded on', () => {
    const text = readFileSync('docs/tour.md', 'utf8').replace(placeholders, '')
    expect(text).not.toMatch(/\bs\.[A-Za-z0-9]{24}|[A-Za-z0-9+/]{44}|[0-9a-f]{32}|\/tmp\/|\/work\/|\/root\/|\/home\//)
    const ports = [...text.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port))
    expect(new Set(ports)).toEqual(new Set([8200, 8201, 8210, 8211, 8220, 8221]))
  })
})

test('what README.md shows of a terminal was recorded', () => {
  const tour = normalised(readFileSync('docs/tour.md', 'utf8'))
  const shown = consoleBlocks(readFileSync('README.md', 'utf8'))
  expect(shown).not.toHaveLength(0)
  // A block may leave something out, which it says by a line of dots.
  for (const part of shown.flatMap((block) => block.split(/^\.\.\.\n/m))) expect(tour).toContain(normalised(part))
})
