/** Routes of second factors: methods, which logins need one, and what an app is given. */
import { HoldfastError } from '#base/errors.ts'
import { scopeOf } from '#core/scope.ts'
import { scheduleSweep } from '#core/sweep.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { Enforcement, PlacedMethod, TotpMethod } from '#identity/mfa.ts'
import type { EntityRecord } from '#identity/types.ts'
import { field, inPath, optional, path, reads, text, writes } from '../sys/table.ts'
import { bad, namespaceOf, writing, type IdentityServices } from './common.ts'

const attemptsMax = 100
const idField = inPath('Its id.')
const nameField = inPath('Its name.')
const methodFields = {
  method_name: field('string', 'A name that X-Vault-MFA may say in place of the id.'),
  issuer: field('string', 'Who gives the codes: shown by apps.', { example: 'Holdfast' }),
  period: field('duration', 'How long a code is shown: 30 seconds unless said.'),
  key_size: field('int', 'Bytes of a secret: 20 unless said.'),
  algorithm: field('string', 'The hash.', { enum: ['SHA1', 'SHA256', 'SHA512'] }),
  digits: field('int', 'Of a code: 6 or 8.'),
  skew: field('int', 'Codes before and after this one that are taken: 0 or 1.'),
  max_validation_attempts: field('int', 'Wrong codes within five minutes until none is taken: 5 unless said.'),
  qr_size: field('int', 'No picture is made: apps read the address.', { deprecated: true }),
}

