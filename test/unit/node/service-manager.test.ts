/** What a service manager hears of a node, by systemd's program and by one that notes what it was given. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { silentLogger, type Logger } from '#base/logger.ts'
import { tellServiceManager } from '#node/service-manager.ts'

let dir = ''
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-notify-'))
})
afterAll(() => rmSync(dir, { recursive: true }))

function hearing(): { readonly log: Logger; readonly warnings: unknown[] } {
  const warnings: unknown[] = []
  return { log: { ...silentLogger, warn: (details: object) => void warnings.push(details) }, warnings }
}

test('says it by systemd-notify, which gets nothing else of the environment', async () => {
  const { log, warnings } = hearing()
  const heard = join(dir, 'heard')
  writeFileSync(heard, '')
  writeFileSync(join(dir, 'systemd-notify'), `#!/bin/sh\necho "$1 $NOTIFY_SOCKET \${SECRET-none}" >> ${heard}\n`, { mode: 0o700 })
  const environment = { NOTIFY_SOCKET: '/run/a', PATH: `${dir}:/usr/bin:/bin`, SECRET: '1234' }
  for (const state of ['READY=1', 'STOPPING=1'] as const) {
    tellServiceManager(state, log, environment)
    await vi.waitFor(() => expect(readFileSync(heard, 'utf8')).toMatch(new RegExp(`^${state} /run/a none$`, 'm')), { timeout: 5_000 })
  }
  expect(warnings).toEqual([])
})

test('does nothing where nobody asked, and only warns where it can not', async () => {
  const { log, warnings } = hearing()
  tellServiceManager('READY=1', log, { PATH: dir })
  tellServiceManager('READY=1', log, { PATH: dir, NOTIFY_SOCKET: '' })
  const empty = mkdtempSync(join(dir, 'empty-'))
  tellServiceManager('READY=1', log, { PATH: empty, NOTIFY_SOCKET: '/run/a' })
  await vi.waitFor(() => expect(warnings).toEqual([{ state: 'READY=1', reason: 'ENOENT' }]), { timeout: 5_000 })
})

test('the manager hears it on its socket', async () => {
  const { log, warnings } = hearing()
  const socket = join(dir, 'manager')
  // Node has no such sockets: Python listens, and goes on: systemd-notify sends a second word (BARRIER=1), and fails if nobody is there any more to take it. Where systemd is missing there is nobody to tell, and the warning says so.
  const listening = `import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('up', flush=True)
while True: print(s.recv(100).decode(), flush=True)`
  const manager = spawn('python3', ['-c', listening, socket], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    let said = ''
    manager.stdout.on('data', (part: Buffer) => (said += part.toString()))
    await vi.waitFor(() => expect(said).toBe('up\n'), { timeout: 10_000 })
    tellServiceManager('READY=1', log, { PATH: process.env['PATH'], NOTIFY_SOCKET: socket })
    await vi.waitFor(() => expect(said.includes('READY=1') || warnings.length > 0).toBe(true), { timeout: 10_000 })
    if (warnings.length > 0) expect(warnings).toEqual([{ state: 'READY=1', reason: 'ENOENT' }])
  } finally {
    manager.kill()
  }
})
