/** Routes of clients: the applications that people sign in to. */
import { randomBase62 } from '#base/random.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, field, optional, path, reads, writes } from '../../../sys/table.ts'
import { bad } from '../../common.ts'
import { defaultKey, keyOrDefault, nameField, nameOf } from '../keys.ts'
import { checkRoom, idsIn, listPath } from './crud.ts'
import { assignments, clients, clientTypes, deleteClient, providerLimits, writeClient, type Client } from './records.ts'
import { readRedirects } from './redirects.ts'

const daySeconds = 86_400
const tokenSecondsMax = 10 * 365 * daySeconds
const assignmentsOfOneMax = 256
const clientIdChars = 32
const secretPrefix = 'hvo_secret_'
const secretChars = 64

const described = (client: Client): Readonly<Record<string, unknown>> => ({
  redirect_uris: client.redirectUris,
  assignments: client.assignments,
  key: client.key,
  id_token_ttl: client.idTokenSeconds,
  access_token_ttl: client.accessTokenSeconds,
  client_type: client.type,
  client_id: client.clientId,
})

/** With its secret: whoever may read this path configures the application. A list shows none. */
async function show(context: HandlerContext): Promise<LogicalResponse | null> {
  const client = await clients.read(context.storage, nameOf(context))
  return client && answer({ ...described(client), ...(client.type === 'public' ? {} : { client_secret: client.secret }) })
}

async function save(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  const before = await clients.read(context.storage, name)
  await checkRoom(context, clients, before, providerLimits.clientsMax, 'clients')
  const type = (optional<string>(context, 'client_type') ?? before?.type ?? 'confidential') as Client['type']
  if (before !== null && type !== before.type) throw bad('client_type modification is not allowed')
  const redirectUris = readRedirects(optional<string[]>(context, 'redirect_uris') ?? before?.redirectUris ?? [])
  const named = idsIn('assignments', optional<string[]>(context, 'assignments') ?? before?.assignments ?? [], assignmentsOfOneMax)
  await checkAssignments(context, named)
  writeClient(context.storage, name, {
    ...(await signedBy(context, before)),
    clientId: before?.clientId ?? randomBase62(context.random, clientIdChars),
    secret: before?.secret ?? (type === 'public' ? '' : `${secretPrefix}${randomBase62(context.random, secretChars)}`),
    type,
    redirectUris,
    assignments: named,
  })
  return null
}

async function checkAssignments({ storage }: HandlerContext, named: readonly string[]): Promise<void> {
  for (const name of named) {
    if ((await assignments.read(storage, name)) === null) throw bad(`assignment ${JSON.stringify(name)} does not exist`)
  }
}

/** Its key, and how long what that signs is good. */
async function signedBy(
  context: HandlerContext,
  before: Client | null,
): Promise<Pick<Client, 'key' | 'idTokenSeconds' | 'accessTokenSeconds'>> {
  const keyName = optional<string>(context, 'key') || before?.key || defaultKey
  if (before !== null && keyName !== before.key) throw bad('key modification is not allowed')
  const key = await keyOrDefault(context, keyName)
  if (key === null) throw bad(`key ${JSON.stringify(keyName.slice(0, 128))} does not exist`)
  const idTokenSeconds =
    optional<number>(context, 'id_token_ttl') ?? before?.idTokenSeconds ?? Math.min(daySeconds, key.verificationSeconds)
  const accessTokenSeconds = optional<number>(context, 'access_token_ttl') ?? before?.accessTokenSeconds ?? daySeconds
  for (const [what, seconds] of Object.entries({ id_token_ttl: idTokenSeconds, access_token_ttl: accessTokenSeconds })) {
    if (seconds < 1 || seconds > tokenSecondsMax) throw bad(`${what} expected 1 to ${tokenSecondsMax} seconds`)
  }
  if (idTokenSeconds > key.verificationSeconds)
    throw bad("a client's id_token_ttl cannot be greater than the verification_ttl of the key it references")
  return { key: keyName, idTokenSeconds, accessTokenSeconds }
}

async function remove(context: HandlerContext): Promise<null> {
  const name = nameOf(context)
  const client = await clients.read(context.storage, name)
  if (client !== null) deleteClient(context.storage, name, client)
  return null
}

const fields = {
  name: nameField,
  key: field('string', 'The named key that signs for it: "default" unless said. Stays.'),
  redirect_uris: field('list', 'Addresses that people may be sent back to, letter by letter; to loopback by http, with any port.', {
    example: ['https://app.example.com/callback'],
  }),
  assignments: field('list', 'Who may sign in: names of assignments, "allow_all" for everybody. Nobody unless said.', {
    example: ['allow_all'],
  }),
  client_type: field('string', '"confidential" (it can keep a secret) or "public" (it must prove itself by PKCE). Stays.', {
    enum: clientTypes,
  }),
  id_token_ttl: field('duration', 'How long an id token is good: 24h unless said, no longer than verification_ttl of the key.'),
  access_token_ttl: field('duration', 'How long an access token is good: 24h unless said.'),
}

export const clientPaths = (): PathDef[] => [
  listPath('oidc/client', 'Names of the clients, with what they are.', clients, described),
  path(
    'oidc/client/:name',
    'An application that people sign in to.',
    { fields, exists: async (context) => (await clients.read(context.storage, nameOf(context))) !== null },
    {
      create: writes('Make', save, { redirect_uris: ['https://app.example.com/callback'], assignments: ['allow_all'] }),
      update: writes('Change', save),
      read: reads('Read, with its id and secret', show),
      delete: writes('Delete', remove),
    },
    'Its client_id, and client_secret where it is confidential, are made with it. Delete it and make it again for others.',
  ),
]