export function mfaPaths(services: IdentityServices): PathDef[] {
  const { identity } = services
  const { mfa } = identity
  const missing = (id: string): HoldfastError => bad(`MFA method id ${JSON.stringify(id.slice(0, 64))} not found`)
  const find = async (context: HandlerContext, id: string): Promise<TotpMethod> => {
    const found = await mfa.method(scopeOf(context).view, namespaceOf(context), id)
    if (found === null) throw missing(id)
    return found
  }
  /** Of this namespace, or of one above: enforcements there are about the logins here. */
  const findAbove = async (context: HandlerContext, id: string): Promise<PlacedMethod> => {
    const { view, line } = scopeOf(context)
    const found = (await mfa.methodsOn(view, line)).find((each) => each.id === id)
    if (found === undefined) throw missing(id)
    return found
  }
  const entityOf = async (context: HandlerContext, id: string): Promise<EntityRecord> => {
    const entity = await identity.entity(scopeOf(context).view, { id }, namespaceOf(context))
    if (entity === null) throw bad('expected an entity, got none of that id')
    return entity
  }
  const save = async (context: HandlerContext, id: string | null): Promise<LogicalResponse | null> => {
    const before = id === null ? null : await find(context, id)
    const method = readMethod(context, before, id ?? mfa.newId())
    await mfa.putMethod(writing(context), namespaceOf(context), method)
    return before === null ? { data: { method_id: method.id } } : null
  }
  const show = async (context: HandlerContext): Promise<LogicalResponse | null> => {
    const found = await mfa.method(scopeOf(context).view, namespaceOf(context), text(context, 'method_id'))
    return found && { data: describe(found, context) }
  }
  const list = async (context: HandlerContext): Promise<LogicalResponse> => {
    const methods = [...(await mfa.methods(scopeOf(context).view, namespaceOf(context)))]
    return {
      data: { keys: methods.map(({ id }) => id), key_info: Object.fromEntries(methods.map((each) => [each.id, describe(each, context)])) },
    }
  }
  const enrol = async (context: HandlerContext, entityId: string, force: boolean): Promise<LogicalResponse> => {
    const method = await findAbove(context, text(context, 'method_id'))
    const entity = await entityOf(context, entityId)
    const url = await mfa.enrol(writing(context), method.namespaceId, method, { id: entity.id, name: entity.name }, force)
    if (url === null) return { warnings: ['Entity already has a secret for MFA method'] }
    // The secret is told once, to whoever asked for it.
    return { data: { url, barcode: '' }, unkept: true }
  }
  return [
    path('mfa/method', 'Methods of second factors.', {}, { list: reads('List', list) }),
    path(
      'mfa/method/totp',
      'Methods by time-based codes (TOTP).',
      { fields: methodFields },
      {
        list: reads('List', list),
        update: writes('Make one', (context) => save(context, null)),
      },
    ),
    path(
      'mfa/method/totp/generate',
      'Give the caller a secret of a method, for an app.',
      { fields: { method_id: field('string', 'The method.') } },
      {
        update: writes('Generate', async (context) => {
          const entityId = context.token?.entityId ?? ''
          if (entityId === '')
            throw new HoldfastError('ERR_BAD_REQUEST', 'expected a token with an entity: log in as who shall have the secret')
          return enrol(context, entityId, false)
        }),
      },
      'Told once; who has one already is told so, and an operator can replace it (admin-generate).',
    ),
    path(
      'mfa/method/totp/admin-generate',
      'Give an entity a secret of a method, for an app.',
      {
        fields: {
          method_id: field('string', 'The method.'),
          entity_id: field('string', 'Whose.'),
          force: field('bool', 'Replace the one that it has.', { default: false }),
        },
      },
      { update: writes('Generate', (context) => enrol(context, text(context, 'entity_id'), optional<boolean>(context, 'force') ?? false)) },
    ),
    path(
      'mfa/method/totp/admin-destroy',
      "Take an entity's secret of a method away.",
      { fields: { method_id: field('string', 'The method.'), entity_id: field('string', 'Whose.') } },
      {
        update: writes('Destroy', async (context) => {
          const method = await findAbove(context, text(context, 'method_id'))
          const entityId = text(context, 'entity_id')
          // Of a method of a namespace above only one's own entities have secrets to take.
          if (method.namespaceId !== namespaceOf(context)) await entityOf(context, entityId)
          mfa.forget(writing(context), method.namespaceId, method.id, entityId)
          return null
        }),
      },
    ),
    path(
      'mfa/method/totp/:method_id',
      'One method.',
      { fields: { method_id: idField, ...methodFields } },
      {
        read: reads('Read', show),
        update: writes('Change', (context) => save(context, text(context, 'method_id'))),
        delete: writes('Delete', async (context) => {
          const left = await mfa.deleteMethod(writing(context), namespaceOf(context), text(context, 'method_id'))
          if (left !== null) scheduleSweep(writing(context), left.section, left.prefix)
          return null
        }),
      },
    ),
    path('mfa/method/:method_id', 'One method, of whatever type.', { fields: { method_id: idField } }, { read: reads('Read', show) }),
    ...enforcementPaths(services),
  ]
}

function readMethod(context: HandlerContext, before: TotpMethod | null, id: string): TotpMethod {
  const number = (name: string, present: number): number => optional<number>(context, name) ?? present
  const method = {
    id,
    name: (optional<string>(context, 'method_name') ?? before?.name ?? '').toLowerCase(),
    issuer: optional<string>(context, 'issuer') ?? before?.issuer ?? '',
    period: number('period', before?.period ?? 30),
    digits: number('digits', before?.digits ?? 6),
    algorithm: optional<TotpMethod['algorithm']>(context, 'algorithm') ?? before?.algorithm ?? 'SHA1',
    skew: number('skew', before?.skew ?? 1),
    keySize: number('key_size', before?.keySize ?? 20),
    maxAttempts: number('max_validation_attempts', before?.maxAttempts ?? 5),
  }
  if (method.issuer === '' || method.issuer.length > 128 || method.issuer.includes(':')) throw bad('issuer must be set, without colons')
  if (!/^[a-z0-9_.-]{0,64}$/.test(method.name)) throw bad('method_name expected at most 64 letters, digits, dots and dashes')
  if (method.period < 5 || method.period > 3_600) throw bad('period expected 5 seconds to an hour')
  if (method.digits !== 6 && method.digits !== 8) throw bad('digits can only be 6 or 8')
  if (method.skew !== 0 && method.skew !== 1) throw bad('skew must be 0 or 1')
  if (method.keySize < 16 || method.keySize > 64) throw bad('key_size expected 16 to 64 bytes')
  if (method.maxAttempts < 1 || method.maxAttempts > attemptsMax) throw bad(`max_validation_attempts expected 1 to ${attemptsMax}`)
  return { ...method, digits: method.digits, skew: method.skew }
}

