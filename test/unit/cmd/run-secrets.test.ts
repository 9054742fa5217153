/** What `holdfast run` holds while a program runs: leases are renewed, replaced at their end, and given back. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Clock } from '#base/clock.ts'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { Client } from '#client/client.ts'
import { Flags } from '#cmd/cli/args.ts'
import { PrivateFiles } from '#cmd/commands/run/private-files.ts'
import { RunSecrets } from '#cmd/commands/run/secrets.ts'
import { StubServer, type Asked, type Reply } from '#test/support/stub-server.ts'

const flags = new Flags({ mount: { type: 'string', description: '' } })

interface At {
  readonly stub: StubServer
  readonly client: Client
  readonly later: (seconds: number) => void
}

async function against(reply: (asked: Asked) => Reply, work: (at: At) => Promise<void>): Promise<void> {
  await using stub = await StubServer.start(reply)
  let aheadMs = 0
  const clock: Clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs }
  await using client = new Client({ addresses: [stub.address], token: 's.t', retriesMax: 0 }, { clock, random: systemRandom })
  await work({ stub, client, later: (seconds) => void (aheadMs += seconds * 1_000) })
}

/** An engine that lends: a new name each time it is read. */
function lender(renewed: Reply): { readonly reply: (asked: Asked) => Reply; readonly revoked: string[] } {
  let count = 0
  const revoked: string[] = []
  const reply = ({ path, body }: Asked): Reply => {
    if (path.startsWith('sys/internal/ui/mounts/')) return { json: { data: { path: 'db/', type: 'database' } } }
    if (path === 'sys/leases/renew') return renewed
    if (path === 'sys/leases/revoke') return (revoked.push((body as { lease_id: string }).lease_id), {})
    count += 1
    return { json: { lease_id: `db/creds/app/${count}`, lease_duration: 600, renewable: true, data: { user: `u${count}` } } }
  }
  return { reply, revoked }
}

const longer: Reply = { json: { lease_id: 'db/creds/app/1', lease_duration: 600, renewable: true } }
const users = (secrets: RunSecrets): unknown => secrets.fields.get('db/creds/app')?.['user']

describe('what is lent', () => {
  test('is renewed at two thirds of its time, not before, and keeps its name', async () => {
    const { reply } = lender(longer)
    await against(reply, async ({ stub, client, later }) => {
      const secrets = await RunSecrets.open(client, flags, ['db/creds/app', 'db/creds/app'])
      expect(secrets.dueInMs()).toBeGreaterThan(395_000)
      later(390)
      await secrets.refresh()
      expect(stub.last.path).toBe('db/creds/app')
      later(20)
      expect(secrets.dueInMs()).toBe(0)
      await secrets.refresh()
      expect([stub.last.path, users(secrets)]).toEqual(['sys/leases/renew', 'u1'])
      expect(secrets.dueInMs()).toBeGreaterThan(395_000)
    })
  })

  test.each([
    ['is refused', { status: 400, json: { errors: ['lease is not renewable'] } }],
    ['gives little more', { json: { lease_id: 'db/creds/app/1', lease_duration: 30, renewable: true } }],
  ] as const)('is replaced where renewing %s, and the old one given back', async (_, renewed) => {
    const { reply, revoked } = lender(renewed as Reply)
    await against(reply, async ({ client, later }) => {
      const secrets = await RunSecrets.open(client, flags, ['db/creds/app'])
      later(410)
      await secrets.refresh()
      expect([users(secrets), revoked]).toEqual(['u2', ['db/creds/app/1']])
      expect(await secrets.revoke()).toEqual([])
      expect(revoked).toEqual(['db/creds/app/1', 'db/creds/app/2'])
    })
  })

  test('is named where it can not be given back, the replaced one too', async () => {
    const { reply } = lender({ status: 400, json: { errors: ['lease is not renewable'] } })
    const refusing = (asked: Asked): Reply =>
      asked.path === 'sys/leases/revoke' ? { status: 403, json: { errors: ['permission denied'] } } : reply(asked)
    await against(refusing, async ({ client, later }) => {
      const secrets = await RunSecrets.open(client, flags, ['db/creds/app', 'db/creds/other'])
      later(410)
      await secrets.refresh()
      expect(await secrets.revoke()).toEqual(['db/creds/app', 'db/creds/other'])
    })
  })

  test('is given back when another secret can not be read', async () => {
    const { reply, revoked } = lender(longer)
    const refusing = (asked: Asked): Reply => (asked.path === 'db/creds/none' ? { status: 404, json: { errors: [] } } : reply(asked))
    await against(refusing, async ({ client }) => {
      await expect(RunSecrets.open(client, flags, ['db/creds/app', 'db/creds/none'])).rejects.toThrow('nothing found at db/creds/none')
      expect(revoked).toEqual(['db/creds/app/1'])
    })
  })
})

test('a secret that is away for a while stays as it was', async () => {
  let away = false
  const reply = ({ path }: Asked): Reply => {
    if (path.startsWith('sys/internal')) return { json: { data: { path: 'secret/', type: 'kv', options: { version: '2' } } } }
    return away ? { status: 500, json: { errors: ['no'] } } : { json: { data: { data: { k: 'v' }, metadata: { version: 1 } } } }
  }
  await against(reply, async ({ client }) => {
    const secrets = await RunSecrets.open(client, flags, ['secret/a'])
    away = true
    await expect(secrets.refresh()).rejects.toThrow()
    expect(secrets.fields.get('secret/a')).toEqual({ k: 'v' })
    expect(secrets.dueInMs()).toBe(Infinity)
  })
})

describe('files in memory', () => {
  test('are of the user alone, are written whole, and go with their folder', () => {
    const files = new PrivateFiles({})
    const paths = files.write(new Map([['KEY', 'one']]))
    const path = paths.get('KEY') ?? ''
    expect([readFileSync(path, 'utf8'), statSync(path).mode & 0o777, statSync(files.folder).mode & 0o777]).toEqual(['one', 0o600, 0o700])
    files.write(new Map([['KEY', 'two']]))
    expect([readFileSync(path, 'utf8'), readdirSync(files.folder)]).toEqual(['two', ['KEY']])
    files.remove()
    expect(existsSync(files.folder)).toBe(false)
  })

  test('of a process that was killed are removed by the next, those of one that lives are not', () => {
    // A pid that was, and is not any more.
    const { pid } = spawnSync('true')
    const dead = join('/dev/shm', `holdfast-run-${pid}-test${process.pid}`)
    const alive = join('/dev/shm', `holdfast-run-${process.ppid}-test${process.pid}`)
    for (const folder of [dead, alive]) mkdirSync(folder)
    using _ = new PrivateFiles({})
    expect([existsSync(dead), existsSync(alive)]).toEqual([false, true])
    spawnSync('rmdir', [alive])
  })

  test('a folder that is on a disk is not taken', () => {
    using files = new PrivateFiles({ XDG_RUNTIME_DIR: process.cwd() })
    expect(files.folder.startsWith('/dev/shm/')).toBe(true)
  })
})
