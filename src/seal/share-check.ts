import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import { isShareOf } from './shamir.ts'
import type { SealConfig, SealOwner, ShareSet } from './types.ts'

/** The shares that `config` counts: unseal shares, or with an auto seal recovery shares; null where none were made. */
export function sharesOf(config: SealConfig): ShareSet | null {
  return config.secret ?? config.recovery
}

/** Whether `share` is one of `set`; else it is wiped. @throws ERR_BAD_SHARE saying what it is instead: replaced, or a stranger's. */
export function checkShare(config: SealConfig, set: ShareSet, share: Uint8Array, owner: SealOwner = 'cluster'): void {
  if (isShareOf(set, share)) return
  const replaced = config.retired?.find((retired) => isShareOf(retired, share))
  share.fill(0)
  if (replaced === undefined) throw wrongShare(`this share is not one of this ${owner}'s`)
  throw wrongShare(
    `this share was replaced by a rekey at ${formatRfc3339(replaced.replacedMs)}`,
    'use the shares that the rekey handed out',
  )
}

export function wrongShare(detail: string, hint?: string): HoldfastError {
  return new HoldfastError('ERR_BAD_SHARE', `invalid key: failed to decrypt keys from storage: ${detail}`, {
    hint: hint ?? 'check which cluster the share was made for; shares given before stay counted unless they were combined',
  })
}
