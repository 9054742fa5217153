/** Snapshots on their way: out to peers that need what is compacted away, and in from a leader. */
import { Packr } from 'msgpackr'
import { HoldfastError } from '#base/errors.ts'
import { firstLevel, laidOut, levelOf, releasedFormats, versionAt, type FormatRange } from '#base/formats.ts'
import type { Logger } from '#base/logger.ts'
import type { NodeId, SnapshotMeta } from '#raft/types.ts'
import type { StateMeta, StateStore } from '#store/types.ts'
import type { Peers } from './options.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const headerVersion = 2
const headerBytesMax = 4_096

export interface SnapshotHeader {
  readonly clusterId: string
  /** The leader's term at sending. */
  readonly term: number
  readonly index: number
  /** That an unsealed node has checked the state (proofs.ts); null from a sealed one. */
  readonly proof: Uint8Array | null
  /** The life of the cluster that the state belongs to; absent: the receiver's. */
  readonly incarnation?: number
  /** It is to be staged for a restore (restore.ts), and `proof` says that an unsealed leader asks for that. */
  readonly staged?: { readonly id: string; readonly digest: Uint8Array }
}

export function encodeHeader(header: SnapshotHeader, level: number = firstLevel): Uint8Array {
  const { clusterId, term, index, proof, incarnation = null, staged } = header
  const row = [clusterId, term, index, proof, incarnation, staged === undefined ? null : [staged.id, staged.digest]]
  return packr.pack([versionAt(headerVersion, level), ...laidOut(row, level)])
}

/** @throws ERR_FRAME; ERR_UPGRADE_REQUIRED for a version outside `formats`. */
export function decodeHeader(bytes: Uint8Array, formats: FormatRange = releasedFormats): SnapshotHeader {
  const record = bytes.length <= headerBytesMax ? unpack(bytes) : null
  const [version, ...row] = Array.isArray(record) ? (record as unknown[]) : []
  const level = levelOf('snapshot header', headerVersion, version, formats)
  const [clusterId, term, index, proof, incarnation, staged] = laidOut(row, level ?? firstLevel)
  const counts = [term, index].every((count) => typeof count === 'number' && Number.isSafeInteger(count) && count > 0)
  if (level === null || typeof clusterId !== 'string' || !counts) {
    throw new HoldfastError('ERR_FRAME', 'snapshot header: expected a version with cluster, term and index, got something else')
  }
  const [id, digest] = Array.isArray(staged) ? (staged as unknown[]) : []
  return {
    clusterId,
    term: term as number,
    index: index as number,
    proof: proof instanceof Uint8Array ? proof : null,
    ...(typeof incarnation === 'number' ? { incarnation } : {}),
    ...(typeof id === 'string' && digest instanceof Uint8Array ? { staged: { id, digest: Uint8Array.from(digest) } } : {}),
  }
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes)
  } catch {
    return null
  }
}

/** At most one snapshot to each peer. */
export class OutgoingSnapshots {
  readonly #state: StateStore
  readonly #peers: Peers
  readonly #clusterId: string
  readonly #logger: Logger
  readonly #sending = new Map<NodeId, { readonly index: number; readonly arrived: Promise<boolean> }>()

  readonly #vouch: (meta: StateMeta) => { readonly proof: Uint8Array | null; readonly incarnation: number }

  constructor(
    state: StateStore,
    peers: Peers,
    clusterId: string,
    logger: Logger,
    vouch: (meta: StateMeta) => { readonly proof: Uint8Array | null; readonly incarnation: number },
  ) {
    this.#vouch = vouch
    this.#state = state
    this.#peers = peers
    this.#clusterId = clusterId
    this.#logger = logger
  }

  /** Index below which the log must not be compacted: the receivers continue behind their snapshots. */
  lowestIndex(): number {
    return Math.min(Infinity, ...Array.from(this.#sending.values(), ({ index }) => index))
  }

  /**
   * Streams the newest state to `to`, written in `level`; resolves with whether it arrived. Where one is on its way there already, with how that one
   * ends: a core that has asked for a snapshot waits until it is told, whoever asked for the first.
   */
  send(to: NodeId, term: number, level: number): Promise<boolean> {
    const under = this.#sending.get(to)
    if (under !== undefined) return under.arrived
    const snapshot = this.#state.snapshot(level)
    const header = encodeHeader({ clusterId: this.#clusterId, term, index: snapshot.meta.index, ...this.#vouch(this.#state.meta) }, level)
    const arrived = this.#stream(to, header, snapshot).finally(() => {
      snapshot.release()
      this.#sending.delete(to)
    })
    this.#sending.set(to, { index: snapshot.meta.index, arrived })
    return arrived
  }

  async #stream(to: NodeId, header: Uint8Array, { meta, stream }: ReturnType<StateStore['snapshot']>): Promise<boolean> {
    this.#logger.info({ peer: to, index: meta.index }, 'sending a snapshot')
    try {
      await this.#peers.sendSnapshot(to, header, stream)
      return true
    } catch (error) {
      this.#logger.warn({ peer: to, reason: error instanceof Error ? error.message : 'unknown' }, 'sending a snapshot failed')
      return false
    }
  }
}

/** What the receiver thinks of a snapshot; both throw what it refuses it with. */
export interface SnapshotJudge {
  /** Before anything of the body is read. */
  header(header: SnapshotHeader): void
  /** All of it is here and agrees with its digest. Returns the record as it is to be kept. */
  meta(meta: StateMeta, header: SnapshotHeader): StateMeta
}

/** Stores a peer's snapshot beside the state. @throws ERR_FRAME; ERR_UPGRADE_REQUIRED for one of a version outside `formats` */
export async function receiveSnapshot(
  state: StateStore,
  clusterId: string,
  header: SnapshotHeader,
  body: AsyncIterable<Uint8Array>,
  judge: SnapshotJudge,
  formats: FormatRange,
): Promise<{ readonly term: number; readonly meta: SnapshotMeta }> {
  const { clusterId: cluster, term, index } = header
  if (cluster !== clusterId) throw new HoldfastError('ERR_FRAME', 'snapshot: expected one of this cluster, got that of another')
  judge.header(header)
  const meta = await state.receive(body, formats, (received) => judge.meta(received, header))
  if (meta.index !== index) throw new HoldfastError('ERR_FRAME', `snapshot: expected the state at ${index}, got ${meta.index}`)
  return { term, meta }
}
