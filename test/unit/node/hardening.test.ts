import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeAll, afterAll, expect, test } from 'vitest'
import { silentLogger } from '#base/logger.ts'
import { debuggerSwitch, hardenProcess, type ProcessFacts } from '#node/hardening.ts'

afterEach(() => void process.removeAllListeners('SIGUSR1'))

const kernel = {
  '/proc/self/coredump_filter': '00000033\n',
  '/proc/self/limits': 'Limit  Soft Limit  Hard Limit  Units\nMax core file size        unlimited            unlimited            bytes\n',
  '/proc/swaps': 'Filename Type Size Used Priority\n',
  '/proc/self/cgroup': '0::/system.slice/holdfast.service\n',
}

function facts(over: Partial<ProcessFacts> = {}, files: Readonly<Record<string, string>> = {}) {
  const all: Record<string, string> = { ...kernel, ...files }
  const made: ProcessFacts = {
    execArgv: ['--disable-sigusr1'],
    env: {},
    debuggerUrl: null,
    read: (path) => all[path] ?? null,
    write: (path, text) => void (all[path] = text),
    ...over,
  }
  return { all, made }
}

test('a process like any other: its core dumps are emptied, and there is nothing to say', () => {
  const { all, made } = facts()
  expect(hardenProcess(silentLogger, made)).toEqual([])
  expect(all['/proc/self/coredump_filter']).toBe('0')
})

test.each([
  ['--inspect', { execArgv: ['--inspect=127.0.0.1:9229'] }],
  ['--inspect-brk', { env: { NODE_OPTIONS: '--no-warnings --inspect-brk' } }],
  ['--heapsnapshot-signal', { execArgv: ['--heapsnapshot-signal=SIGUSR2'] }],
  ['--heap-prof', { execArgv: ['--heap-prof'] }],
  ['an open debugger', { debuggerUrl: 'ws://127.0.0.1:9229/x' }],
] as const)('%s is refused, unless a developer says otherwise', (what, over) => {
  expect(() => hardenProcess(silentLogger, facts(over).made)).toThrow(`expected nothing that shows its memory, got ${what}`)
  const env = { ...('env' in over ? over.env : {}), [debuggerSwitch]: '1' }
  expect(hardenProcess(silentLogger, facts({ ...over, env }).made)).toEqual([expect.stringContaining('For development only')])
  expect(() => hardenProcess(silentLogger, facts({ ...over, env: { ...env, [debuggerSwitch]: '0' } }).made)).toThrow()
})

test('core dumps that can not be emptied are said, unless they are limited to nothing', () => {
  const refuses: Partial<ProcessFacts> = {
    write: () => {
      throw new Error('EACCES')
    },
  }
  expect(hardenProcess(silentLogger, facts(refuses).made)).toEqual([expect.stringContaining('core file size of 0, got unlimited')])
  expect(hardenProcess(silentLogger, facts({ write: () => {} }).made)).toHaveLength(1)
  for (const limit of ['0', '1']) {
    const limits = { '/proc/self/limits': `Max core file size  ${limit}  unlimited  bytes\n` }
    expect(hardenProcess(silentLogger, facts(refuses, limits).made)).toEqual([])
  }
  expect(hardenProcess(silentLogger, facts({ ...refuses, read: () => null }).made)).toEqual([])
})

test('swap is said, unless this service has none', () => {
  const on = { '/proc/swaps': `${kernel['/proc/swaps']}/swapfile file 2097148 0 -2\n` }
  const limit = '/sys/fs/cgroup/system.slice/holdfast.service/memory.swap.max'
  expect(hardenProcess(silentLogger, facts({}, on).made)).toEqual([expect.stringContaining('swap is on')])
  expect(hardenProcess(silentLogger, facts({}, { ...on, [limit]: 'max\n' }).made)).toHaveLength(1)
  expect(hardenProcess(silentLogger, facts({}, { ...on, [limit]: '0\n' }).made)).toEqual([])
})

let dir = ''
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-hardening-'))
  writeFileSync(
    join(dir, 'program.mjs'),
    `import { readFileSync } from 'node:fs'
import { url } from 'node:inspector'
import { hardenProcess } from ${JSON.stringify(pathToFileURL(resolve('src/node/hardening.ts')).href)}
const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log }
hardenProcess(log)
process.kill(process.pid, 'SIGUSR1')
const told = { filter: readFileSync('/proc/self/coredump_filter', 'latin1').trim() }
// As long as a debugger would need to open.
setTimeout(() => console.log(JSON.stringify({ ...told, debugger: url() ?? null })), 1_000)
`,
  )
  // Only so that its imports by room are found: a room's names belong to the package.
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test.runIf(process.platform === 'linux').each([[['--disable-sigusr1']], [[]]])(
  'a real process (%j) goes on after SIGUSR1 without a debugger, and would dump nothing',
  (flags) => {
    const ran = spawnSync(process.execPath, [...flags, join(dir, 'program.mjs')], { encoding: 'utf8', env: {} })
    expect([ran.status, ran.stderr]).toEqual([0, ''])
    expect(JSON.parse(ran.stdout)).toEqual({ filter: '00000000', debugger: null })
  },
)
