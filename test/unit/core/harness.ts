/** A core over a memory barrier with services as simple as can be: what these tests are about is the core's own order of things. */
import { createHash } from 'node:crypto'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { HoldfastError } from '#base/errors.ts'
import type { AuditRecord } from '#audit/types.ts'
import { createCore, type Core } from '#core/core.ts'
import { newMount, writeMounts } from '#core/mounts.ts'
import type { CoreDeps } from '#core/deps.ts'
import type { CoreResponse, EngineDef, MountEntry, Request } from '#core/types.ts'
import type { AccessRequest, CompiledAcl, Decision } from '#policies/types.ts'
import type { ReplicaStatus } from '#replica/types.ts'
import type { TokenEntry } from '#tokens/types.ts'
import { standingClock } from '#test/support/open-barrier.ts'
import { MemoryBarrier } from '#test/support/memory-barrier.ts'

export const tokenSection = { namespace: 'root', mount: 'sys/token' }

export function tokenEntry(id: string, over: Partial<TokenEntry> = {}): TokenEntry {
  return {
    idHash: createHash('sha256').update(id).digest('hex'),
    accessor: `accessor-of-${id}`,
    parentHash: null,
    policies: ['root'],
    path: 'auth/token/root',
    meta: null,
    displayName: 'test',
    type: 'service',
    namespaceId: 'root',
    entityId: '',
    numUses: 0,
    creationTimeMs: 0,
    creationTtlSeconds: 0,
    explicitMaxTtlSeconds: 0,
    periodSeconds: 0,
    renewable: false,
    orphan: true,
    expireTimeMs: null,
    lastRenewalTimeMs: null,
    boundCidrs: [],
    ...over,
  }
}

/** Allows what `allows` says; 'root' allows everything. */
function fakeAcl(root: boolean, allows: (request: AccessRequest) => boolean | Partial<Decision>): CompiledAcl {
  return {
    decide(request) {
      const verdict = root || request.operation === 'help' ? true : allows(request)
      const base: Decision = { allowed: verdict !== false, root, paginationLimit: 0, listFilter: null, rule: null }
      return typeof verdict === 'object' ? { ...base, ...verdict } : base
    },
    explain: () => ({ allowed: false, root, paginationLimit: 0, listFilter: null, rule: null, reason: 'no rule', candidates: [] }),
    entries: () => [],
    capabilities: () => (root ? ['root'] : ['deny']),
  }
}

export interface Harness {
  readonly core: Core
  readonly barrier: MemoryBarrier
  readonly audit: AuditRecord[]
  readonly forwarded: Request[]
  readonly status: { role: ReplicaStatus['role']; ready: boolean }
  auditFails: (record: AuditRecord) => boolean
  /** How the leader answers a forwarded request. */
  forward: (request: Request) => Promise<CoreResponse>
  /** Lets the clock run in steps of 50 ms. */
  passTime(ms: number): Promise<void>
  allows: (request: AccessRequest) => boolean | Partial<Decision>
  addToken(id: string, over?: Partial<TokenEntry>): void
  tokenUses(id: string): number
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into parsed JSON
  ask(request: Partial<Request>): Promise<{ status: number; body: any; text: string }>
}

/** A harness whose mounts are `mounts` (path below 'auth/' for auth engines). */
export async function makeHarness(
  engines: readonly EngineDef[],
  mounts: readonly (Pick<MountEntry, 'path' | 'table' | 'type'> & Partial<MountEntry>)[],
): Promise<Harness> {
  const barrier = new MemoryBarrier()
  const audit: AuditRecord[] = []
  const forwarded: Request[] = []
  const status = { role: 'leader' as ReplicaStatus['role'], ready: true }
  const encode = (entry: TokenEntry): Uint8Array => Buffer.from(JSON.stringify(entry))
  const clock = standingClock()
  const forward: Harness['forward'] = async () => ({ status: 200, headers: {}, body: Buffer.from('{"from":"leader"}') })
  const harness = { auditFails: () => false, allows: () => true, forward } as unknown as Harness
  const deps: CoreDeps = {
    barrier,
    replica: { status: () => ({ ...status, leader: 'other', incarnation: 1 }) as unknown as ReplicaStatus },
    tokens: {
      async lookup(view, token) {
        const stored = await view.get(tokenSection, createHash('sha256').update(token).digest('hex'))
        return stored ? (JSON.parse(Buffer.from(stored).toString()) as TokenEntry) : null
      },
      async consumeUse(transaction, entry) {
        const next = { ...entry, numUses: entry.numUses - 1 }
        if (next.numUses === 0) transaction.delete(tokenSection, entry.idHash)
        else transaction.put(tokenSection, entry.idHash, encode(next))
        return next
      },
      hash: (token) => createHash('sha256').update(token).digest('hex'),
      async lookupHash(view, idHash) {
        const stored = await view.get(tokenSection, idHash)
        return stored ? (JSON.parse(Buffer.from(stored).toString()) as TokenEntry) : null
      },
    },
    policies: { compileFor: async (_view, { policies }) => fakeAcl(policies.includes('root'), (request) => harness.allows(request)) },
    audit: {
      async record(record) {
        if (harness.auditFails(record)) throw new HoldfastError('ERR_AUDIT', 'no audit device took the record')
        audit.push(record)
      },
    },
    engines,
    forward: async (request) => {
      forwarded.push(request)
      return harness.forward(request)
    },
    jobs: [],
    clock,
    random: systemRandom,
    log: silentLogger,
    nodeId: 'n1',
    boot: 1,
  }
  const core = createCore(deps)
  await barrier.transact(async (transaction) => {
    writeMounts(
      transaction,
      'root',
      mounts.map((mount) => newMount(systemRandom, mount)),
    )
    transaction.put(tokenSection, tokenEntry('root').idHash, encode(tokenEntry('root')))
  })
  return Object.assign(harness, {
    core,
    barrier,
    audit,
    forwarded,
    status,
    passTime: async (ms: number) => {
      for (let passed = 0; passed < ms; passed += 50) {
        for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
        clock.advance(50)
      }
    },
    addToken: (id: string, over: Partial<TokenEntry> = {}) => {
      const entry = tokenEntry(id, over)
      barrier.state.set(`root\u0000sys/token\u0000${entry.idHash}`, encode(entry))
    },
    tokenUses: (id: string) => {
      const stored = barrier.state.get(`root\u0000sys/token\u0000${tokenEntry(id).idHash}`)
      return stored ? (JSON.parse(Buffer.from(stored).toString()) as TokenEntry).numUses : 0
    },
    ask: async (request: Partial<Request>) => {
      const answer = await core.handle(makeRequest(request))
      const text = Buffer.from(answer.body).toString()
      return { status: answer.status, text, body: text === '' ? null : JSON.parse(text) }
    },
  })
}

let serial = 0

export const makeRequest = (over: Partial<Request>): Request => ({
  id: `request-${(serial += 1)}`,
  operation: 'read',
  path: '',
  namespace: '',
  token: 'root',
  body: {},
  query: {},
  headers: {},
  clientAddress: '127.0.0.1',
  wrapTtlSeconds: 0,
  method: 'GET',
  ...over,
})