const describe = (method: TotpMethod, context: HandlerContext): Record<string, unknown> => ({
  id: method.id,
  name: method.name,
  type: 'totp',
  issuer: method.issuer,
  period: method.period,
  digits: method.digits,
  algorithm: method.algorithm,
  skew: method.skew,
  key_size: method.keySize,
  qr_size: 0,
  max_validation_attempts: method.maxAttempts,
  namespace_id: namespaceOf(context),
})

const enforcementFields = {
  mfa_method_ids: field('list', 'Methods: one of them must be met.'),
  auth_method_accessors: field('list', 'Logins at these mounts, by accessor.'),
  auth_method_types: field('list', 'Logins by methods of these types.'),
  identity_group_ids: field('list', 'Logins of those who are in these groups, also by groups in them.'),
  identity_entity_ids: field('list', 'Logins of these entities.'),
}

function enforcementPaths({ identity }: IdentityServices): PathDef[] {
  const { mfa } = identity
  const all = (context: HandlerContext): Promise<readonly Enforcement[]> => mfa.enforcements(scopeOf(context).view, namespaceOf(context))
  const nameOf = (context: HandlerContext): string => text(context, 'name').toLowerCase()
  const shown = (each: Enforcement, context: HandlerContext): Record<string, unknown> => ({
    id: each.id,
    name: each.name,
    namespace_id: namespaceOf(context),
    mfa_method_ids: each.methodIds,
    auth_method_accessors: each.accessors,
    auth_method_types: each.types,
    identity_group_ids: each.groupIds,
    identity_entity_ids: each.entityIds,
  })
  const save = async (context: HandlerContext): Promise<null> => {
    const before = (await all(context)).find(({ name }) => name === nameOf(context))
    const list = (name: string, present: readonly string[] | undefined): readonly string[] =>
      optional<string[]>(context, name) ?? present ?? []
    await mfa.putEnforcement(writing(context), namespaceOf(context), {
      name: nameOf(context),
      methodIds: list('mfa_method_ids', before?.methodIds),
      accessors: list('auth_method_accessors', before?.accessors),
      types: list('auth_method_types', before?.types),
      groupIds: list('identity_group_ids', before?.groupIds),
      entityIds: list('identity_entity_ids', before?.entityIds),
    })
    return null
  }
  return [
    path(
      'mfa/login-enforcement',
      'Which logins need a second factor.',
      {},
      {
        list: reads('List', async (context) => {
          const found = [...(await all(context))].toSorted((a, b) => (a.name < b.name ? -1 : 1))
          return {
            data: {
              keys: found.map(({ name }) => name),
              key_info: Object.fromEntries(found.map((each) => [each.name, shown(each, context)])),
            },
          }
        }),
      },
    ),
    path(
      'mfa/login-enforcement/:name',
      'Logins that need a second factor, and which.',
      { fields: { name: nameField, ...enforcementFields } },
      {
        read: reads('Read', async (context) => {
          const found = (await all(context)).find(({ name }) => name === nameOf(context))
          return found === undefined ? null : { data: shown(found, context) }
        }),
        update: writes('Set', save),
        delete: writes('Delete', async (context) => {
          await mfa.deleteEnforcement(writing(context), namespaceOf(context), nameOf(context))
          return null
        }),
      },
      'A login that any of its lists names must meet one of its methods; several enforcements must all be met. It holds in its namespace and in all below.',
    ),
  ]
}
