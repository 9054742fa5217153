/** What an auto seal makes of a root key: JSON with a version and what names the key, in the clear in the replicated state. Nothing in it is secret. */
import { checkVersion } from '#base/formats.ts'
import { SealFault } from './faults.ts'

const formatVersion = 1

/** `fields` as a record; the reader checks each of them, since anybody with the disk may have written it. */
export function encodeWrapped(fields: object): Uint8Array {
  return new Uint8Array(Buffer.from(JSON.stringify({ version: formatVersion, ...fields })))
}

/**
 * The fields of a record that `kind` wrote, as `isMine` knows them.
 * @throws ERR_UPGRADE_REQUIRED for another version; SealFault 'key' for anything else.
 */
export function parseWrapped<T extends object>(kind: string, record: Uint8Array, isMine: (fields: Partial<T>) => boolean): T {
  const fields = parseObject(record) as (Partial<T> & { version?: unknown }) | null
  if (fields !== null && checkVersion(`root key wrapped by ${kind}`, formatVersion, fields.version) && isMine(fields)) return fields as T
  throw new SealFault('key', `seal ${kind} expected what it wrapped, got something else`, {
    hint: 'restore a snapshot, or ask another node',
  })
}

function parseObject(record: Uint8Array): object | null {
  try {
    const value = JSON.parse(Buffer.from(record).toString('utf8')) as unknown
    return typeof value === 'object' && value !== null ? value : null
  } catch {
    return null // Said by the caller.
  }
}
