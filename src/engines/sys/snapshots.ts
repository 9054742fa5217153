/** `storage/raft/snapshot`: the state as a file, saved and checked on the node that is asked, and restored by the leader. */
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { sealOf, type SnapshotFileHeader } from '#snapshots/header.ts'
import type { Origin } from '#snapshots/restored.ts'
import type { Restored } from '#snapshots/restorer.ts'
import type { Proof, Saving } from '#snapshots/saver.ts'
import type { SchedulesSummary } from '#snapshots/schedules.ts'
import { answer, effects, path, reads } from './table.ts'
import type { SystemServices } from './types.ts'

/** 256 GiB: a bound, not a wish. */
const uploadBytesMax = 256 * 1024 ** 3
const nothing = new Uint8Array(0)

/** What the system engine needs of the room `snapshots`. */
export interface SnapshotService {
  save(): Promise<Saving>
  check(stream: AsyncIterable<Uint8Array>): Promise<Proof>
  restore(stream: AsyncIterable<Uint8Array>, options: { readonly force: boolean }): Promise<Restored>
  readonly origin: Pick<Origin, 'restored' | 'waits' | 'confirm'>
  /** Of the schedules, for health. Never rejects. */
  summary(): Promise<SchedulesSummary | null>
}

export function snapshotPaths({ snapshots }: SystemServices): PathDef[] {
  const flags = { rootNamespaceOnly: true, local: true } as const
  return [
    path(
      'storage/raft/snapshot',
      "The cluster's state as a snapshot file.",
      { ...flags, uploadBytesMax },
      {
        read: reads('Save', () => save(snapshots)),
        update: reads('Restore', (context) => restore(snapshots, context, false)),
      },
      'Saving, the answer is the file itself, made while it is sent. Any node that is open can be asked; it waits until it has every write that was acknowledged before. Restoring, the body of the request is the file, and the leader must be asked: once it was found whole, saved by this cluster and sealed as this cluster is now, it takes the place of the whole state, on every node.',
    ),
    path(
      'storage/raft/snapshot-force',
      'Restores a snapshot that is sealed otherwise, or was saved by another cluster.',
      { ...flags, uploadBytesMax },
      { update: reads('Restore', (context) => restore(snapshots, context, true)) },
      'As a restore by storage/raft/snapshot, but neither seal nor MAC are compared. Afterwards the cluster is sealed by what the snapshot was sealed by: unseal it with the shares, or the key, of when it was saved.',
    ),
    path(
      'storage/raft/snapshot/restored',
      'Which snapshot was restored last, and whether anything waits for that.',
      { rootNamespaceOnly: true },
      { read: reads('Read', async () => answer(restoredAnswer(snapshots))) },
      'After a restore of what another cluster has saved, leases, tokens that end, engines’ jobs and snapshot schedules wait: that cluster may still run, and would lose what it gave out. storage/raft/snapshot/confirm lets them begin.',
    ),
    path(
      'storage/raft/snapshot/confirm',
      "Lets leases and jobs of another cluster's snapshot begin here.",
      { rootNamespaceOnly: true, sudo: true },
      { update: effects('Confirm', async () => (await snapshots.origin.confirm(), null)) },
      'To be asked once the cluster that saved the snapshot is gone for good: from then on this one ends what is due, as if it had given it out itself.',
    ),
    path(
      'storage/raft/snapshot/verify',
      'Whether a snapshot file is whole, and was saved by this cluster.',
      { ...flags, uploadBytesMax },
      { update: reads('Verify', (context) => verify(snapshots, context)) },
      'The body of the request is the file. It is read to its end, or as far as it is damaged, and nothing of it is kept.',
    ),
  ]
}

