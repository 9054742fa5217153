/** The clear record in a restored state that says where it comes from: `core/restored`. Nothing in it is secret. */

const formatVersion = 1

interface RestoredRecord {
  readonly restoredMs: number
  readonly byNode: string
  /** Of the file. */
  readonly sha256: string
  /** Where and when the snapshot was saved. */
  readonly clusterId: string
  readonly clusterName: string | null
  readonly incarnation: number
  readonly index: number
  readonly createdMs: number
}

export const encodeRestored = (record: RestoredRecord): Uint8Array =>
  new Uint8Array(Buffer.from(JSON.stringify({ version: formatVersion, ...record })))
