import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { Clock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { emptyMembership } from '#raft/index.ts'
import { emptyMeta } from '#store/statemeta.ts'
import { startReplica, type Peers } from '#replica/index.ts'
import { proveState } from '#replica/proofs.ts'
import { encodeHeader } from '#replica/snapshots.ts'
import { openLogStore } from '#store/log.ts'
import { openStateStore } from '#store/state.ts'
import type { StateStore } from '#store/types.ts'
import { testAuthenticator } from '#test/support/authenticator.ts'

const clusterId = 'cluster-1'
const folder = mkdtempSync(join(tmpdir(), 'holdfast-install-'))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Time stands still: nobody campaigns. */
const stillClock: Clock = { nowMs: () => 0, monotonicMs: () => 0, setTimer: () => ({ cancel: () => {} }) }
const noPeers: Peers = { send: () => {}, sendSnapshot: () => Promise.resolve(), setPeers: () => {}, lastContactMs: () => null }
const self = { id: 'a', clusterAddress: 'a:1', apiAddress: 'http://a:2', fingerprint: 'f', voter: true }

/** A state whose applying waits until it is let go. */
function gated(state: StateStore): { readonly state: StateStore; readonly begun: () => number; open: () => void } {
  let [begun, open]: [number, () => void] = [0, () => {}]
  const gate = new Promise<void>((resolve) => (open = resolve))
  const apply: StateStore['apply'] = async (ops, meta, onVisible) => {
    if (meta.applied === 1) return state.apply(ops, meta, onVisible) // The bootstrap.
    begun += 1
    await gate
    return state.apply(ops, meta, onVisible)
  }
  const handler: ProxyHandler<StateStore> = {
    get: (target, name) => {
      if (name === 'apply') return apply
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  }
  return { state: new Proxy(state, handler), begun: () => begun, open: () => open() }
}

test('entries that an installed snapshot covers are not applied once more', async () => {
  const directory = join(folder, 'a')
  const { state, begun, open } = gated(await openStateStore({ directory, clusterId }))
  const replica = await startReplica({
    nodeId: 'a',
    clusterId,
    incarnation: 1,
    log: await openLogStore({ directory, clusterId }),
    state,
    peers: noPeers,
    clock: stillClock,
    random: systemRandom,
    logger: silentLogger,
    bootstrap: self,
    settings: { applyEntriesMax: 2 },
  })
  const sent = await openStateStore({ directory: join(folder, 'b'), clusterId })
  const membership = { ...emptyMembership, voters: ['a', 'b'] }
  await sent.apply([], { ...emptyMeta, applied: 10, appliedTerm: 2, membership, leaderTimeMs: 0 })
  try {
    // Five committed entries, of which the first two are being applied.
    const entries = [2, 3, 4, 5, 6].map((index) => ({ index, term: 2, type: 1, data: new Uint8Array(0) }))
    const append = { version: 1, type: 0, from: 'b', to: 'a', term: 2, logIndex: 1, logTerm: 1, commit: 6, entries }
    replica.onMessage('b', append)
    await expect.poll(begun).toBe(1)
    const snapshot = sent.snapshot()
    const proof = proveState(testAuthenticator(), { clusterId, incarnation: 1 }, sent.meta)
    const installed = replica.onSnapshot('b', encodeHeader({ clusterId, term: 2, index: 10, proof }), snapshot.stream)
    await expect.poll(() => replica.status().commit).toBe(10)
    open()
    await installed
    snapshot.release()
    replica.onMessage('b', { ...append, logIndex: 10, logTerm: 2, commit: 11, entries: [{ ...entries[0], index: 11 }] })
    await expect.poll(() => replica.status().applied).toBe(11)
    expect(replica.status().failed).toBeNull()
    // The round that was under way, and entry 11.
    expect(begun()).toBe(2)
  } finally {
    await replica.stop({ handOver: false })
    await sent.close()
  }
})
