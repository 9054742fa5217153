/** `holdfast login`: check a token and keep it for the commands to come. */
import { accepted } from '#client/answer.ts'
import type { Secret } from '#client/types.ts'
import { fieldFlag } from '../cli/common.ts'
import { forgetToken, fromEnvironment, storeToken } from '../cli/settings.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../cli/types.ts'

async function tokenFrom(context: CommandContext): Promise<string> {
  const [word] = context.args
  if (word === undefined || word === '-' || word === 'token=-') return await context.io.readSecret('Token (will be hidden)')
  return word.startsWith('token=') ? word.slice('token='.length) : word
}

/** What a login answers, from what lookup-self says of a token that exists already. */
function asAuth(token: string, data: Readonly<Record<string, unknown>>): Secret {
  return {
    request_id: '',
    auth: {
      client_token: token,
      accessor: data['accessor'],
      lease_duration: data['ttl'],
      renewable: data['renewable'] === true,
      token_policies: data['policies'],
      identity_policies: data['identity_policies'] ?? [],
      policies: [...((data['policies'] as string[] | undefined) ?? []), ...((data['identity_policies'] as string[] | undefined) ?? [])],
      metadata: data['meta'] ?? null,
    },
  }
}

async function login(context: CommandContext): Promise<void> {
  const method = context.flags.string('method') ?? 'token'
  if (method !== 'token') {
    throw new UsageError(
      `login method ${method} is not built into this command yet`,
      `holdfast write auth/${method}/login ... answers a token; then: holdfast login -`,
    )
  }
  const token = await tokenFrom(context)
  if (token === '') throw new UsageError('login expected a token, got nothing')
  const client = await context.client()
  const answer = await client.raw({ method: 'GET', path: 'auth/token/lookup-self', token })
  if (answer.status === 403) throw new RefusedError('the token was refused: it is wrong, expired or revoked')
  const data = answer.json?.data
  if (!data) {
    accepted(answer, { method: 'GET', url: 'auth/token/lookup-self' })
    throw new RefusedError('the server said nothing of the token')
  }
  const keep = !context.flags.bool('no-store')
  if (keep) storeToken(context.io, token)
  if (context.flags.bool('no-print')) return
  if (context.flags.bool('token-only')) return context.output.text(token)
  if (keep && fromEnvironment(context.io, 'TOKEN') !== undefined) {
    context.output.note('warning: HOLDFAST_TOKEN (or VAULT_TOKEN) is set and goes before the token that was just stored')
  }
  context.output.say(
    keep ? 'Success! You are logged in; the token is kept in ~/.holdfast-token.' : 'Success! The token is good; it is not kept.',
  )
  context.output.say('')
  await context.output.secret(asAuth(token, data))
}

export const loginCommands: readonly Command[] = [
  {
    path: ['login'],
    synopsis: 'Log in with a token and keep it',
    args: '[TOKEN | -]',
    argsMin: 0,
    argsMax: 1,
    description: 'Without an argument the token is asked for, or read from standard input.',
    examples: ['holdfast login', 'holdfast login - < token-file'],
    flags: {
      ...fieldFlag,
      method: { type: 'string', placeholder: 'NAME', description: 'Login method; token by default.' },
      'no-store': { type: 'bool', description: 'Do not keep the token.' },
      'no-print': { type: 'bool', description: 'Print nothing.' },
      'token-only': { type: 'bool', description: 'Print only the token.' },
    },
    run: login,
  },
  {
    path: ['logout'],
    synopsis: 'Forget the token that login kept (it is not revoked)',
    args: '',
    argsMin: 0,
    argsMax: 0,
    local: true,
    examples: ['holdfast token revoke -self && holdfast logout'],
    run: async (context) => {
      forgetToken(context.io)
      context.output.say('Success! The kept token is forgotten.')
    },
  },
]