async function save(snapshots: SnapshotService): Promise<LogicalResponse> {
  const saving = await snapshots.save()
  const { index, createdMs } = saving.header
  const name = `holdfast-${new Date(createdMs).toISOString().slice(0, 19).replaceAll(':', '')}Z-${index}.snap`
  return {
    // As the peers name it, though ours is no gzip: its type is what tools match on, and they hand the bytes on as they are.
    raw: { contentType: 'application/gzip', body: nothing, stream: saving },
    headers: { 'content-disposition': `attachment; filename="${name}"`, 'x-holdfast-snapshot-index': String(index) },
  }
}

async function restore(snapshots: SnapshotService, { request }: HandlerContext, force: boolean): Promise<LogicalResponse> {
  if (request.upload === undefined)
    throw new HoldfastError('ERR_BAD_REQUEST', 'expected a snapshot file as the body of the request, got none')
  const source = request.upload[Symbol.asyncIterator]()
  try {
    const restored = await snapshots.restore({ [Symbol.asyncIterator]: () => ({ next: () => source.next() }) }, { force })
    const { index, incarnation, stored, bytes, sha256, warnings, sealed } = restored
    const data = { index, incarnation, stored, bytes, sha256, sealed, snapshot: headerAnswer(restored.header) }
    return { ...answer(data), ...(warnings.length === 0 ? {} : { warnings }) }
  } catch (error) {
    // A client that still sends may not look for its answer.
    for (let next = await source.next(); next.done !== true;) next = await source.next()
    throw error
  } finally {
    await source.return?.()
  }
}

async function verify(snapshots: SnapshotService, { request }: HandlerContext): Promise<LogicalResponse> {
  if (request.upload === undefined)
    throw new HoldfastError('ERR_BAD_REQUEST', 'expected a snapshot file as the body of the request, got none')
  const proof = await checkWhole(snapshots, request.upload)
  if (proof.state === 'damaged') {
    const { kind, from, to } = proof.damage
    return answer({ whole: false, proven: false, verdict: kind, message: proof.message, damaged_from: from, damaged_to: to })
  }
  const proven = proof.state === 'proven'
  const message = proven ? 'whole, and saved by this cluster' : 'whole, but not sealed by this cluster: saved by another one, or altered'
  return answer({
    whole: true,
    proven,
    verdict: proof.state,
    message,
    sha256: proof.sha256,
    bytes: proof.bytes,
    ...headerAnswer(proof.header),
  })
}

/** Reads on to the end where the verdict comes before it: a client that still sends may not look for its answer. */
async function checkWhole(snapshots: SnapshotService, upload: AsyncIterable<Uint8Array>): ReturnType<SnapshotService['check']> {
  const source = upload[Symbol.asyncIterator]()
  try {
    const proof = await snapshots.check({ [Symbol.asyncIterator]: () => ({ next: () => source.next() }) })
    for (let next = await source.next(); next.done !== true;) next = await source.next()
    return proof
  } finally {
    await source.return?.()
  }
}

function restoredAnswer({ origin }: SnapshotService): Record<string, unknown> {
  const record = origin.restored()
  if (record === null) return { restored: null, waits: false }
  const { restoredMs, byNode, sha256, clusterId, clusterName, incarnation, index, createdMs, confirmedMs } = record
  return {
    restored: {
      time: formatRfc3339(restoredMs),
      node_id: byNode,
      sha256,
      cluster_id: clusterId,
      cluster_name: clusterName,
      incarnation,
      index,
      created: formatRfc3339(createdMs),
      confirmed: confirmedMs === undefined ? null : formatRfc3339(confirmedMs),
    },
    waits: origin.waits(),
  }
}

function headerAnswer(header: SnapshotFileHeader): Record<string, unknown> {
  return {
    cluster_id: header.clusterId,
    cluster_name: header.clusterName,
    incarnation: header.incarnation,
    index: header.index,
    term: header.term,
    created: formatRfc3339(header.createdMs),
    node_id: header.nodeId,
    holdfast_version: header.holdfastVersion,
    seal_type: sealOf(header)?.type ?? null,
  }
}
