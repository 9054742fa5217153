/**
 * Other shares for those that stand. Two names for each step: sys/rekey/* and sys/rekey-recovery-key/* as older clients know them, answered bare,
 * and sys/rotate/root/* and sys/rotate/recovery/*. Both need a token; the older ones only where a listener does not say otherwise.
 */
import { HoldfastError } from '#base/errors.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { RekeyResult, RekeyStatus, RekeyTarget, VerificationStatus } from '#seal/rekey-types.ts'
import { answer, effects, field, flag, inQuery, nonceFor, optional, path, shownNonce, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

type Flags = Partial<PathDef>

const legacy: Flags = { bare: true, rootNamespaceOnly: true, openOn: 'rekey' }
const authenticated: Flags = { rootNamespaceOnly: true }

export function rekeyPaths(services: SystemServices): PathDef[] {
  return [
    ...stepPaths(services, 'rekey', 'root', legacy),
    ...stepPaths(services, 'rekey-recovery-key', 'recovery', legacy),
    ...stepPaths(services, 'rotate/root', 'root', authenticated),
    ...stepPaths(services, 'rotate/recovery', 'recovery', authenticated),
    backupPath(services, 'rekey/backup', 'root', true),
    backupPath(services, 'rekey/recovery-key-backup', 'recovery', true),
    backupPath(services, 'rekey-recovery-key/backup', 'recovery', true),
    backupPath(services, 'rotate/root/backup', 'root', false),
    backupPath(services, 'rotate/recovery/backup', 'recovery', false),
    path(
      'rotate/root',
      'Replace the root key; auto seals only.',
      { rootNamespaceOnly: true, sudo: true },
      {
        update: effects('Rotate the root key', async () => {
          await services.rekey.rotateRoot()
          return null
        }),
      },
      'With shares the root key is replaced together with them: rotate/root/init.',
    ),
  ]
}

const subject = (target: RekeyTarget): string => (target === 'root' ? 'the shares of the unseal key' : 'the shares of the recovery key')

function stepPaths(services: SystemServices, prefix: string, target: RekeyTarget, flags: Flags): PathDef[] {
  return [
    initPath(services, prefix, target, flags),
    updatePath(services, prefix, target, flags),
    verifyPath(services, prefix, target, flags),
  ]
}

const nonceField = inQuery('string', 'What the beginning answered: it names the attempt.')
const keyField = field('string', 'One share, as hex or base64.', { sensitive: true, default: '' })

function initPath({ rekey }: SystemServices, prefix: string, target: RekeyTarget, flags: Flags): PathDef {
  const fields = {
    secret_shares: field('int', 'Into how many shares the new key is split. With an auto seal, and not for its recovery keys, 1.', {
      default: 1,
    }),
    secret_threshold: field('int', 'How many of them are needed.', { default: 1 }),
    stored_shares: field('int', 'Accepted for old clients; ignored.', { deprecated: true }),
    pgp_keys: field('list', 'PGP public keys, base64 or armored, one a share.', { default: [] }),
    backup: field('bool', 'Keep the PGP-encrypted shares, to be fetched once more.', { default: false }),
    require_verification: field('bool', 'The new shares hold only after enough of them were given back.', { default: false }),
    nonce: nonceField,
  }
  const begin = async (context: HandlerContext): Promise<LogicalResponse> => {
    const request = {
      shares: optional<number>(context, 'secret_shares') ?? 1,
      threshold: optional<number>(context, 'secret_threshold') ?? 1,
      pgpKeys: optional<string[]>(context, 'pgp_keys') ?? [],
      backup: flag(context, 'backup'),
      requireVerification: flag(context, 'require_verification'),
    }
    const begun = await rekey.init(target, request, context.token?.policies.includes('root') === true)
    return answer('keys' in begun ? resultBody(begun) : statusBody(begun, true))
  }
  return path(
    `${prefix}/init`,
    `Begin to replace ${subject(target)}, see how far it is, or cancel it.`,
    { ...flags, fields },
    {
      read: writes('Progress', async (context) => answer(statusBody(await rekey.status(target), context.token !== null))),
      update: effects('Begin', begin),
      delete: effects('Cancel', async (context) => {
        await rekey.cancel(target, nonceFor(context))
        return null
      }),
    },
    "The attempt lives in the leader's memory: it ends when another node leads or this one is sealed, and the present shares stay.",
  )
}

function updatePath({ rekey }: SystemServices, prefix: string, target: RekeyTarget, flags: Flags): PathDef {
  const update = async (context: HandlerContext): Promise<LogicalResponse> => {
    const given = await rekey.update(target, text(context, 'nonce'), text(context, 'key'))
    return answer('keys' in given ? resultBody(given) : statusBody(given, true))
  }
  return path(
    `${prefix}/update`,
    `Give one present share, to replace ${subject(target)}.`,
    { ...flags, fields: { nonce: nonceField, key: keyField } },
    { update: effects('Give a share', update) },
  )
}

function verifyPath({ rekey }: SystemServices, prefix: string, target: RekeyTarget, flags: Flags): PathDef {
  const verify = async (context: HandlerContext): Promise<LogicalResponse> => {
    const { nonce, status } = await rekey.verify(target, text(context, 'nonce'), text(context, 'key'))
    return answer(status === null ? { nonce, complete: true } : verificationBody(status, true))
  }
  return path(
    `${prefix}/verify`,
    'Give back one new share; with enough of them they hold.',
    { ...flags, fields: { nonce: nonceField, key: keyField } },
    {
      read: writes('Progress', async (context) => answer(verificationBody(await rekey.verificationStatus(target), context.token !== null))),
      update: effects('Give a new share', verify),
      delete: effects('Forget the new shares given back, under a new nonce', async (context) =>
        answer(verificationBody(await rekey.restartVerification(target, nonceFor(context)), true)),
      ),
    },
  )
}

function backupPath({ rekey }: SystemServices, pattern: string, target: RekeyTarget, injected: boolean): PathDef {
  const read = (): LogicalResponse => {
    const backup = rekey.backup(target)
    if (backup === null)
      throw new HoldfastError('ERR_BAD_REQUEST', 'no backed-up keys found', { hint: 'a rekey keeps one where backup is true' })
    const base64 = (keys: readonly string[]): string[] => keys.map((key) => Buffer.from(key, 'hex').toString('base64'))
    const entries = Object.entries(backup.keys).map(([fingerprint, keys]) => [fingerprint, base64(keys)])
    return answer({ nonce: backup.nonce, keys: backup.keys, keys_base64: Object.fromEntries(entries) as Record<string, unknown> })
  }
  return path(
    pattern,
    'The PGP-encrypted shares that the last rekey was asked to keep.',
    { rootNamespaceOnly: true, injected },
    {
      read: writes('Fetch', async () => read()),
      delete: effects('Delete', async () => {
        await rekey.deleteBackup(target)
        return null
      }),
    },
  )
}

export function statusBody(status: RekeyStatus, named: boolean): Record<string, unknown> {
  return {
    nonce: shownNonce(status.nonce, named),
    started: status.started,
    t: status.threshold,
    n: status.shares,
    progress: status.progress,
    required: status.required,
    pgp_fingerprints: status.pgpFingerprints,
    backup: status.backup,
    verification_required: status.verificationRequired,
    ...(status.verificationNonce === '' ? {} : { verification_nonce: shownNonce(status.verificationNonce, named) }),
  }
}

export function resultBody(result: RekeyResult): Record<string, unknown> {
  const keys = result.keys.map((key) => Buffer.from(key))
  return {
    nonce: result.nonce,
    complete: true,
    keys: keys.map((key) => key.toString('hex')),
    keys_base64: keys.map((key) => key.toString('base64')),
    pgp_fingerprints: result.pgpFingerprints,
    backup: result.backup,
    verification_required: result.verificationRequired,
    ...(result.verificationNonce === '' ? {} : { verification_nonce: result.verificationNonce }),
    ...(result.warnings.length === 0 ? {} : { warnings: result.warnings }),
  }
}

export function verificationBody(status: VerificationStatus, named: boolean): Record<string, unknown> {
  return {
    nonce: shownNonce(status.nonce, named),
    started: status.started,
    t: status.threshold,
    n: status.shares,
    progress: status.progress,
  }
}
