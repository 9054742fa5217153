/** `holdfast login`: get a token by a login method, or check one, and keep it for the commands to come. */
import { accepted } from '#client/answer.ts'
import type { Secret } from '#client/types.ts'
import { call, fieldFlag, trimSlashes } from '../cli/common.ts'
import { loginByBrowser } from '../cli/oidc-login.ts'
import { readPairs } from '../cli/pairs.ts'
import { forgetToken, fromEnvironment, storeToken, tokenKeeperName } from '../cli/settings.ts'
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

/** What a login method asks for, and where. */
interface Method {
  /** The field that is asked for, hidden, when it is not said; null: none is needed. */
  readonly secret: string | null
  readonly label: string
  /** Without these nothing is sent. */
  readonly needs: readonly string[]
  /** Below the mount, from the fields; those that stand in it are not sent. */
  readonly route: (fields: Record<string, unknown>) => string
}

function take(fields: Record<string, unknown>, name: string): string {
  const { [name]: value } = fields
  delete fields[name]
  return String(value as string)
}

/** The client writes a path as a URL has it: escaped here too, `ann@example.org` would log in as somebody else. */
function byName(fields: Record<string, unknown>): string {
  const name = take(fields, 'username')
  if (name.includes('/')) throw new UsageError('username expected no slash, got one: no login method has such names')
  return `login/${name}`
}

const methods: Readonly<Record<string, Method>> = {
  userpass: {
    secret: 'password',
    label: 'Password',
    needs: ['username'],
    route: byName,
  },
  approle: { secret: 'secret_id', label: 'Secret id', needs: ['role_id'], route: () => 'login' },
  ldap: {
    secret: 'password',
    label: 'Password',
    needs: ['username'],
    route: byName,
  },
  apikey: { secret: 'key', label: 'API key', needs: [], route: () => 'login' },
  // The certificate is the connection's: -client-cert and -client-key.
  cert: { secret: null, label: '', needs: [], route: () => 'login' },
  jwt: { secret: 'jwt', label: 'Token of the provider', needs: [], route: () => 'login' },
  kubernetes: { secret: 'jwt', label: "Service account's token", needs: ['role'], route: () => 'login' },
}
const methodNames = ['token', ...Object.keys(methods), 'oidc']

function methodOf(name: string): Method {
  const method = methods[name]
  if (method !== undefined) return method
  throw new UsageError(
    `login method ${name} is not built into this command: it knows ${methodNames.join(', ')}`,
    `holdfast write auth/${name}/login ... answers a token; then: holdfast login -`,
  )
}

async function loginBy(context: CommandContext, name: string): Promise<Secret> {
  const mount = trimSlashes(context.flags.string('path') ?? name)
  const fields = await readPairs(context.args, context.io)
  if (name === 'oidc') return loginByBrowser(context, mount, fields)
  const method = methodOf(name)
  const missing = method.needs.filter((field) => fields[field] === undefined || fields[field] === '')
  if (missing.length > 0) {
    const pairs = method.needs.map((field) => `${field}=...`).join(' ')
    throw new UsageError(`login by ${name} expected ${missing.join(' and ')}`, `holdfast login -method=${name} ${pairs}`)
  }
  // A role without a secret id says secret_id= with nothing behind it.
  if (method.secret !== null && fields[method.secret] === undefined)
    fields[method.secret] = await context.io.readSecret(`${method.label} (will be hidden)`)
  const path = `auth/${mount}/${method.route(fields)}`
  const secret = await call(context, { method: 'POST', path, body: fields, token: null })
  if (secret === null) throw new RefusedError('the server answered no token')
  return secret
}

async function checkToken(context: CommandContext): Promise<Secret> {
  const token = await tokenFrom(context)
  if (token === '')
    throw new UsageError(
      'login expected a token, got nothing',
      'pipe it in, or name a method: holdfast login -method=userpass username=ann',
    )
  const client = await context.client()
  const answer = await client.raw({ method: 'GET', path: 'auth/token/lookup-self', token })
  if (answer.status === 403) throw new RefusedError('the token was refused: it is wrong, expired or revoked')
  const data = answer.json?.data
  if (!data) {
    accepted(answer, { method: 'GET', url: 'auth/token/lookup-self' })
    throw new RefusedError('the server said nothing of the token')
  }
  return asAuth(token, data)
}

