import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

/** A copy of the launcher beside a main.ts that only tells what became of it. */
let dir = ''
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-launcher-'))
  mkdirSync(join(dir, 'cmd'))
  symlinkSync(resolve('node_modules'), join(dir, 'node_modules'))
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  copyFileSync('cmd/holdfast.mjs', join(dir, 'cmd', 'holdfast.mjs'))
  writeFileSync(
    join(dir, 'cmd', 'main.ts'),
    `import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
const limit = /^Max core file size +([^ ]+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
const core: string = execFileSync('sh', ['-c', 'ulimit -c'], { encoding: 'utf8' }).trim()
console.log(JSON.stringify({ pid: process.pid, core, limit, threads: process.env['UV_THREADPOOL_SIZE'], arenas: process.env['MALLOC_ARENA_MAX'], options: process.env['NODE_OPTIONS'], flags: process.execArgv, args: process.argv.slice(2) }))
`,
  )
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test('where nothing is installed yet, it says what to do', () => {
  const bare = mkdtempSync(join(tmpdir(), 'holdfast-bare-'))
  try {
    mkdirSync(join(bare, 'cmd'))
    copyFileSync('cmd/holdfast.mjs', join(bare, 'cmd', 'holdfast.mjs'))
    const ran = spawnSync(process.execPath, [join(bare, 'cmd', 'holdfast.mjs'), 'status'], { encoding: 'utf8' })
    expect([ran.status, ran.stderr]).toEqual([
      1,
      `error: expected the packages that holdfast needs, found none installed\nhint: run "npm install" in ${bare}, or "npm start", which does it too\n`,
    ])
  } finally {
    rmSync(bare, { recursive: true })
  }
})

function launch(args: readonly string[], env: Record<string, string> = {}, nodeArgs: readonly string[] = []) {
  const inherited = { PATH: process.env['PATH'] ?? '', HOME: dir }
  return spawnSync(process.execPath, [...nodeArgs, join(dir, 'cmd', 'holdfast.mjs'), ...args], {
    encoding: 'utf8',
    env: { ...inherited, ...env },
  })
}

test('a server keeps the process id and starts without core dumps, debugger signal and NODE_OPTIONS, with a larger thread pool', () => {
  const ran = launch(['server', '-config=x'], { NODE_OPTIONS: '--no-warnings' })
  expect(ran.stderr).toBe('')
  const told = JSON.parse(ran.stdout) as Record<string, unknown>
  expect(told).toMatchObject({ pid: ran.pid, core: '0', args: ['server', '-config=x'] })
  expect(told['options']).toBeUndefined()
  expect(told['flags']).toEqual(expect.arrayContaining(['--disable-sigusr1', '--report-exclude-env']))
  expect(Number(told['threads'])).toBeGreaterThanOrEqual(16)
  expect(told['arenas']).toBe('2')
  expect(JSON.parse(launch(['server'], { MALLOC_ARENA_MAX: '8' }).stdout)).toMatchObject({ arenas: '8' })
})

// Raising a limit takes root; CI has it.
test.runIf(process.getuid?.() === 0)('a core limit of one byte, which keeps dumps from programs as well, is left as it is', () => {
  const inherited = { PATH: process.env['PATH'] ?? '', HOME: dir }
  const server = [process.execPath, join(dir, 'cmd', 'holdfast.mjs'), 'server']
  for (const [limit, left] of [
    ['1', '1'],
    ['unlimited', '0'],
  ] as const) {
    const ran = spawnSync('prlimit', [`--core=${limit}:${limit}`, ...server], { encoding: 'utf8', env: inherited })
    expect([ran.stderr, (JSON.parse(ran.stdout) as { limit: string }).limit]).toEqual(['', left])
  }
})

test('a thread pool that the operator has sized is left alone', () => {
  expect(JSON.parse(launch(['server'], { UV_THREADPOOL_SIZE: '5' }).stdout)).toMatchObject({ threads: '5' })
})

test('a server under a debugger is refused, unless a developer says otherwise', () => {
  for (const [env, flags] of [
    [{}, ['--inspect=0']],
    [{ NODE_OPTIONS: '--inspect=0' }, []],
    [{ HOLDFAST_UNSAFE_DEBUGGER: 'true' }, ['--inspect=0']],
  ] as const) {
    const ran = launch(['server'], { ...env }, flags)
    expect([ran.status, ran.stdout]).toEqual([1, ''])
    expect(ran.stderr).toContain('error: a server expected no --inspect')
  }
  const ran = launch(['server'], { HOLDFAST_UNSAFE_DEBUGGER: '1' }, ['--inspect=0'])
  expect(JSON.parse(ran.stdout)).toMatchObject({ flags: expect.arrayContaining(['--inspect=0', '--report-exclude-env']) })
})

test('other commands run as they are', () => {
  expect(JSON.parse(launch(['status', 'server']).stdout)).toMatchObject({ args: ['status', 'server'], flags: [] })
})
