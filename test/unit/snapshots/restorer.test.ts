/** Whose snapshot a restore takes: each way of being another cluster's is refused by its code, with what it would take, and nothing is replaced. */
import { expect, test } from 'vitest'
import { SecretBytes } from '#base/secret.ts'
import { silentLogger } from '#base/logger.ts'
import type { ReplicaStatus } from '#replica/types.ts'
import type { SealRecords } from '#seal/types.ts'
import { encodeSealConfig } from '#seal/config.ts'
import { SnapshotRestorer, type RestorerOptions } from '#snapshots/restorer.ts'
import type { SnapshotFileHeader } from '#snapshots/header.ts'
import { standingClock } from '#test/support/open-barrier.ts'
import { pieces, snapshotCluster, snapshotFile, snapshotHeader, snapshotKey, snapshotPairs } from '#test/support/snapshot-file.ts'

const pairs = snapshotPairs([new Uint8Array(20)])
const file = await snapshotFile(pairs)
const sealConfig = snapshotHeader.records['core/seal-config']!
const ours: SealRecords = { sealConfig, rootKey: new Uint8Array(1), keyring: new Uint8Array(1) } as unknown as SealRecords

interface Cluster {
  readonly id?: string
  readonly opens?: boolean
  readonly macKey?: Uint8Array
  readonly records?: SealRecords | null
}

/** The leader of a cluster of this kind; what was staged, discarded or restored is told. */
function leaderOf({ id = snapshotCluster, opens = true, macKey = snapshotKey, records = ours }: Cluster) {
  const done: string[] = []
  const status = { nodeId: 'a', clusterId: id, role: 'leader', ready: true, level: 99, leaderMember: null } as unknown as ReplicaStatus
  const options: RestorerOptions = {
    target: () => ({
      async stage(stream, { leaveOut, add } = {}) {
        // As a store does: all of the stream, and what the restorer adds at its end, before anything is kept.
        let bytes = 0
        for await (const piece of stream) bytes += piece.length
        for (const [key, value] of pairs) leaveOut?.(key, value)
        const added = add?.() ?? []
        done.push('staged')
        return { id: 'one', term: 1, digest: new Uint8Array(), pairs: pairs.length + [...added].length, bytes }
      },
      discard: async () => void done.push('discarded'),
      restore: async () => {
        done.push('restored')
        return { index: 8, incarnation: 2, stored: ['a'] }
      },
    }),
    replica: { nodeId: status.nodeId, status: () => status },
    barrier: {
      sealed: false,
      derivedKey: () => new SecretBytes(Uint8Array.from(macKey)),
      opensKeyring: () => opens,
      rotate: async () => ({}) as never,
    },
    seal: { records: () => records },
    clock: standingClock(),
    log: silentLogger,
  }
  const restore = (bytes: Uint8Array, force = false) => new SnapshotRestorer(options).restore(pieces(bytes, 1_000), { force })
  return { done, restore }
}

const refused = (message: RegExp) => ({ code: 'ERR_SNAPSHOT_FOREIGN', message: expect.stringMatching(message), hint: expect.any(String) })

test('a snapshot of this cluster, sealed as it is and with its MAC, is restored', async () => {
  const { done, restore } = leaderOf({})
  await expect(restore(file)).resolves.toMatchObject({ index: 8, incarnation: 2, warnings: [] })
  expect(done).toEqual(['staged', 'restored'])
})

test('ERR_SNAPSHOT_FOREIGN: another cluster saved it, whose seal does not open here', async () => {
  const { done, restore } = leaderOf({ id: 'another', opens: false })
  await expect(restore(file)).rejects.toMatchObject(refused(/^the snapshot is of cluster \(fixture\), sealed by 2 of 3 shares/))
  await expect(restore(file)).rejects.toMatchObject({ code: 'ERR_SNAPSHOT_FOREIGN', hint: expect.stringContaining('with -force') })
  expect(done).toEqual([])
})

test('ERR_SNAPSHOT_FOREIGN: this cluster saved it, and has another root key since', async () => {
  const { done, restore } = leaderOf({ opens: false })
  await expect(restore(file)).rejects.toMatchObject(refused(/is of this cluster as it was sealed on .* root key has been replaced since/))
  expect(done).toEqual([])
})

test('ERR_SNAPSHOT_FOREIGN: the shares were replaced since, though the keyring opens', async () => {
  const secret = { shares: 3, threshold: 2, salt: 'b3RoZXI=', hashes: ['a', 'b', 'c'] }
  const { done, restore } = leaderOf({ records: { ...ours, sealConfig: encodeSealConfig({ type: 'shamir', secret }) } })
  await expect(restore(file)).rejects.toMatchObject(refused(/whose shares or seal were changed since/))
  expect(done).toEqual([])
})

test('ERR_SNAPSHOT_FOREIGN: this cluster has no seal yet to compare with, or the one that saved it had none', async () => {
  await expect(leaderOf({ records: null }).restore(file)).rejects.toMatchObject(refused(/expected an initialised cluster/))
  const unsealed: SnapshotFileHeader = { ...snapshotHeader, records: {} }
  const early = await snapshotFile(snapshotPairs([]), { header: unsealed })
  await expect(leaderOf({}).restore(early)).rejects.toMatchObject(refused(/saved before its cluster was initialised/))
})

test('ERR_SNAPSHOT_FOREIGN: whole, but under a MAC of another key, which is known only at its end: nothing of it is kept', async () => {
  const { done, restore } = leaderOf({ macKey: new Uint8Array(32) })
  await expect(restore(file)).rejects.toMatchObject(refused(/its MAC is not one of this cluster's keys/))
  expect(done).toEqual([])
})

test('with -force each of them is restored all the same', async () => {
  for (const cluster of [{ id: 'another', opens: false }, { opens: false }, { macKey: new Uint8Array(32) }]) {
    const { done, restore } = leaderOf(cluster)
    await restore(file, true)
    expect(done).toEqual(['staged', 'restored'])
  }
})
