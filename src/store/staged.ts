/** The note beside a staged state (generations.ts): what it is, so that a restart knows it again. A line of crc32c in hex, then JSON. */
import { crc32c } from '@node-rs/crc32'
import { checkVersion } from '#base/formats.ts'
import type { StagedState } from './types.ts'

const version = 1

export function encodeStaged({ id, term, digest, pairs, bytes }: StagedState): Uint8Array {
  const json = JSON.stringify({ version, id, term, digest: Buffer.from(digest).toString('base64'), pairs, bytes })
  return Buffer.from(`${crc32c(json)}\n${json}`)
}

/** null for what is damaged. @throws ERR_UPGRADE_REQUIRED */
export function decodeStaged(note: Uint8Array): StagedState | null {
  const [sum = '', ...rest] = Buffer.from(note).toString('utf8').split('\n')
  const json = rest.join('\n')
  if (json === '' || String(crc32c(json)) !== sum) return null
  const { version: found, digest, ...wire } = JSON.parse(json) as Omit<StagedState, 'digest'> & { version: number; digest: string }
  if (!checkVersion('staged state', version, found)) return null
  return { ...wire, digest: new Uint8Array(Buffer.from(digest, 'base64')) }
}
