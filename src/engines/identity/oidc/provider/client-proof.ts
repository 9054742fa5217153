/** How a client says who it is at the token endpoint (RFC 6749, 2.3.1): by Basic, or in the form; a public one by its id alone. */
import { equalSecretStrings } from '#base/secret.ts'
import type { HandlerContext } from '#core/types.ts'
import { text } from '../../../sys/table.ts'
import { mayUse } from '../tokens.ts'
import { Fault } from './faults.ts'
import { clientById, type Client, type Provider } from './records.ts'

export const proofMethods = ['none', 'client_secret_basic', 'client_secret_post'] as const

const challenge = 'Basic realm="identity"'
/** The same for an unknown client and for a wrong secret: ids are no secret, but which are there is nobody's business. */
const refused = (): Fault => new Fault('invalid_client', 'client failed to authenticate', challenge)

interface Shown {
  readonly clientId: string
  /** null: none was shown. */
  readonly secret: string | null
}

/** Both halves are form-encoded before they are joined: a secret may hold a colon. */
function decoded(half: string): string {
  try {
    return decodeURIComponent(half.replaceAll('+', ' '))
  } catch {
    throw refused()
  }
}

function basicOf(header: string): Shown {
  const [, encoded] = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(header) ?? []
  const pair = encoded === undefined ? '' : Buffer.from(encoded, 'base64').toString()
  const colon = pair.indexOf(':')
  if (colon < 0) throw refused()
  return { clientId: decoded(pair.slice(0, colon)), secret: decoded(pair.slice(colon + 1)) }
}

function shownBy(context: HandlerContext): Shown {
  const header = context.request.headers['authorization']
  const id = text(context, 'client_id')
  const secret = text(context, 'client_secret')
  if (header === undefined) return { clientId: id, secret: secret === '' ? null : secret }
  const basic = basicOf(header)
  if (secret !== '' || (id !== '' && id !== basic.clientId))
    throw new Fault('invalid_request', 'expected one way of authenticating the client, got two')
  return basic
}

/** The client that is asking. @throws Fault where it does not prove that it is, or may not use this provider. */
export async function provenClient(context: HandlerContext, provider: Provider): Promise<Client> {
  const { clientId, secret } = shownBy(context)
  const found = await clientById(context.storage, clientId)
  if (found === null) throw refused()
  const { client } = found
  // What a public client shows as a secret proves nothing, and is not looked at.
  if (client.type === 'confidential' && (secret === null || !equalSecretStrings(secret, client.secret))) throw refused()
  if (!mayUse(provider.allowedClientIds, clientId)) throw new Fault('unauthorized_client', 'client is not authorized to use the provider')
  return client
}
