/** Records of the root's section 'sys/audit': JSON with a version. */
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { ReadView, Section } from '#barrier/types.ts'

const formatVersion = 1
export const auditSection: Section = { namespace: 'root', mount: 'sys/audit' }

/** A record of this section. */
export const encoded = (value: object): Uint8Array => Buffer.from(JSON.stringify({ version: formatVersion, ...value }))

/** A record of this section; null: none. @throws ERR_STORE_CORRUPT, ERR_UPGRADE_REQUIRED. */
export async function load<T>(view: ReadView, path: string, what: string): Promise<T | null> {
  const stored = await view.get(auditSection, path)
  if (stored === null) return null
  let value: { version?: unknown } = {}
  try {
    value = JSON.parse(Buffer.from(stored).toString('utf8')) as { version?: unknown }
  } catch {
    // Told below.
  }
  if (checkVersion(what, formatVersion, value.version)) return value as T
  throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to have a version`)
}
