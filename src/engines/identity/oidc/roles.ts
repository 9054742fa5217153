/** Routes of roles of identity tokens: which key signs, for whom, with which claims, and how long. */
import { randomBase62 } from '#base/random.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, field, optional, path, reads, writes } from '../../sys/table.ts'
import { bad } from '../common.ts'
import { pageOf } from '../../kv/list.ts'
import { keyOrDefault, nameField, nameOf, pageFields } from './keys.ts'
import { readRole, roleFolder, rolesMax, writeRole } from './records.ts'
import { compileTemplate } from './template.ts'

const daySeconds = 86_400
const clientIdChars = 26

async function show(context: HandlerContext): Promise<LogicalResponse | null> {
  const role = await readRole(context.storage, nameOf(context))
  return role && answer({ key: role.key, template: role.template, client_id: role.clientId, ttl: role.ttlSeconds })
}

async function save(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  const before = await readRole(context.storage, name)
  const keyName = optional<string>(context, 'key') ?? before?.key ?? ''
  if (keyName === '') throw bad('the key parameter is required')
  const template = templateOf(optional<string>(context, 'template') ?? before?.template ?? '')
  compileTemplate(template)
  if (before === null && (await context.storage.list(roleFolder)).length >= rolesMax)
    throw bad(`expected at most ${rolesMax} roles in a namespace`)
  const key = await keyOrDefault(context, keyName)
  if (key === null) throw bad(`cannot find key ${JSON.stringify(keyName.slice(0, 128))}`)
  const ttlSeconds = optional<number>(context, 'ttl') ?? before?.ttlSeconds ?? Math.min(daySeconds, key.verificationSeconds)
  if (ttlSeconds < 1) throw bad('ttl expected a second at least')
  if (ttlSeconds > key.verificationSeconds)
    throw bad("a role's token ttl cannot be longer than the verification_ttl of the key it references")
  const clientId = optional<string>(context, 'client_id') || before?.clientId || randomBase62(context.random, clientIdChars)
  if (clientId.length > 256) throw bad('client_id expected at most 256 characters')
  writeRole(context.storage, name, { key: keyName, template, clientId, ttlSeconds })
  return null
}

/** Clients may send it as base64, since it is full of quotes. */
export function templateOf(given: string): string {
  const trimmed = given.trim()
  if (trimmed === '' || trimmed.startsWith('{')) return trimmed
  return /^[A-Za-z0-9+/]+={0,2}$/.test(trimmed) ? Buffer.from(trimmed, 'base64').toString() : trimmed
}

const fields = {
  name: nameField,
  key: field('string', 'The key that signs.', { example: 'default' }),
  template: field('string', 'Claims besides the usual ones: JSON, with {{identity.entity.name}} and its like as values. Plain or base64.'),
  client_id: field('string', 'The audience; made up when absent.'),
  ttl: field('duration', 'How long a token is good: 24h unless said, no longer than verification_ttl of its key.'),
}

export const rolePaths = (): PathDef[] => [
  path(
    'oidc/role',
    'Names of the roles of identity tokens.',
    { fields: pageFields },
    {
      list: reads('List', async (context) =>
        answer({ keys: await context.storage.list(roleFolder, pageOf(context.fields.after, context.fields.limit)) }),
      ),
    },
  ),
  path(
    'oidc/role/:name',
    'A role: what a token of identity says, and to whom.',
    { fields, exists: async (context) => (await readRole(context.storage, nameOf(context))) !== null },
    {
      create: writes('Make', save, { key: 'default' }),
      update: writes('Change', save),
      read: reads('Read', show),
      delete: writes('Delete', async (context) => {
        context.storage.delete(`${roleFolder}/${nameOf(context)}`)
        return null
      }),
    },
  ),
]
