import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { RetiredShares, SealConfig, ShareSet } from './types.ts'

interface WireShareSet {
  readonly secret_shares: number
  readonly secret_threshold: number
  readonly share_salt: string
  readonly share_hashes: readonly string[]
}

interface WireRetired {
  readonly share_salt: string
  readonly share_hashes: readonly string[]
  readonly replaced_ms: number
}

interface WireConfig extends Partial<WireShareSet> {
  readonly version: 1
  readonly type: string
  readonly recovery?: WireShareSet | null
  readonly recovery_proof?: string
  readonly retired?: readonly WireRetired[]
}

const toWire = (set: ShareSet): WireShareSet => ({
  secret_shares: set.shares,
  secret_threshold: set.threshold,
  share_salt: set.salt,
  share_hashes: set.hashes,
})

/** Sets of replaced shares that are remembered. */
export const retiredMax = 3

/** The bare record that says how the root key is protected. */
export function encodeSealConfig(config: SealConfig): Uint8Array {
  const kept: WireConfig =
    config.secret !== null
      ? { version: 1, type: config.type, ...toWire(config.secret) }
      : {
          version: 1,
          type: config.type,
          recovery: config.recovery === null ? null : toWire(config.recovery),
          ...(config.proof === undefined ? {} : { recovery_proof: config.proof }),
        }
  const retired = (config.retired ?? []).map(({ salt, hashes, replacedMs }) => ({
    share_salt: salt,
    share_hashes: hashes,
    replaced_ms: replacedMs,
  }))
  const wire: WireConfig = retired.length === 0 ? kept : { ...kept, retired }
  return new Uint8Array(Buffer.from(JSON.stringify(wire)))
}

function corrupt(what: string): HoldfastError {
  return new HoldfastError('ERR_STORE_CORRUPT', `seal configuration ${what}`, { hint: 'restore a snapshot, or ask another node' })
}

/** @throws ERR_UPGRADE_REQUIRED for another version; ERR_STORE_CORRUPT: the record lies in the clear, so anybody with the disk may have written it. */
export function parseSealConfig(record: Uint8Array): SealConfig {
  let wire: unknown
  try {
    wire = JSON.parse(Buffer.from(record).toString('utf8'))
  } catch {
    throw corrupt('expected JSON, got something else')
  }
  const { version, type, recovery, recovery_proof: proof, retired } = (wire ?? {}) as Partial<WireConfig>
  if (!checkVersion('seal configuration', 1, version) || typeof type !== 'string')
    throw corrupt('expected version 1 with a type, got something else')
  const before = retired === undefined ? {} : { retired: parseRetired(retired) }
  if (type === 'shamir') return { type, secret: parseShareSet(wire), ...before }
  const set = recovery === undefined || recovery === null ? null : parseShareSet(recovery)
  return { type, secret: null, recovery: set, ...(typeof proof === 'string' ? { proof } : {}), ...before }
}

function parseRetired(value: unknown): RetiredShares[] {
  if (!Array.isArray(value) || value.length > retiredMax)
    throw corrupt(`expected at most ${retiredMax} replaced sets of shares, got something else`)
  return (value as Partial<WireRetired>[]).map(({ share_salt: salt, share_hashes: hashes, replaced_ms: replacedMs }) => {
    const known = typeof salt === 'string' && Array.isArray(hashes) && hashes.every((hash) => typeof hash === 'string')
    if (!known || typeof replacedMs !== 'number') throw corrupt('expected a salt, hashes and a time of replaced shares, got something else')
    return { salt, hashes, replacedMs }
  })
}

function parseShareSet(value: unknown): ShareSet {
  const wire = (value ?? {}) as Partial<WireShareSet>
  const { secret_shares: shares, secret_threshold: threshold, share_salt: salt, share_hashes: hashes } = wire
  const counts = typeof shares === 'number' && typeof threshold === 'number' && threshold >= 1 && threshold <= shares && shares <= 255
  const known = typeof salt === 'string' && Array.isArray(hashes) && hashes.every((hash) => typeof hash === 'string')
  if (!counts || !known || hashes.length !== shares) throw corrupt('expected a threshold and one hash a share, got something else')
  return { shares, threshold, salt, hashes }
}
