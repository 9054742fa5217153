/** The unit of systemd: its promises, by reading it, and its words, by systemd's own check. */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const unit = readFileSync('deploy/systemd/holdfast.service', 'utf8')
const credentials = readFileSync('deploy/systemd/holdfast.service.d/credentials.conf', 'utf8')
const settings = (text: string, key: string): readonly string[] =>
  [...text.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value = '']) => value)

describe('the unit', () => {
  test('waits to be told that the node is up, by a child of it, and starts what is in the repository', () => {
    expect([settings(unit, 'Type'), settings(unit, 'NotifyAccess')]).toEqual([['notify'], ['all']])
    const [start = ''] = settings(unit, 'ExecStart')
    expect(start).toMatch(/^\/opt\/holdfast\/node_modules\/node\/bin\/node \/opt\/holdfast\/(\S+) server -config=\S+$/)
    expect(existsSync(/holdfast\/(cmd\/\S+)/.exec(start)?.[1] ?? '')).toBe(true)
  })

  test('shuts off what a store of secrets does not need', () => {
    for (const key of [
      'NoNewPrivileges',
      'ProtectHome',
      'PrivateTmp',
      'PrivateDevices',
      'ProtectClock',
      'ProtectKernelModules',
      'RestrictSUIDSGID',
    ])
      expect(settings(unit, key), key).toEqual(['yes'])
    expect([settings(unit, 'ProtectSystem'), settings(unit, 'CapabilityBoundingSet'), settings(unit, 'UMask')]).toEqual([
      ['strict'],
      [''],
      ['0077'],
    ])
  })

  test('gets its secrets as credentials, and its page names them as the file does', () => {
    const names = settings(credentials, 'LoadCredential').map((value) => value.split(':')[0])
    expect(names).toEqual(['seal-pin', 'tls-key'])
    for (const name of names) expect(readFileSync('docs/deploy.md', 'utf8')).toContain(`/run/credentials/holdfast.service/${name}`)
  })

  // Only systemd knows its own words; a machine without it (a container, a Mac) can't check them.
  test.skipIf(spawnSync('systemd-analyze', ['--version']).status !== 0)('has no word that systemd does not know', () => {
    const dir = mkdtempSync(join(tmpdir(), 'holdfast-unit-'))
    try {
      const path = join(dir, 'holdfast.service')
      writeFileSync(path, unit.replaceAll('/opt/holdfast', resolve('.')))
      cpSync('deploy/systemd/holdfast.service.d', `${path}.d`, { recursive: true })
      const verified = spawnSync('systemd-analyze', ['verify', '--man=no', path], { encoding: 'utf8' })
      expect([verified.status, verified.stderr]).toEqual([0, ''])
      const security = execFileSync('systemd-analyze', ['security', '--offline=true', path], { encoding: 'utf8' })
      expect(Number(/exposure level for \S+: ([\d.]+)/.exec(security)?.[1])).toBeLessThan(2.5)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})
