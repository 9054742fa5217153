/** The one change that puts other shares, or another root key, in force. */
import { sealBox } from '#barrier/aead.ts'
import { bareNames } from '#barrier/bare.ts'
import { HoldfastError } from '#base/errors.ts'
import { SecretBytes } from '#base/secret.ts'
import { sealBackup, type KeysBackup } from './backup.ts'
import { encodeSealConfig, retiredMax } from './config.ts'
import { rootKeyPlace, wrapSurely } from './migration.ts'
import { settled } from './outcome.ts'
import type { PgpKey } from './pgp.ts'
import { proven } from './proof.ts'
import { refusal, type Attempt, type Fresh } from './rekey-attempt.ts'
import type { RekeyOptions } from './rekey-types.ts'
import { unsealKeyBytes } from './shamir.ts'
import { sharesOf } from './share-check.ts'
import { standing } from './standing.ts'
import type { AutoSeal, SealConfig, SealRecords, ShareSet } from './types.ts'

export const backupNames = { root: bareNames.unsealKeysBackup, recovery: bareNames.recoveryKeysBackup } as const

/** Puts `fresh` in force. False when nobody knows whether it is. @throws when it surely is not. */
export async function replaceShares(options: RekeyOptions, attempt: Attempt, { key, set, keys }: Fresh): Promise<boolean> {
  const { barrier, clock, random, replica } = options
  const { target, config, records, request, pgpKeys, quorum } = attempt
  const next = set === null ? records.sealConfig : encodeSealConfig(proven(barrier, nextConfig(config, set, clock.nowMs())))
  const kept = request.backup
    ? { [backupNames[target]]: sealBackup(barrier, backupNames[target], { nonce: quorum.nonce, keys: backupOf(pgpKeys, keys) }, random) }
    : {}
  if (target === 'root') return replaceRootKey(options, records, key, { [bareNames.sealConfig]: next, ...kept })
  const { term } = replica.status()
  const change = barrier.changeSeal({ records: { [bareNames.sealConfig]: next, ...kept }, expected: expectedOf(records) })
  return settled({ ...options, change, term, name: bareNames.sealConfig, value: next })
}

const expectedOf = ({ sealConfig, rootKey }: SealRecords): Record<string, Uint8Array> => ({
  [bareNames.sealConfig]: sealConfig,
  [bareNames.rootKey]: rootKey,
})

/** Another root key, wrapped by `unsealKey` or, where that is null, by the auto seal; with `more` in the same change. */
async function replaceRootKey(
  options: RekeyOptions,
  records: SealRecords,
  unsealKey: SecretBytes | null,
  more: Readonly<Record<string, Uint8Array>>,
): Promise<boolean> {
  const { barrier, replica, random } = options
  using rootKey = new SecretBytes(random.bytes(unsealKeyBytes))
  const wrapped =
    unsealKey === null
      ? await wrapSurely(autoSealOf(options), rootKey)
      : sealBox(unsealKey.reveal(), rootKeyPlace, rootKey.reveal(), random)
  const { term } = replica.status()
  const change = barrier.changeSeal({ records: { [bareNames.rootKey]: wrapped, ...more }, expected: expectedOf(records), rootKey })
  // Awaited here: a conflict makes the change anew, and must not find the key wiped.
  return await settled({ ...options, change, term, name: bareNames.rootKey, value: wrapped })
}

/** The auto seal that the cluster is sealed by. @throws ERR_BAD_REQUEST where this node has another one, or none. */
function autoSealOf({ autoSeal, barrier }: RekeyOptions): AutoSeal {
  const { type } = standing(barrier).config
  if (autoSeal?.kind === type) return autoSeal
  throw refusal(`replacing the root key expected the seal ${type}, got another in the configuration`, 'end the migration of the seal first')
}

/** Another root key without holders: auto seals only. @throws ERR_BAD_REQUEST, ERR_OUTCOME_UNKNOWN. */
export async function rotateRootKey(options: RekeyOptions): Promise<void> {
  const { records, config } = standing(options.barrier)
  if (config.secret !== null)
    throw refusal(
      'rotating the root key by itself expected an auto seal, got shares',
      'the root key is wrapped by what the shares make: rotate it with them, by rotate/root/init',
    )
  if (!(await replaceRootKey(options, records, null, {})))
    throw new HoldfastError(
      'ERR_OUTCOME_UNKNOWN',
      'the cluster lost its leader in the middle: the root key may or may not be another one',
      {
        hint: 'either is in order: the seal opens it',
      },
    )
  options.log.info({}, 'the root key is replaced')
}

function nextConfig(config: SealConfig, set: ShareSet, nowMs: number): SealConfig {
  const before = sharesOf(config)
  const replaced = before === null ? [] : [{ salt: before.salt, hashes: before.hashes, replacedMs: nowMs }]
  const retired = [...replaced, ...(config.retired ?? [])].slice(0, retiredMax)
  return config.secret === null ? { type: config.type, secret: null, recovery: set, retired } : { type: 'shamir', secret: set, retired }
}

/** By fingerprint; one holder may have several. */
function backupOf(pgpKeys: readonly PgpKey[], keys: readonly Uint8Array[]): KeysBackup['keys'] {
  const byHolder: Record<string, string[]> = {}
  for (const [at, { fingerprint }] of pgpKeys.entries()) (byHolder[fingerprint] ??= []).push(Buffer.from(keys[at]!).toString('hex'))
  return byHolder
}
