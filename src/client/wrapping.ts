/** Answers that travel wrapped: a token that opens them, once. */
import { accepted } from './answer.ts'
import type { Client } from './client.ts'
import { ApiError } from './errors.ts'
import type { Secret } from './types.ts'

export interface Wrapped {
  readonly token: string
  readonly accessor: string
  readonly ttlSeconds: number
  readonly creationTime: string
  /** The request whose answer is inside: compare it with what was expected before opening. */
  readonly creationPath: string
}

async function ask(client: Client, verb: string, body: Readonly<Record<string, unknown>>, wrapTtl = ''): Promise<Secret> {
  const call = { method: 'POST', path: `sys/wrapping/${verb}`, body, wrapTtl } as const
  const failure = { method: call.method, url: call.path }
  return accepted(await client.raw(call), failure) ?? expectedAnswer(failure)
}

function expectedAnswer(failure: { readonly method: string; readonly url: string }): never {
  throw new ApiError(failure, 204, ['expected an answer with content'], undefined, undefined)
}

function wrappedOf(secret: Secret): Wrapped {
  const info = secret.wrap_info ?? {}
  return {
    token: String(info['token'] as string),
    accessor: String(info['accessor'] as string),
    ttlSeconds: Number(info['ttl']),
    creationTime: String(info['creation_time'] as string),
    creationPath: String(info['creation_path'] as string),
  }
}

/** Wraps `data` for `ttl` ('5m'). @throws as `Client.raw`; ApiError when it is refused. */
export async function wrap(client: Client, data: Readonly<Record<string, unknown>>, ttl: string): Promise<Wrapped> {
  return wrappedOf(await ask(client, 'wrap', data, ttl))
}

/** What was wrapped. Works once: whoever finds the token spent must assume that somebody else has read it. @throws ApiError 400 then. */
export async function unwrap(client: Client, token: string): Promise<Secret> {
  // By its own token: the caller needs none, and none of the caller's is spent.
  const call = { method: 'POST', path: 'sys/wrapping/unwrap', body: {}, token, wrapTtl: '' } as const
  const failure = { method: call.method, url: call.path }
  return accepted(await client.raw(call), failure) ?? expectedAnswer(failure)
}

/** What a wrapping token is for, without opening it. */
export async function lookupWrapped(client: Client, token: string): Promise<Omit<Wrapped, 'accessor'>> {
  const { data } = await ask(client, 'lookup', { token })
  return {
    token,
    ttlSeconds: Number(data?.['creation_ttl']),
    creationTime: String(data?.['creation_time'] as string),
    creationPath: String(data?.['creation_path'] as string),
  }
}

/** The same content under a new token; the old one is spent. */
export async function rewrap(client: Client, token: string): Promise<Wrapped> {
  return wrappedOf(await ask(client, 'rewrap', { token }))
}
