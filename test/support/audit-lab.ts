/** Audit files as a node would write them, with the anchors that a cluster would hold: restarts, crashes, rotation, in a folder of its own. */
import { randomBytes } from 'node:crypto'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock, type Clock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { ProofFile } from '#audit/anchor.ts'
import { anchorHeads, proofOf } from '#audit/anchor-store.ts'
import { createAuditBroker, type ManagedAuditBroker } from '#audit/broker.ts'
import { openFileSink, type FileSinkOptions } from '#audit/sinks/file.ts'
import type { AuditRecord } from '#audit/types.ts'
import type { ReadView, Transaction } from '#barrier/types.ts'

const none = { request: [], response: [] }

export const labRecord = (path: string): AuditRecord => ({
  type: 'response',
  time: '2026-08-01T10:00:00.000Z',
  auth: { client_token: 'hvs.lab', accessor: 'acc', display_name: 'lab', policies: ['p'] },
  request: { id: path, operation: 'read', namespace: { id: 'root' }, path, remote_address: '127.0.0.1', data: { a: 'secret' } },
  response: { status: 200, data: { b: 'value' } },
})

/** A state in memory, of one section, that reads and writes as a transaction does. */
export function memoryTransaction(): Transaction & { readonly values: Map<string, Uint8Array> } {
  const values = new Map<string, Uint8Array>()
  const view = {
    values,
    index: 0,
    nowMs: 0,
    writes: 0,
    get: async (_: unknown, path: string) => values.get(path) ?? null,
    list: async (_: unknown, prefix: string) => {
      const at = prefix === '' ? '' : `${prefix}/`
      const names = [...values.keys()].filter((path) => path.startsWith(at)).map((path) => path.slice(at.length))
      return [...new Set(names.map((name) => (name.includes('/') ? name.slice(0, name.indexOf('/') + 1) : name)))].sort()
    },
    put: (_: unknown, path: string, value: Uint8Array) => void values.set(path, value),
    delete: (_: unknown, path: string) => void values.delete(path),
    deleteTree: async () => 0,
  }
  return view as unknown as Transaction & { readonly values: Map<string, Uint8Array> }
}

export class AuditLab {
  readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-audit-'))
  readonly path: string
  auditKey = randomBytes(32)
  state = memoryTransaction()
  readonly node: string
  cluster = 'lab'
  /** Another one begins another key that signs. */
  keyringTerm = 1
  readonly #options: Partial<FileSinkOptions>
  readonly #clock: Clock
  #broker: ManagedAuditBroker | null = null
  #count = 0

  constructor(node = 'n1', options: Partial<FileSinkOptions> = {}, clock: Clock = systemClock) {
    this.node = node
    this.path = join(this.folder, 'audit.log')
    this.#options = options
    this.#clock = clock
  }

  get broker(): ManagedAuditBroker {
    return this.#broker!
  }

  async start(): Promise<this> {
    const sink = await openFileSink({ path: this.path, clock: this.#clock, ...this.#options })
    const clock = this.#clock
    this.#broker = createAuditBroker({
      nodeId: this.node,
      clock,
      random: systemRandom,
      log: silentLogger,
      devices: [{ name: 'file', sink }],
    })
    this.#broker.setKey(this.auditKey)
    return this
  }

  /** `count` records in flushes of up to `together`. */
  async write(count: number, together = 4): Promise<void> {
    for (let left = count; left > 0; left -= together) {
      const batch = Array.from({ length: Math.min(left, together) }, () => labRecord(`secret/data/${(this.#count += 1)}`))
      await Promise.all(batch.map((record) => this.broker.record(record, none)))
    }
  }

  async anchor(): Promise<void> {
    const { cluster, node, keyringTerm } = this
    await anchorHeads(this.state, { cluster, node, keyringTerm, timeMs: systemClock.nowMs() }, await this.broker.heads())
  }

  async stop(): Promise<void> {
    await this.broker.close()
  }

  /** As after a kill -9 in the middle of a write: what was begun is half there, and nothing of the process is left. */
  async crash(torn: string | null): Promise<void> {
    await this.stop()
    if (torn !== null) appendFileSync(this.path, torn)
  }

  async proof(): Promise<ProofFile> {
    const proof = await proofOf(this.state as unknown as ReadView, this.auditKey, this.cluster, systemClock.nowMs())
    if (proof === null) throw new Error('expected an anchor, got none')
    return proof
  }

  /** In the order in which they were written. */
  files(): string[] {
    const names = readdirSync(this.folder).filter((name) => !name.endsWith('.part'))
    const rotated = names.filter((name) => name !== 'audit.log').sort()
    return [...rotated, ...names.filter((name) => name === 'audit.log')].map((name) => join(this.folder, name))
  }

  contents(): Map<string, Buffer> {
    return new Map(this.files().map((file) => [file, readFileSync(file)]))
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
