/**
 * The key-value engine. One type, two tables: the mount's option `version` ('1' when absent, as with the peers) picks one.
 * A mount may be tuned from 1 to 2: its secrets then read as keys with one version (record.ts); never back.
 */
import { HoldfastError } from '#base/errors.ts'
import type { EngineDef } from '#core/types.ts'
import { pathsV1 } from './v1.ts'
import { pathsV2 } from './v2.ts'

function checkVersion(options: Readonly<Record<string, string>> | null, allowed: readonly string[]): void {
  const version = options?.['version']
  if (version === undefined || version === '' || allowed.includes(version)) return
  throw new HoldfastError(
    'ERR_BAD_REQUEST',
    `option version expected ${allowed.map((one) => `"${one}"`).join(' or ')}, got ${JSON.stringify(version)}`,
  )
}

export const kv: EngineDef = {
  type: 'kv',
  kind: 'secret',
  description: 'Key-value secrets, with versions (version 2) or without (version 1)',
  paths: (mount) => (mount.options?.['version'] === '2' ? pathsV2 : pathsV1),
  checkOptions: (options) => checkVersion(options, ['1', '2']),
}

/** `kv-v2` as a type of its own is what people write instead of `kv` with version=2. */
export const kvV2: EngineDef = {
  ...kv,
  type: 'kv-v2',
  description: 'Key-value secrets with versions',
  paths: () => pathsV2,
  checkOptions: (options) => checkVersion(options, ['2']),
}
