/**
 * The key-value engine. One type, two tables: the mount's option `version` ('1' when absent, as with the peers) picks one.
 * (`kv-v2` as a type is turned into `kv` with that option where mounts are made.) A mount may be tuned from 1 to 2: its secrets
 * then read as keys with one version (record.ts); never back.
 */
import { HoldfastError } from '#base/errors.ts'
import type { EngineDef } from '#core/types.ts'
import { pathsV1 } from './v1.ts'
import { pathsV2 } from './v2.ts'

function checkVersion(options: Readonly<Record<string, string>> | null): void {
  const version = options?.['version']
  if (version === undefined || version === '' || version === '1' || version === '2') return
  throw new HoldfastError('ERR_BAD_REQUEST', `option version expected "1" or "2", got ${JSON.stringify(version)}`)
}

export const kv: EngineDef = {
  type: 'kv',
  kind: 'secret',
  description: 'Key-value secrets, with versions (version 2) or without (version 1)',
  paths: (mount) => (mount.options?.['version'] === '2' ? pathsV2 : pathsV1),
  checkOptions: checkVersion,
}
