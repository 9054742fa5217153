/** Records of audit files as rows for people. */
import { linesOf } from '#audit/verify/lines.ts'
import type { AuditRecord } from '#audit/types.ts'

export interface Row {
  readonly time: string
  readonly type: string
  readonly id: string
  readonly operation: string
  readonly namespace: string
  readonly path: string
  readonly who: string
  readonly accessor: string
  readonly entity: string
  readonly address: string
  readonly status: string
  readonly error: string
}

export const columns = [
  'time',
  'type',
  'id',
  'operation',
  'namespace',
  'path',
  'who',
  'accessor',
  'entity',
  'address',
  'status',
  'error',
] as const

/** null for what is no record. */
export function parseRecord(line: Buffer): AuditRecord | null {
  try {
    // A device may put a prefix before each line.
    const from = line.indexOf(0x7b)
    const record = JSON.parse(line.toString('utf8', Math.max(0, from))) as Partial<AuditRecord>
    return typeof record.time === 'string' && typeof record.request === 'object' ? (record as AuditRecord) : null
  } catch {
    return null
  }
}

/** Records of files, in their order. Rejects when one can't be read. */
export async function* recordsOf(files: readonly string[]): AsyncGenerator<AuditRecord> {
  for (const file of files) {
    for await (const { bytes, whole } of linesOf(file)) {
      const record = whole ? parseRecord(bytes) : null
      if (record !== null) yield record
    }
  }
}

export function rowOf({ time, type, auth, request, response, error }: AuditRecord): Row {
  return {
    time,
    type,
    id: request.id ?? '',
    operation: request.operation ?? '',
    namespace: request.namespace?.path ?? '',
    path: request.path ?? '',
    who: auth?.display_name ?? '',
    accessor: auth?.accessor ?? '',
    entity: auth?.entity_id ?? '',
    address: request.remote_address ?? '',
    status: response?.status === undefined ? '' : String(response.status),
    error: error ?? '',
  }
}
