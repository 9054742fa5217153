/**
 * What a refusal costs, and what a request that is let through costs more than without quotas: `node bench/quotas.ts`. One thread, no sockets.
 */
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { QuotaGate } from '#core/quota-gate.ts'
import { errorResponse } from '#core/errors.ts'
import { mountTable, newMount, type MountReader } from '#core/mounts.ts'
import { EngineRegistry } from '#core/router.ts'
import type { Request } from '#core/types.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import { Limiter } from '#quotas/limiter.ts'
import { Layers } from '#quotas/match.ts'
import { QuotaStore, type Quotas } from '#quotas/store.ts'
import type { RateQuota } from '#quotas/types.ts'
import { recordFigures } from '#test/support/figures.ts'

const mounts = Array.from({ length: 200 }, (_, i) => newMount(systemRandom, { path: `kv${i}/`, table: 'secret', type: 'kv' }))
const table = mountTable(mounts)
const quota = (name: string, over: Partial<RateQuota>): RateQuota => ({
  name,
  namespaceId: 'root',
  mountUuid: null,
  suffix: '',
  role: '',
  inheritable: false,
  rate: 1,
  intervalSeconds: 3_600,
  blockSeconds: 0,
  groupBy: 'ip',
  secondaryRate: 0,
  burst: 0,
  ...over,
})

/** A gate with a quota on each mount, and ten paths on the first; every client may ask once an hour. */
function gateOf(rate: number): QuotaGate {
  const quotas = [
    ...mounts.map(({ uuid }, i) => quota(`m${i}`, { mountUuid: uuid, rate })),
    ...Array.from({ length: 10 }, (_, i) => quota(`p${i}`, { mountUuid: mounts[0]!.uuid, suffix: `data/${i}/*`, rate })),
  ]
  const store = new QuotaStore()
  const current: Quotas = { ...store.current, rateLimits: new Layers(quotas) }
  const limiter = new Limiter({ cluster: () => ({ nodes: 3, inContact: true }), epochBase: 0 })
  return new QuotaGate({
    quotas: { store: { current } as QuotaStore, limiter },
    registry: new EngineRegistry([]),
    mounts: { lastSeen: () => table } as unknown as MountReader,
    namespaces: { lastSeen: () => null, byId: async () => null } as unknown as NamespaceStore,
    isNodesOwn: () => false,
    clock: { nowMs: () => 0, monotonicMs: () => performance.now(), setTimer: () => ({ cancel() {} }) },
  })
}

let serial = 0
const requestOf = (address: string): Request => ({
  id: `r${(serial += 1)}`,
  operation: 'read',
  path: 'kv0/data/app/db',
  namespace: '',
  token: 's.none',
  body: {},
  query: {},
  headers: {},
  clientAddress: address,
  wrapTtlSeconds: 0,
  method: 'GET',
})

/** CPU microseconds of one, by the median of five rounds. */
function measure(rounds: number, each: (i: number) => void): number {
  const taken: number[] = []
  for (let round = 0; round < 5; round += 1) {
    const before = process.cpuUsage()
    for (let i = 0; i < rounds; i += 1) each(i)
    const { user, system } = process.cpuUsage(before)
    taken.push((user + system) / rounds)
  }
  return Number(taken.toSorted((a, b) => a - b)[2]!.toFixed(2))
}

const tight = gateOf(1)
const loose = gateOf(1e9)
const refusedOne = measure(100_000, () => {
  const request = requestOf('192.0.2.1')
  const refusal = tight.admit(request)
  if (refusal !== null) tight.dressed(request, errorResponse(refusal, request.id, silentLogger))
})
const refusedMany = measure(100_000, (i) => {
  const request = requestOf(`10.${i & 3}.${(i >> 2) & 255}.${(i >> 10) & 255}`)
  const refusal = tight.admit(request)
  if (refusal !== null) tight.dressed(request, errorResponse(refusal, request.id, silentLogger))
})
const admitted = measure(100_000, () => {
  const request = requestOf('192.0.2.1')
  loose.admit(request)
  loose.dressed(request, { status: 200, headers: {}, body: new Uint8Array(0) })
})
const nothing = measure(100_000, () => void requestOf('192.0.2.1'))
recordFigures('quotas', 'node bench/quotas.ts', {
  refusal_cpu_us: refusedOne,
  refusal_of_100000_clients_cpu_us: refusedMany,
  admission_cpu_us: admitted,
  of_these_making_the_request_cpu_us: nothing,
})
