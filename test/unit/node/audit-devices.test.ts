/** Audit devices that the API makes: what they may write to, and that nothing of it is ever code. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ManagedAuditBroker } from '#audit/broker.ts'
import type { AuditSink } from '#audit/types.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { AuditDevices, type AuditDevicesOptions } from '#node/audit-devices.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'
import { standingClock } from '#test/support/open-barrier.ts'

let home: string
let folder: string
let sinks: AuditSink[]
beforeEach(() => {
  home = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-devices-')))
  folder = join(home, 'audit')
  mkdirSync(folder)
  sinks = []
})
afterEach(async () => {
  for (const sink of sinks) await sink.close()
  rmSync(home, { recursive: true, force: true })
})

function devices(config: Partial<AuditDevicesOptions['config']> = {}): AuditDevices {
  const audit = {
    enable: ({ sink }: { sink: AuditSink }) => void sinks.push(sink),
    setHeaders: () => {},
  } as unknown as ManagedAuditBroker
  return new AuditDevices({
    config: {
      audit: [],
      unsafe_allow_api_audit_creation: true,
      audit_api_folder: folder,
      allow_audit_log_prefixing: false,
      unsafe_allow_audit_log_raw: false,
      ...config,
    },
    nodeId: 'node-1',
    audit,
    barrier: new MemoryBarrier(),
    anchor: async () => {},
    clock: standingClock(),
    random: systemRandom,
    log: silentLogger,
  })
}

const refused = async (made: AuditDevices, options: Record<string, string>): Promise<string> =>
  made.enable('evil', 'file', '', options).then(
    () => 'enabled',
    (error: { code: string; message: string }) => `${error.code} ${error.message}`,
  )

test('CVE-2025-6000, CVE-2025-54997: an audit file of the API lies where the configuration says, can not be run, and begins with nothing of its maker', async () => {
  const file = join(folder, 'a.log')
  expect(await refused(devices({ unsafe_allow_api_audit_creation: false }), { file_path: file })).toMatch(/cannot enable or disable/)
  expect(await refused(devices({ audit_api_folder: null }), { file_path: file })).toMatch(/got no such folder configured/)
  const made = devices()
  mkdirSync(join(home, 'plugins'))
  writeFileSync(join(home, 'plugins', 'tool'), '')
  symlinkSync(join(home, 'plugins'), join(folder, 'elsewhere'))
  symlinkSync(join(home, 'plugins', 'tool'), join(folder, 'link'))
  for (const path of ['plugins/x', 'audit/../plugins/x', 'audit/elsewhere/x', 'audit/link', 'auditing/x', 'audit/none/x'])
    expect([path, await refused(made, { file_path: join(home, path) })]).toEqual([
      path,
      expect.stringMatching(/^ERR_BAD_REQUEST file_path expected/),
    ])
  // What the peers' exploit writes: a file that begins with a script of the caller's, and is executable.
  expect(await refused(made, { file_path: file, prefix: '#!/bin/sh\nid\n', mode: '0755' })).toMatch(/^ERR_BAD_REQUEST .*prefix/)
  expect(existsSync(file)).toBe(false)
  expect(await refused(made, { file_path: file, log_raw: 'true' })).toMatch(/^ERR_BAD_REQUEST .*log_raw/)
  await made.enable('second', 'file', '', { file_path: file, mode: '0755' })
  expect((statSync(file).mode & 0o777).toString(8)).toBe('600')
  // A file that is there already loses the right to be run.
  const old = join(folder, 'old.log')
  writeFileSync(old, '')
  chmodSync(old, 0o777)
  await made.enable('third', 'file', '', { file_path: old })
  expect((statSync(old).mode & 0o777).toString(8)).toBe('600')
  expect(sinks).toHaveLength(2)
})
