import { HoldfastError } from '#base/errors.ts'
import type { SealBlock } from '#config/types.ts'

/**
 * Which seal this node may run with: shares, for now. A configured KMS or HSM that is quietly not used would leave its operator
 * believing that the root key is protected by it.
 * @throws ERR_CONFIG for any other seal.
 */
export function expectShamir(seals: readonly SealBlock[]): void {
  const other = seals.find(({ kind }) => kind !== 'shamir')
  if (other === undefined) return
  throw new HoldfastError('ERR_CONFIG', `seal expected shamir, got ${other.kind}`, {
    hint: 'this version opens by unseal shares only: leave the seal block out',
  })
}
