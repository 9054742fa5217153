/** What a snapshot file says of itself before its body: whose it is, of when, and how it is sealed. */
import { parseSealConfig } from '#seal/config.ts'
import type { SealConfig } from '#seal/types.ts'
import { bareNames } from '#barrier/bare.ts'

export interface SnapshotFileHeader {
  readonly clusterId: string
  readonly clusterName: string | null
  readonly incarnation: number
  /** The applied index of the state, and its term. */
  readonly index: number
  readonly term: number
  /** By the clock of the node that saved it, ms since the epoch. */
  readonly createdMs: number
  /** By the cluster's replicated clock, as of that index. */
  readonly leaderTimeMs: number
  readonly nodeId: string
  readonly holdfastVersion: string
  /** The format level that the state is written in. */
  readonly formatLevel: number
  /**
   * The state's records in the clear, as they stand in the body too: seal configuration, wrapped root key, keyring's ciphertext. With them a restore finds
   * out whether its seal opens this file, and has the key of its MAC, before it has taken any of the body.
   */
  readonly records: Readonly<Record<string, Uint8Array>>
}

/** Of the state's clear records, those that a header carries. */
export const headerRecords: readonly string[] = [bareNames.sealConfig, bareNames.rootKey, bareNames.keyring]

export function encodeHeader(header: SnapshotFileHeader): Uint8Array {
  const records = Object.entries(header.records).map(([name, value]) => [name, Buffer.from(value).toString('base64')] as const)
  const wire = {
    cluster_id: header.clusterId,
    cluster_name: header.clusterName,
    incarnation: header.incarnation,
    index: header.index,
    term: header.term,
    created_ms: header.createdMs,
    leader_time_ms: header.leaderTimeMs,
    node_id: header.nodeId,
    holdfast_version: header.holdfastVersion,
    format_level: header.formatLevel,
    records: Object.fromEntries(records),
  }
  return Buffer.from(JSON.stringify(wire))
}

/** null for what is no header. Keys that it does not know are left out: a later release of this version may add some. */
export function decodeHeader(payload: Uint8Array): SnapshotFileHeader | null {
  const wire = parse(payload)
  if (wire === null) return null
  const texts = [wire['cluster_id'], wire['node_id'], wire['holdfast_version']]
  const counts = ['incarnation', 'index', 'term', 'created_ms', 'leader_time_ms', 'format_level'].map((name) => wire[name])
  const named = wire['cluster_name'] === null || typeof wire['cluster_name'] === 'string'
  const records = recordsFrom(wire['records'])
  const fits =
    texts.every((text) => typeof text === 'string') && counts.every((count) => Number.isSafeInteger(count) && (count as number) >= 0)
  if (!fits || !named || records === null) return null
  return {
    clusterId: wire['cluster_id'] as string,
    clusterName: wire['cluster_name'] as string | null,
    incarnation: wire['incarnation'] as number,
    index: wire['index'] as number,
    term: wire['term'] as number,
    createdMs: wire['created_ms'] as number,
    leaderTimeMs: wire['leader_time_ms'] as number,
    nodeId: wire['node_id'] as string,
    holdfastVersion: wire['holdfast_version'] as string,
    formatLevel: wire['format_level'] as number,
    records,
  }
}

function parse(payload: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(payload).toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : null
  } catch {
    return null
  }
}

function recordsFrom(value: unknown): Readonly<Record<string, Uint8Array>> | null {
  if (typeof value !== 'object' || value === null) return null
  const entries = Object.entries(value)
  if (!entries.every((entry): entry is [string, string] => typeof entry[1] === 'string')) return null
  return Object.fromEntries(entries.map(([name, text]) => [name, new Uint8Array(Buffer.from(text, 'base64'))]))
}

/** How the file is sealed; null where the state had no seal yet. @throws ERR_UPGRADE_REQUIRED, ERR_STORE_CORRUPT as `parseSealConfig`. */
export function sealOf({ records }: SnapshotFileHeader): SealConfig | null {
  const record = records[bareNames.sealConfig]
  return record === undefined ? null : parseSealConfig(record)
}
