/**
 * Logging in at an OpenID provider: a browser goes there, and comes back to a listener of this command on loopback; or, by a device code, some other
 * machine's browser goes there, and this command asks until it has.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { accepted } from '#client/answer.ts'
import type { Secret } from '#client/types.ts'
import { call } from './common.ts'
import { RefusedError, UsageError, type CommandContext } from './types.ts'

/** The port that roles are commonly written for. */
const portDefault = 8_250
const callbackPath = '/oidc/callback'
const waitMsMax = 300_000
const pollSecondsMax = 60

interface Begun {
  readonly url: string
  readonly userCode: string
  readonly state: string
  readonly pollSeconds: number
}

/** `fields`: role, port, skip_browser as the command line gave them. @throws RefusedError, UsageError. */
export async function loginByBrowser(context: CommandContext, mount: string, fields: Readonly<Record<string, unknown>>): Promise<Secret> {
  const nonce = randomBytes(20).toString('hex')
  const port = Number(fields['port'] ?? portDefault)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new UsageError('port expected 0 to 65535, got something else')
  const answers = Promise.withResolvers<URLSearchParams>()
  const expected: { state: string | null } = { state: null }
  const server = await listen(port, expected, answers.resolve)
  try {
    const begun = await begin(context, mount, {
      role: fields['role'] ?? '',
      redirect_uri: `http://localhost:${(server.address() as AddressInfo).port}${callbackPath}`,
      client_nonce: nonce,
    })
    expected.state = new URL(begun.url).searchParams.get('state')
    context.output.note(
      begun.userCode === '' ? `Complete the login in a browser: ${begun.url}` : `Enter the code ${begun.userCode} at ${begun.url}`,
    )
    if (fields['skip_browser'] !== true && fields['skip_browser'] !== 'true') openBrowser(context, begun.url)
    if (begun.userCode !== '') return await poll(context, mount, begun, nonce)
    const back = await Promise.race([answers.promise, late()])
    return await finish(context, mount, back, nonce)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

async function late(): Promise<never> {
  await delay(waitMsMax, undefined, { ref: false })
  throw new RefusedError(`no browser came back within ${waitMsMax / 60_000} minutes`)
}

/** On loopback alone: nobody else may hand us a code. Nor may a page of elsewhere that sends the browser here, and does not know the state of this login. */
async function listen(port: number, expected: { readonly state: string | null }, came: (answer: URLSearchParams) => void): Promise<Server> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const state = url.searchParams.get('state')
    const meant = state !== null && (expected.state === null || state === expected.state)
    const ours = request.method === 'GET' && url.pathname === callbackPath && meant
    response.writeHead(ours ? 200 : 404, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' })
    response.end(ours ? 'Back in the terminal: this page can be closed.\n' : 'nothing here\n')
    if (ours) came(url.searchParams)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', () =>
      reject(new RefusedError(`port ${port} expected to be free on localhost, got one in use`, 'say port=N, and have the role allow it')),
    )
    server.listen(port, 'localhost', resolve)
  })
  return server
}

async function begin(context: CommandContext, mount: string, body: Record<string, unknown>): Promise<Begun> {
  const secret = await call(context, { method: 'POST', path: `auth/${mount}/oidc/auth_url`, body, token: null })
  const data = secret?.data ?? {}
  const textOf = (name: string): string => (typeof data[name] === 'string' ? data[name] : '')
  if (!/^https?:/.test(textOf('auth_url'))) throw new RefusedError('the server gave no address of a provider')
  const seconds = Number(textOf('poll_interval'))
  return {
    url: textOf('auth_url'),
    userCode: textOf('user_code'),
    state: textOf('state'),
    pollSeconds: seconds >= 1 && seconds <= pollSecondsMax ? seconds : 5,
  }
}

async function finish(context: CommandContext, mount: string, back: URLSearchParams, nonce: string): Promise<Secret> {
  const body: Record<string, string> = { client_nonce: nonce }
  for (const name of ['state', 'code', 'error']) if (back.has(name)) body[name] = back.get(name) ?? ''
  const secret = await call(context, { method: 'POST', path: `auth/${mount}/oidc/callback`, body, token: null })
  return tokenOf(secret)
}

function tokenOf(secret: Secret | null): Secret {
  if (secret === null) throw new RefusedError('the server answered no token')
  return secret
}

async function poll(context: CommandContext, mount: string, begun: Begun, nonce: string): Promise<Secret> {
  const client = await context.client()
  let seconds = begun.pollSeconds
  for (let waitedMs = 0; waitedMs < waitMsMax; waitedMs += seconds * 1_000) {
    await delay(seconds * 1_000)
    const request = {
      method: 'POST',
      path: `auth/${mount}/oidc/poll`,
      body: { state: begun.state, client_nonce: nonce },
      token: null,
    } as const
    const answer = await client.raw(request)
    const errors = answer.json?.['errors'] as string[] | undefined
    if (errors?.[0] === 'slow_down') seconds += 5
    else if (errors?.[0] !== 'authorization_pending') return tokenOf(accepted(answer, { method: 'POST', url: request.path }))
  }
  throw new RefusedError(`the code was not entered within ${waitMsMax / 60_000} minutes`)
}

/** What $BROWSER names, or the desktop's own; that there is none is no failure: the address was printed. */
function openBrowser(context: CommandContext, url: string): void {
  const named = context.io.env['BROWSER']
  const program = named ?? (process.platform === 'darwin' ? 'open' : 'xdg-open')
  if (named === undefined && process.platform === 'linux' && context.io.env['DISPLAY'] === undefined) return
  const child = spawn(program, [url], { stdio: 'ignore', detached: true })
  child.on('error', () => {})
  child.unref()
}
