/** The clear record in a restored state that says where it comes from: `core/restored`. Nothing in it is secret. */
import { checkVersion } from '#base/formats.ts'

const formatVersion = 1

export interface RestoredRecord {
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
  /** When an operator said that the origin is gone, so that jobs may run here; absent: not yet, or never needed. */
  readonly confirmedMs?: number
}

export const encodeRestored = (record: RestoredRecord): Uint8Array =>
  new Uint8Array(Buffer.from(JSON.stringify({ version: formatVersion, ...record })))

/** null for what is none: it is no secret, and nothing rests on it but when jobs begin. @throws ERR_UPGRADE_REQUIRED */
export function decodeRestored(value: Uint8Array): RestoredRecord | null {
  try {
    const { version, ...record } = JSON.parse(Buffer.from(value).toString('utf8')) as RestoredRecord & { version: number }
    return checkVersion('restored record', formatVersion, version) ? record : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}
