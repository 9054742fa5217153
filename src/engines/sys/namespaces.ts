/** Namespaces: listing, making, changing and deleting those below the request's own. */
import { HoldfastError } from '#base/errors.ts'
import { standardMounts } from '#core/bootstrap.ts'
import { writeMounts } from '#core/mounts.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { namespaceSegments } from '#namespaces/names.ts'
import { namespaceName, type Namespace } from '#namespaces/record.ts'
import { beingDeleted } from '#namespaces/store.ts'
import { giveKeys } from './namespace-birth.ts'
import { answer, field, inPath, inQuery, optional, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

/** Namespaces that one answer lists at most. */
const listedMax = 16_384

const description =
  'A namespace has mounts, policies, tokens, identities and a lockout of its own. Requests reach it by the header X-Vault-Namespace, or with its path before ' +
  'their own. Tokens of a namespace are good in it and below it, as far as policies of their own namespace allow; nothing else crosses.'

export function namespacePaths(services: SystemServices): PathDef[] {
  const pageFields = { after: inQuery('string', 'Names after this one.'), limit: inQuery('int', 'At most so many.') }
  const fields = {
    path: inPath('Its path, below the namespace of the request.', 'team'),
    custom_metadata: field('map', 'Pairs of text that are kept beside it.', { example: { owner: 'platform' } }),
    seal: field('string', 'A seal of its own, as HCL or JSON: its shares are in the answer, and nowhere else. Only when it is made.', {
      default: '',
      example: 'seal "shamir" { shares = 5 threshold = 3 }',
    }),
  }
  return [
    path(
      'namespaces',
      'Namespaces that lie in this one.',
      { fields: pageFields },
      {
        list: reads('List', (context) => list(services, context)),
        scan: reads('List, with those inside them', (context) => scan(services, context)),
      },
      description,
    ),
    path(
      'namespaces/:path*',
      'One namespace.',
      { fields },
      {
        read: reads('Read', async (context) => {
          const found = await find(services, context)
          return found && answer(shown(found))
        }),
        update: writes('Make, or replace its metadata', (context) => write(services, context)),
        patch: writes('Change metadata: null takes a pair away', (context) => patch(services, context)),
        delete: writes('Delete, with all that lies in it', (context) => remove(services, context)),
      },
      description,
    ),
  ]
}

/** As an answer tells of it. Whoever may extend it adds to what stands. */
function shown({ uuid, id, path: full, state, lock, customMetadata }: Namespace): Record<string, unknown> {
  return { uuid, id, path: full, tainted: state === 'deleting', locked: lock !== null, custom_metadata: customMetadata }
}

/** The namespace that the request's path names, in whatever state; null when there is none. */
export async function find({ namespaces }: Pick<SystemServices, 'namespaces'>, context: HandlerContext): Promise<Namespace | null> {
  const { view, namespace } = scopeOf(context)
  return namespaces.byPath(view, `${namespace.path}${text(context, 'path')}`)
}

async function list({ namespaces }: SystemServices, context: HandlerContext): Promise<LogicalResponse> {
  const { view, namespace } = scopeOf(context)
  const after = optional<string>(context, 'after')?.replace(/\/$/, '')
  const limit = optional<number>(context, 'limit') ?? 0
  const window = { ...(after === undefined ? {} : { after }), limit: limit > 0 ? Math.min(limit, listedMax) : listedMax }
  const names = await namespaces.childNames(view, namespace.id, window)
  const found = await Promise.all(names.map((name) => namespaces.child(view, namespace.id, name)))
  return listed(found.filter((one) => one !== null).map((one) => [`${namespaceName(one)}/`, one]))
}

async function scan({ namespaces }: SystemServices, context: HandlerContext): Promise<LogicalResponse> {
  const { view, namespace } = scopeOf(context)
  const found: [string, Namespace][] = []
  const waiting: Namespace[] = [namespace]
  for (let parent = waiting.pop(); parent !== undefined && found.length < listedMax; parent = waiting.pop()) {
    const names = await namespaces.childNames(view, parent.id, { limit: listedMax - found.length })
    const children = await Promise.all(names.map((name) => namespaces.child(view, parent!.id, name)))
    for (const child of children.filter((one) => one !== null)) {
      found.push([child.path.slice(namespace.path.length), child])
      waiting.push(child)
    }
  }
  const after = optional<string>(context, 'after') ?? ''
  const limit = optional<number>(context, 'limit') ?? 0
  const rest = found.filter(([key]) => key > after).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return listed(limit > 0 ? rest.slice(0, limit) : rest)
}

const listed = (found: readonly (readonly [string, Namespace])[]): LogicalResponse =>
  answer({ keys: found.map(([key]) => key), key_info: Object.fromEntries(found.map(([key, one]) => [key, shown(one)])) })

async function write(services: SystemServices, context: HandlerContext): Promise<LogicalResponse> {
  const { namespaces } = services
  const transaction = transactionOf(context)
  const metadata = optional<Record<string, unknown>>(context, 'custom_metadata') ?? {}
  const present = await find(services, context)
  if (present?.state === 'deleting') throw beingDeleted(present)
  if (present !== null && text(context, 'seal') !== '')
    throw new HoldfastError('ERR_BAD_REQUEST', 'seal expected with a namespace that is made, got one that is there', {
      hint: 'a namespace gets its seal when it is made; its shares are changed by namespaces/PATH/rekey',
    })
  if (present !== null) return answer(shown(namespaces.setMetadata(transaction, present, metadata)))
  const segments = namespaceSegments(text(context, 'path'))
  const name = segments.at(-1) ?? ''
  const { line, rest } = await namespaces.walk(transaction, [scopeOf(context).namespace], segments.slice(0, -1).join('/'))
  if (rest !== '') throw new HoldfastError('ERR_BAD_REQUEST', 'parent namespace does not exist', { hint: 'make the outer one first' })
  const parent = line.at(-1)!
  await checkNoMount(context, parent, name)
  const made = await namespaces.create(transaction, parent, name, metadata)
  const shares = await giveKeys(services, context, made)
  writeMounts(transaction, made.id, standardMounts(context.random, made.id))
  return { ...answer({ ...shown(made), ...shares }), ...('key_shares' in shares ? { unkept: true } : {}) }
}

/** A path leads either into a namespace or to a mount: the request's way (core/place.ts) asks the mounts first. */
async function checkNoMount(context: HandlerContext, parent: Namespace, name: string): Promise<void> {
  const { entries } = await scopeOf(context).mountsOf(parent.id)
  const inTheWay = entries.find((mount) => mount.table === 'secret' && mount.path.startsWith(`${name}/`))
  if (inTheWay) throw new HoldfastError('ERR_MOUNT_EXISTS', `path is already in use at ${inTheWay.path}`, { hint: 'a mount lies there' })
}

async function patch(services: SystemServices, context: HandlerContext): Promise<LogicalResponse> {
  const present = await find(services, context)
  if (present === null) throw new HoldfastError('ERR_NOT_FOUND', 'requested namespace does not exist')
  if (present.state === 'deleting') throw beingDeleted(present)
  const changes = optional<Record<string, unknown>>(context, 'custom_metadata') ?? {}
  const merged = Object.entries({ ...present.customMetadata, ...changes }).filter(([, value]) => value !== null)
  return answer(shown(services.namespaces.setMetadata(transactionOf(context), present, Object.fromEntries(merged))))
}

/** Nothing reaches it from here on; what lies in it is deleted in bounded steps by a job of the leader. */
async function remove(services: SystemServices, context: HandlerContext): Promise<LogicalResponse> {
  const present = await find(services, context)
  if (present === null) return { warnings: ['requested namespace does not exist'] }
  if (present.state === 'active') await services.namespaces.beginDelete(transactionOf(context), present)
  return answer({ status: 'in-progress' })
}
