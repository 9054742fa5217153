/**
 * The keys of namespaces: sealing and unsealing one, its keyring's terms, other shares for those that stand, and destroying what nobody can open any more. All of
 * it is asked for from a namespace above, since a sealed one answers nothing.
 */
import { createHash } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { KeyringWrites } from '#barrier/types.ts'
import { aside } from '#core/aside.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { Namespace } from '#namespaces/record.ts'
import type { NamespaceSeals, NamespaceSealStatus } from '#seal/namespace-seals.ts'
import type { RekeyService } from '#seal/rekey-types.ts'
import { refuseWrapping } from './namespace-birth.ts'
import { find } from './namespaces.ts'
import { resultBody, statusBody, verificationBody } from './rekey.ts'
import { answer, field, flag, inPath, inQuery, nonceFor, optional, path, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

/** Namespaces that one request destroys. */
const destroyedMax = 256

const inUrl = { path: inPath('Its path, below the namespace of the request.') }
const keyField = field('string', 'One share, as hex or base64.', { sensitive: true, default: '' })
const nonceField = inQuery('string', 'What the beginning answered: it names the attempt.')

const description =
  'A namespace that was made with `seal` has shares of its own. Sealed, it answers 503 on every node, and so do those that lie in it, until enough of its shares were ' +
  "given; the cluster's own shares do not open it. Others are served as ever."

interface Sealing {
  readonly namespaces: SystemServices['namespaces']
  readonly quotas: SystemServices['quotas']
  readonly namespaceSeals: NamespaceSeals
}

/** None where nothing is sealed (doubles in tests). */
export function namespaceSealPaths({ namespaces, quotas, namespaceSeals }: SystemServices): PathDef[] {
  if (namespaceSeals === undefined) return []
  const services = { namespaces, quotas, namespaceSeals }
  return [...sealPaths(services), ...keyringPaths(services), ...rekeySteps(services)]
}

function sealPaths(services: Sealing): PathDef[] {
  const unsealFields = { ...inUrl, key: keyField, reset: field('bool', 'Forget the shares given so far.', { default: false }) }
  return [
    path(
      'namespaces/:path*/seal-status',
      'Whether a namespace is sealed, and how far unsealing is.',
      { fields: inUrl },
      // On the leader: that is where shares are collected.
      { read: writes('Seal status', async (context) => answer(statusOf(services, await found(services, context)))) },
      description,
    ),
    path(
      'namespaces/:path*/seal',
      'Seal a namespace with a seal of its own, on all nodes.',
      { fields: inUrl },
      {
        update: writes('Seal', async (context) => {
          keyringsOf(context).setSealed((await found(services, context)).id, true)
          return null
        }),
      },
      description,
    ),
    path(
      'namespaces/:path*/unseal',
      'Give one share to unseal a namespace, on all nodes.',
      { fields: unsealFields },
      { update: writes('Unseal', (context) => unseal(services, context)) },
      description,
    ),
    path(
      'namespaces/:path*/delete-sealed',
      'Destroy a sealed namespace: its keys go at once, what they sealed is deleted afterwards.',
      { sudo: true, fields: { ...inUrl, force: inQuery('bool', 'With all namespaces that lie in it.') } },
      { delete: writes('Destroy', (context) => deleteSealed(services, context)) },
      'For a namespace whose shares are lost, or whose content must not be read again by anybody. Leases in it are not revoked. Copies of its keyring of before stay in snapshots, backups and the logs of the nodes until these expire.',
    ),
  ]
}

async function found(services: Pick<SystemServices, 'namespaces'>, context: HandlerContext): Promise<Namespace> {
  const present = await find(services, context)
  if (present === null) throw new HoldfastError('ERR_NOT_FOUND', 'requested namespace does not exist')
  return present
}

function keyringsOf(context: HandlerContext): KeyringWrites {
  const { keyrings } = transactionOf(context)
  if (keyrings === undefined) throw new HoldfastError('ERR_INTERNAL', 'a transaction of the barrier expected, got another')
  return keyrings
}

function statusOf({ namespaceSeals }: Sealing, { id }: Namespace): Record<string, unknown> {
  const status = namespaceSeals.status(id)
  if (status === null) throw noSeal()
  return statusFields(status)
}

function statusFields({ sealed, threshold, shares, progress, nonce }: NamespaceSealStatus): Record<string, unknown> {
  return { type: 'shamir', initialized: true, sealed, t: threshold, n: shares, progress, nonce }
}

async function unseal(services: Sealing, context: HandlerContext): Promise<LogicalResponse> {
  const { namespaceSeals } = services
  const { id } = await found(services, context)
  const options = { key: text(context, 'key') === '' ? null : text(context, 'key'), reset: flag(context, 'reset') }
  // Aside: a share counts once, however often the transaction is evaluated.
  const { opened } = await aside(context, `unseal ${id} ${namedBy(options.key)}`, () => namespaceSeals.unseal(id, options))
  if (opened) keyringsOf(context).setSealed(id, false)
  const status = namespaceSeals.status(id)
  if (status === null) throw noSeal()
  return answer(statusFields(opened ? { ...status, sealed: false, progress: 0, nonce: '' } : status))
}

/** Tells inputs apart within one request; never leaves it. */
const namedBy = (key: string | null): string =>
  createHash('sha256')
    .update(key ?? '')
    .digest('hex')

async function deleteSealed(services: Sealing, context: HandlerContext): Promise<LogicalResponse> {
  const { namespaces, namespaceSeals } = services
  const transaction = transactionOf(context)
  const keyrings = keyringsOf(context)
  const namespace = await found(services, context)
  if (namespaceSeals.status(namespace.id)?.sealed !== true)
    throw new HoldfastError('ERR_BAD_REQUEST', 'cannot delete: namespace expected to be sealed by a seal of its own, got one that is not', {
      hint: 'DELETE sys/namespaces/PATH revokes its leases first; or seal it',
    })
  const inside = await below(services, context, namespace)
  if (inside.length > 0 && !flag(context, 'force'))
    throw new HoldfastError('ERR_NAMESPACE_NOT_EMPTY', 'unable to delete namespace containing child namespaces', {
      hint: 'delete them first, or with force=true all of them are destroyed',
    })
  // The innermost first: each is found by the way through the one around it.
  for (const each of [namespace, ...inside].toReversed()) {
    keyrings.destroy(each.id)
    await services.quotas.store.drop(transaction, { namespaceId: each.id })
    await namespaces.remove(transaction, each)
  }
  return answer({ status: 'destroyed', namespaces: 1 + inside.length })
}

/** All that lie in `namespace`, each after the one that it lies in. */
async function below({ namespaces }: Sealing, context: HandlerContext, namespace: Namespace): Promise<Namespace[]> {
  const { view } = scopeOf(context)
  const all: Namespace[] = [namespace]
  for (const parent of all)
    for (const name of await namespaces.childNames(view, parent.id, { limit: destroyedMax })) {
      const child = await namespaces.child(view, parent.id, name)
      if (child !== null) all.push(child)
      if (all.length > destroyedMax)
        throw new HoldfastError('ERR_BUSY', `namespaces to destroy expected at most ${destroyedMax}, got more`, {
          hint: 'destroy them in parts',
        })
    }
  return all.slice(1)
}

function keyringPaths(services: Sealing): PathDef[] {
  return [
    path(
      'namespaces/:path*/key-status',
      "The term of the key that seals a namespace's values now.",
      { fields: inUrl },
      {
        read: writes('Status', async (context) => {
          const status = services.namespaceSeals.keyStatus((await found(services, context)).id)
          if (status === null) throw new HoldfastError('ERR_NOT_FOUND', 'a namespace with keys expected, got one that has none yet')
          const { keyringTerm, keyringTermCreatedMs, encryptions, sealed, ownSeal } = status
          return answer({
            term: keyringTerm ?? 0,
            install_time: formatRfc3339(keyringTermCreatedMs ?? 0),
            encryptions,
            sealed,
            own_seal: ownSeal,
          })
        }),
      },
    ),
    path(
      'namespaces/:path*/rotate',
      "Add a key to a namespace's keyring; nothing is rewritten.",
      { sudo: true, fields: inUrl },
      {
        update: writes('Add a key', async (context) => {
          keyringsOf(context).rotate((await found(services, context)).id)
          return null
        }),
      },
      'Each namespace has a keyring of its own. What was sealed under the terms of before stays readable. It gets terms by itself as the root does: sys/rotate/config holds for all.',
    ),
  ]
}

/** As sys/rotate/root for the cluster's shares. */
function rekeySteps(services: Sealing): PathDef[] {
  type Step = (rekey: RekeyService, context: HandlerContext) => Promise<LogicalResponse | null>
  const step = (summary: string, run: Step) =>
    writes(summary, async (context) => {
      refuseWrapping(context)
      const { id } = await found(services, context)
      const given = await aside(context, `${summary} ${id} ${namedBy(text(context, 'key'))}`, () =>
        run(services.namespaceSeals.rekey(id), context),
      )
      return given === null ? null : { ...given, unkept: true }
    })
  const beginFields = {
    ...inUrl,
    secret_shares: field('int', 'Into how many shares the new key is split.', { default: 1 }),
    secret_threshold: field('int', 'How many of them are needed.', { default: 1 }),
    pgp_keys: field('list', 'PGP public keys, base64 or armored, one a share.', { default: [] }),
    require_verification: field('bool', 'The new shares hold only after enough of them were given back.', { default: false }),
    nonce: nonceField,
  }
  const shareFields = { ...inUrl, nonce: nonceField, key: keyField }
  const synopsis = 'Replace the shares of a namespace.'
  const help =
    "The namespace must be open. The attempt lives in the leader's memory: it ends when another node leads, and the present shares stay."
  return [
    path(
      'namespaces/:path*/rekey/init',
      synopsis,
      { fields: beginFields },
      {
        read: step('Progress', async (rekey) => answer(statusBody(await rekey.status('root'), true))),
        update: step('Begin', async (rekey, context) => {
          const begun = await rekey.init('root', {
            shares: optional<number>(context, 'secret_shares') ?? 1,
            threshold: optional<number>(context, 'secret_threshold') ?? 1,
            pgpKeys: optional<string[]>(context, 'pgp_keys') ?? [],
            backup: false,
            requireVerification: flag(context, 'require_verification'),
          })
          return answer('keys' in begun ? resultBody(begun) : statusBody(begun, true))
        }),
        delete: step('Cancel', async (rekey, context) => {
          await rekey.cancel('root', nonceFor(context))
          return null
        }),
      },
      help,
    ),
    path(
      'namespaces/:path*/rekey/update',
      'Give one present share, to replace the shares of a namespace.',
      { fields: shareFields },
      {
        update: step('Give a share', async (rekey, context) => {
          const given = await rekey.update('root', text(context, 'nonce'), text(context, 'key'))
          return answer('keys' in given ? resultBody(given) : statusBody(given, true))
        }),
      },
      help,
    ),
    path(
      'namespaces/:path*/rekey/verify',
      'Give back one new share of a namespace; with enough of them they hold.',
      { fields: shareFields },
      {
        update: step('Give a new share', async (rekey, context) => {
          const { nonce, status } = await rekey.verify('root', text(context, 'nonce'), text(context, 'key'))
          return answer(status === null ? { nonce, complete: true } : verificationBody(status, true))
        }),
      },
      help,
    ),
  ]
}

function noSeal(): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', 'namespace expected to have a seal of its own, got one that has none', {
    hint: 'a namespace is given its seal when it is created; the namespaces in it are sealed with it',
  })
}
