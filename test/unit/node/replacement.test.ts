import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { argumentsOfNext } from '#node/replacement.ts'

const argv = ['/usr/bin/node', '/opt/holdfast/cmd/main.ts', 'server', '-config=/etc/holdfast.hcl']

test('the next process has the arguments of this one, and is told once that it must stay sealed', () => {
  const next = argumentsOfNext(argv, ['--disable-sigusr1'])
  expect(next).toEqual(['/usr/bin/node', '--disable-sigusr1', ...argv.slice(1), '--stay-sealed'])
  for (const known of ['--stay-sealed', '-stay-sealed', '-stay-sealed=true', '--stay-sealed=false'])
    expect(argumentsOfNext([...argv, known], ['--disable-sigusr1'])).toEqual(next)
  expect(argumentsOfNext([...argv, '-log-level=debug'], [])).toContain('-log-level=debug')
})

let dir = ''
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-becoming-'))
  writeFileSync(
    join(dir, 'program.mjs'),
    `import { becomeSealed, canBeReplaced } from ${JSON.stringify(pathToFileURL(resolve('src/node/replacement.ts')).href)}
const log = { debug() {}, info() {}, warn() {}, error: ({ error }, text) => console.log(JSON.stringify({ error, text })), child: () => log }
console.log(JSON.stringify({ pid: process.pid, args: process.argv.slice(2), flags: process.execArgv, kept: process.env.KEPT, can: canBeReplaced() }))
globalThis.marked = 'of the heap before'
if (process.env.GONE) process.execPath = process.env.GONE
if (!process.argv.includes('--stay-sealed')) { becomeSealed(log); console.log('still here') }
`,
  )
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function run(env: Record<string, string>): { readonly lines: readonly string[]; readonly pid: number; readonly status: number | null } {
  const ran = spawnSync(process.execPath, ['--no-warnings', join(dir, 'program.mjs'), 'server', '-config=x'], { encoding: 'utf8', env })
  return { lines: ran.stdout.trim().split('\n'), pid: ran.pid, status: ran.status }
}

test('a process becomes the same program anew, under its id and with its environment', () => {
  const { lines, pid, status } = run({ KEPT: 'yes' })
  const each = { pid, flags: ['--no-warnings'], kept: 'yes', can: true }
  expect(lines.map((line) => JSON.parse(line) as object)).toEqual([
    { ...each, args: ['server', '-config=x'] },
    { ...each, args: ['server', '-config=x', '--stay-sealed'] },
  ])
  expect(status).toBe(0)
})

test.each([
  ['that is gone', 'gone', 'ENOENT'],
  ['that may not be run', 'program.mjs', 'EACCES'],
])('a program %s: it says so, and the caller ends the process', (_, name, error) => {
  const { lines } = run({ GONE: join(dir, name) })
  expect(JSON.parse(lines[1] ?? '')).toEqual({ error, text: expect.stringContaining('start it again') })
  expect(lines[2]).toBe('still here')
})