interface Constraint {
  readonly any?: readonly { readonly id?: string; readonly name?: string; readonly type?: string; readonly uses_passcode?: boolean }[]
}

/** A login that waits for second factors: their codes are asked for, one method of each constraint. @throws RefusedError. */
async function withSecondFactors(context: CommandContext, secret: Secret): Promise<Secret> {
  const requirement = secret.auth?.['mfa_requirement'] as
    | { readonly mfa_request_id?: string; readonly mfa_constraints?: Readonly<Record<string, Constraint>> }
    | null
    | undefined
  if (requirement === null || requirement === undefined || secret.auth?.['client_token'] !== '') return secret
  const payload: Record<string, string[]> = {}
  for (const { any = [] } of Object.values(requirement.mfa_constraints ?? {})) {
    const method = any.find(({ id, uses_passcode }) => id !== undefined && uses_passcode !== false)
    if (method?.id === undefined) throw new RefusedError('the login waits for a second factor of a kind that this command does not know')
    payload[method.id] ??= [await context.io.readSecret(`Code of ${method.name ?? method.type ?? method.id} (will be hidden)`)]
  }
  const body = { mfa_request_id: requirement.mfa_request_id, mfa_payload: payload }
  return (await call(context, { method: 'POST', path: 'sys/mfa/validate', body, token: null })) ?? secret
}

async function login(context: CommandContext): Promise<void> {
  const method = context.flags.string('method') ?? 'token'
  const secret = method === 'token' ? await checkToken(context) : await withSecondFactors(context, await loginBy(context, method))
  const token = secret.auth?.['client_token']
  // Asked for wrapped: whoever unwraps it logs in.
  if (typeof token !== 'string' || token === '') return await context.output.secret(secret)
  const keep = !context.flags.bool('no-store')
  if (keep) storeToken(context.io, token)
  if (context.flags.bool('no-print')) return
  if (context.flags.bool('token-only')) return context.output.text(token)
  if (keep && fromEnvironment(context.io, 'TOKEN') !== undefined) {
    context.output.note('warning: HOLDFAST_TOKEN (or VAULT_TOKEN) is set and goes before the token that was just stored')
  }
  context.output.say(
    keep ? `Success! You are logged in; the token is kept ${tokenKeeperName(context.io)}.` : 'Success! The token is good; it is not kept.',
  )
  context.output.say('')
  await context.output.secret(secret)
}

export const loginCommands: readonly Command[] = [
  {
    path: ['login'],
    synopsis: 'Log in, and keep the token',
    args: '[TOKEN | - | KEY=VALUE ...]',
    argsMin: 0,
    argsMax: 16,
    description:
      'By token unless -method says otherwise: without an argument it is asked for, or read from standard input. Other methods take their fields as ' +
      'KEY=VALUE (userpass and ldap: username, password; approle: role_id, secret_id; jwt and kubernetes: role, jwt; apikey: key; cert: name, with -client-cert and ' +
      '-client-key; oidc: role, port, skip_browser); the password, secret id or token is asked for when it is left out. With oidc the provider is opened in ' +
      "a browser ($BROWSER, or the desktop's), which comes back to port 8250 of this machine. Where a second factor is needed its code is asked for, unless -mfa has it.",
    examples: [
      'holdfast login',
      'holdfast login - < token-file',
      'holdfast login -method=userpass username=alice',
      'holdfast login -method=oidc role=staff',
      'holdfast login -method=cert -client-cert=web.pem -client-key=web.key name=web',
      'holdfast login -method=approle -path=machines role_id=web secret_id=@secret-id-file',
    ],
    flags: {
      ...fieldFlag,
      method: { type: 'string', placeholder: 'NAME', description: `Login method: ${methodNames.join(', ')}.` },
      path: { type: 'string', placeholder: 'PATH', description: 'Where the method is mounted; its name by default.' },
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
