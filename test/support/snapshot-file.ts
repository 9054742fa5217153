/** Snapshot files for tests: a small state with what a real one has, as a file under a key of the test's own. */
import { createHash } from 'node:crypto'
import { bareKey, KeyClass } from '#barrier/bare.ts'
import { SecretBytes } from '#base/secret.ts'
import { encodeSealConfig } from '#seal/config.ts'
import { encodeSnapshotFile } from '#snapshots/file.ts'
import type { SnapshotFileHeader } from '#snapshots/header.ts'
import { expand, StateDigest } from '#store/digest.ts'
import { emptyMeta, encodeMeta } from '#store/statemeta.ts'
import { encodeSnapshot, type Pair } from '#store/stream.ts'

export const snapshotKey = createHash('sha256').update('the key of the snapshots in tests').digest()
export const snapshotCluster = 'fixture'
const membership = { voters: ['a', 'b'], votersOutgoing: [], learners: ['c'], learnersNext: [], autoLeave: false }
const shares = { shares: 3, threshold: 2, salt: 'c2FsdA==', hashes: ['a', 'b', 'c'] }

const records = {
  'core/seal-config': encodeSealConfig({ type: 'shamir', secret: shares }),
  'core/root-key': new Uint8Array(Buffer.from('a wrapped root key')),
  'core/keyring': new Uint8Array(Buffer.from('the ciphertext of a keyring')),
}

export const snapshotHeader: SnapshotFileHeader = {
  clusterId: snapshotCluster,
  clusterName: null,
  incarnation: 1,
  index: 7,
  term: 2,
  createdMs: 1_700_000_000_000,
  leaderTimeMs: 1_699_999_999_000,
  nodeId: 'a',
  holdfastVersion: '0.1.0',
  formatLevel: 1,
  records,
}

/** A state of `values` secrets in two sections, with clear records and what the replica keeps. In the order of its keys. */
export function snapshotPairs(values: readonly Uint8Array[]): Pair[] {
  const pairs: Pair[] = [[new Uint8Array([0x08]), Buffer.from('the members')]]
  values.forEach((value, at) => {
    const key = Buffer.alloc(40, at % 2)
    key[0] = at % 2 === 0 ? KeyClass.everywhere : KeyClass.thisCluster
    key.writeUInt32BE(at, 20)
    pairs.push([key, value])
  })
  for (const [name, value] of Object.entries(records)) pairs.push([bareKey(name), value])
  return pairs.toSorted(([a], [b]) => Buffer.compare(a, b))
}

export function metaOf(pairs: readonly Pair[]): Uint8Array {
  const sum = new StateDigest()
  for (const [key, value] of pairs) sum.add(expand(key, value))
  const { index: applied, term: appliedTerm, leaderTimeMs } = snapshotHeader
  return encodeMeta(snapshotCluster, { ...emptyMeta, applied, appliedTerm, membership, leaderTimeMs, digest: sum.bytes() })
}

/** The whole file. `meta` is made for other pairs where the test says so. */
export async function snapshotFile(
  pairs: readonly Pair[],
  options: { readonly header?: SnapshotFileHeader; readonly meta?: Uint8Array; readonly key?: Uint8Array } = {},
): Promise<Buffer> {
  const each = async function* (): AsyncGenerator<Pair, void, undefined> {
    yield* pairs
  }
  const body = encodeSnapshot({ clusterId: snapshotCluster, meta: options.meta ?? metaOf(pairs) }, each())
  const key = options.key ?? snapshotKey
  return bytesOf(encodeSnapshotFile(options.header ?? snapshotHeader, body, () => new SecretBytes(new Uint8Array(key))))
}

export async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces)
}

/** `bytes` as a stream of pieces of `size` bytes; `size` 0: all at once. */
export async function* pieces(bytes: Uint8Array, size = 0): AsyncGenerator<Uint8Array, void, undefined> {
  const step = size === 0 ? Math.max(1, bytes.length) : size
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
}
