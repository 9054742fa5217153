/** Servers of one cluster, each a process, of which a test takes away what it likes: a cluster of its own for each test. `end` leaves none behind. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { Api, type Answer } from '#cmd/dev/api.ts'
import { freePorts } from '#test/support/cluster.ts'
import { found, serving, ServerProcess, unseal, until, type Founded } from '#test/support/server-process.ts'

const api = new Api(null)

export class House {
  readonly dir = mkdtempSync(join(tmpdir(), 'holdfast-recovery-'))
  readonly servers = new Map<string, ServerProcess>()
  founded: Founded = { token: '', keys: [], threshold: 1 }
  #port = 0

  /** Starts one server for each id, the first of them founding, the others joined and voting; kv v2 at secret/. */
  async raise(ids: readonly string[]): Promise<this> {
    this.#port = await freePorts(40)
    const servers = ids.map((id) => this.make(id))
    const [first] = servers as [ServerProcess]
    await Promise.all(servers.map((server) => server.startAndAnswer()))
    this.founded = await found(first)
    for (const server of servers.slice(1)) await this.join(first, server)
    for (const id of ids) await this.voter(first, id)
    expect((await this.call(first, 'POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } })).status).toBe(204)
    return this
  }

  make(id: string): ServerProcess {
    const server = new ServerProcess(api, this.dir, id, this.#port)
    this.#port += 2
    this.servers.set(id, server)
    return server
  }

  at(id: string): ServerProcess {
    return this.servers.get(id) as ServerProcess
  }

  call(server: ServerProcess, method: string, path: string, body?: unknown, timeoutMs = 10_000): Promise<Answer> {
    return server.call(method, path, { token: this.founded.token, body, timeoutMs })
  }

  async join(member: ServerProcess, server: ServerProcess): Promise<void> {
    const answer = await this.call(member, 'POST', 'sys/storage/raft/join-token', { ttl: '5m' })
    const { token } = (answer.body ?? {})['data'] as { token: string }
    const body = { leader_api_addr: member.apiAddress, token }
    expect((await server.call('POST', 'sys/storage/raft/join', { body, timeoutMs: 25_000 })).body).toEqual({ joined: true })
    await unseal(server, this.founded)
    await serving(server)
  }

  async configuration(by: ServerProcess): Promise<Readonly<Record<string, unknown>>> {
    return ((await this.call(by, 'GET', 'sys/storage/raft/configuration')).body?.['data'] ?? {}) as Record<string, unknown>
  }

  /** Members as `by` knows them; with '*' behind those that vote. */
  async members(by: ServerProcess): Promise<string[]> {
    const health = (await this.call(by, 'GET', 'sys/storage/raft/autopilot/state')).body?.['data'] as
      | { servers: Record<string, { status: string }> }
      | undefined
    return Object.entries(health?.servers ?? {})
      .map(([id, { status }]) => (status === 'non-voter' ? id : `${id}*`))
      .sort()
  }

  async voter(by: ServerProcess, id: string): Promise<void> {
    await until(`${id} to vote`, async () => ((await this.members(by)).includes(`${id}*`) ? true : null), 20_000)
  }

  async put(server: ServerProcess, name: string, value: string): Promise<number> {
    return (await this.call(server, 'POST', `secret/data/${name}`, { data: { value } })).status
  }

  async get(server: ServerProcess, name: string): Promise<unknown> {
    const answer = await this.call(server, 'GET', `secret/data/${name}`)
    return answer.status === 200 ? ((answer.body ?? {})['data'] as { data: { value: string } }).data.value : answer.status
  }

  /** Stops it for good: its disk goes too. */
  async lose(id: string): Promise<void> {
    await this.at(id).stop('SIGKILL')
    rmSync(this.at(id).dataDir, { recursive: true, force: true })
    this.servers.delete(id)
  }

  async restart(id: string): Promise<void> {
    await this.at(id).startAndAnswer()
    await unseal(this.at(id), this.founded)
    await serving(this.at(id))
  }

  async end(): Promise<void> {
    await Promise.all([...this.servers.values()].map((server) => server.stop('SIGKILL')))
    if (process.env['HOLDFAST_KEEP'] === undefined) rmSync(this.dir, { recursive: true, force: true })
    else console.log(`kept ${this.dir}`)
  }
}
