/**
 * What succeeds, on each route once: the examples of the document; the recipes of the isolation matrix, in a namespace; and what only the root namespace
 * has. A route is told by the path that the document has for it.
 */
import { Maker, pathOf, populate, recipeOf, type World } from '#test/support/isolation-world.ts'
import type { Answer, HouseNode } from '#test/support/core-house.ts'
import { Outsides } from '#test/support/outside-doubles.ts'
import type { Request } from '#core/types.ts'
import type { Judge } from './judge.ts'
import type { Document, Sender, Sent } from './sender.ts'

const verbs: Readonly<Record<string, string>> = {
  read: 'GET',
  update: 'POST',
  create: 'POST',
  patch: 'PATCH',
  delete: 'DELETE',
  list: 'GET',
  scan: 'GET',
  help: 'GET',
}

/** The isolation world speaks to a core in memory; here it speaks to a server. A server of its own lends nothing but tokens yet. */
function overHttp(sender: Sender): HouseNode {
  const send = async (request: Partial<Request>): Promise<Answer> => {
    const { operation = 'read', path = '', body, token, namespace = '', query = {}, wrapTtlSeconds = 0 } = request
    if (!sender.lends && path === 'sys/mounts/lend') return answerOf({ status: 200, text: '{}' })
    if (!sender.lends && path === 'lend/creds/x') return answerOf({ status: 200, text: '{"lease_id":"none/x"}' })
    const search = new URLSearchParams({
      ...query,
      ...(operation === 'delete' ? (body as Record<string, string>) : {}),
      ...(operation === 'list' ? { list: 'true' } : operation === 'scan' ? { scan: 'true' } : {}),
    }).toString()
    const writes = verbs[operation] === 'POST' || operation === 'patch'
    const sent = await sender.request(verbs[operation]!, `${path}${search === '' ? '' : `?${search}`}`, {
      ...(writes ? { body: body ?? {} } : {}),
      ...(token === undefined ? {} : { token }),
      headers: {
        ...(namespace === '' ? {} : { 'x-vault-namespace': namespace }),
        ...(wrapTtlSeconds > 0 ? { 'x-vault-wrap-ttl': String(wrapTtlSeconds) } : {}),
      },
    })
    return answerOf(sent)
  }
  return { ask: send, nowMs: () => sender.nowMs() } as unknown as HouseNode
}

const answerOf = ({ status, text }: Sent): Answer => ({ status, text, headers: {}, body: text.startsWith('{') ? JSON.parse(text) : null })

type Parameters_ = readonly { readonly name: string; readonly in: string; readonly required: boolean; readonly example?: unknown }[]

/** Every operation with the examples that it has; those that need none as they are. */
async function byExamples(sender: Sender, judge: Judge): Promise<void> {
  for (const [template, item] of Object.entries(judge.document.paths)) {
    for (const method of ['post', 'patch', 'get', 'delete']) {
      const operation = item[method] as
        | { parameters?: Parameters_; requestBody?: { content: Record<string, { example?: object }> } }
        | undefined
      const route = `${method.toUpperCase()} ${template}`
      if (operation === undefined || skipped.has(route)) continue
      const parameters = [...((item.parameters ?? []) as unknown as Parameters_), ...(operation.parameters ?? [])]
      let path = template.slice(1)
      const query = new URLSearchParams()
      for (const { name, in: place, required, example } of parameters) {
        if (place === 'path') path = path.replace(`{${name}}`, textOf(example, 'x'))
        else if (required || name === 'list') query.set(name, textOf(example, 'true'))
      }
      const body = Object.values(operation.requestBody?.content ?? {})[0]?.example ?? {}
      const search = query.toString()
      const full = search === '' ? path : `${path}?${search}`
      const send = (): Promise<Sent> => sender.request(method.toUpperCase(), full, method === 'post' || method === 'patch' ? { body } : {})
      let sent = await send()
      // Something before has taken away what it needs.
      if (sent.status >= 400 && complete(parameters)) {
        await before(sender, route)
        sent = await send()
      }
      judge.note(route, sent, { path: full, body })
    }
  }
}

const textOf = (example: unknown, otherwise: string): string => (typeof example === 'string' ? example : otherwise)

const complete = (parameters: Parameters_): boolean => parameters.every(({ required, example }) => !required || example !== undefined)

const skipped: ReadonlySet<string> = new Set([
  // Last of all: it stays away for a while.
  'DELETE /sys/namespaces/{path}',
  'POST /sys/seal',
  'POST /sys/step-down',
  'POST /auth/token/revoke-self',
  'GET /sys/monitor',
])

/** What would make the example fail, or another one after it. */
async function before(sender: Sender, route: string): Promise<void> {
  await sender.heal()
  if (route === 'POST /sys/mounts/{path}') await sender.remove('sys/mounts/secret')
  if (route === 'POST /sys/auth/{path}') await sender.remove('sys/auth/people')
  if (route === 'POST /sys/namespaces/api-lock/unlock/{path}') await sender.write('sys/namespaces/api-lock/lock/team')
  if (route.includes('/secret/') && route.endsWith('{path}/')) await sender.write('secret/data/team/database/inner', { data: { a: 1 } })
  if (route === 'GET /kv1/{path}/') await sender.write('kv1/team/database/inner', { a: 1 })
  if (route === 'GET /cubbyhole/{path}/') await sender.write('cubbyhole/mine/inner', { a: 1 })
}

/** The recipes, in a namespace of their own. Noted under the root's path where the document has it. */
async function byRecipes(sender: Sender, judge: Judge): Promise<void> {
  const node = overHttp(sender)
  const outsides = new Outsides(() => node.nowMs())
  try {
    await eachRecipe(judge, node, outsides)
  } finally {
    await outsides.dispose()
  }
}

async function eachRecipe(judge: Judge, node: HouseNode, outsides: Outsides): Promise<void> {
  let world: World | null = null
  for (const { template, method, mount, type, pattern, operation } of routesOf(judge.document)) {
    const route = `${method} ${template}`
    if (skipped.has(route) || judge.succeeded(route)) continue
    let recipe
    let path
    try {
      world = await populate(node, outsides, 'tour', world)
      recipe = recipeOf(type, pattern, operation, world)
      path = `${mount}${pathOf(type, pattern, recipe)}`.replace(/\/$/, '')
    } catch (error) {
      // No recipe: a route of the root namespace alone, or of an engine that the matrix does not have.
      if ((error as Error).message.includes('expected a recipe')) continue
      throw error
    }
    if (pattern.startsWith('namespaces/api-lock/')) continue
    const asked = {
      operation: operation as Request['operation'],
      namespace: world.path,
      path: operation === 'list' || operation === 'scan' ? `${path}/` : path,
      body: recipe.body ?? {},
      query: recipe.query ?? {},
      token: recipe.token === undefined ? world.admin : recipe.token,
      wrapTtlSeconds: recipe.wrapTtlSeconds ?? 0,
    }
    const { status, text } = await node.ask(asked)
    if (recipe.spends !== undefined) world.facts[recipe.spends] = ''
    judge.note(route, { status, text }, { path: asked.path, body: asked.body })
  }
  await new Maker(node, '').send('delete', 'sys/namespaces/tour')
}

interface Told {
  readonly template: string
  readonly method: string
  readonly mount: string
  readonly type: string
  readonly pattern: string
  readonly operation: string
}

/** The document's routes, by the mount, engine and pattern that made them. */
function routesOf({ paths }: Document): Told[] {
  const mounts = [
    ['/sys/', 'sys/', 'system'],
    ['/auth/token/', 'auth/token/', 'token'],
    ['/auth/people/', 'auth/userpass/', 'userpass'],
    ['/auth/approle/', 'auth/approle/', 'approle'],
    ['/secret/', 'kv2/', 'kv'],
    ['/kv1/', 'kv1/', 'kv'],
    ['/transit/', 'transit/', 'transit'],
    ['/identity/', 'identity/', 'identity'],
    ['/cubbyhole/', 'cubbyhole/', 'cubbyhole'],
  ] as const
  return Object.entries(paths).flatMap(([template, item]) => {
    const found = mounts.find(([prefix]) => template.startsWith(prefix))
    if (found === undefined) return []
    const [, mount, type] = found
    return ['get', 'post', 'patch', 'delete'].flatMap((method) => {
      if (item[method] === undefined) return []
      const listing = template.endsWith('/')
      const pattern = item['x-holdfast-pattern'] as string
      const names = listing ? ['list'] : method === 'get' ? ['read'] : method === 'post' ? ['update', 'create'] : [method]
      return names.map((name) => ({ template, method: method.toUpperCase(), mount, type, pattern, operation: name }))
    })
  })
}

/** Routes of the root namespace, and what needs an answer before it. */
async function byHand(sender: Sender, judge: Judge): Promise<void> {
  const data = ({ text }: Sent): Record<string, string> => {
    const parsed = text.startsWith('{') ? (JSON.parse(text) as { data?: Record<string, string> } & Record<string, string>) : {}
    return parsed.data ?? parsed
  }
  const go = async (method: string, template: string, body?: unknown, path = template, headers = {}): Promise<Sent> => {
    const sent = await sender.request(method, path.slice(1), { body, headers })
    judge.note(`${method} ${template}`, sent, { path, body })
    return sent
  }
  await sender.heal()
  await go('DELETE', '/sys/namespaces/{path}', undefined, '/sys/namespaces/team')
  for (const at of ['rekey', 'rotate/root'] as const) {
    await go('POST', `/sys/${at}/init`, { secret_shares: 1, secret_threshold: 1, require_verification: true })
    await go('GET', `/sys/${at}/init`)
    await go('DELETE', `/sys/${at}/init`)
  }
  for (const at of ['generate-root', 'generate-root-token'] as const) {
    await go('POST', `/sys/${at}/attempt`, {})
    await go('GET', `/sys/${at}/attempt`)
    await go('DELETE', `/sys/${at}/attempt`)
  }
  const token = data(await go('POST', '/sys/storage/raft/join-token', {}))
  await go('GET', '/sys/storage/raft/join-token/', undefined, '/sys/storage/raft/join-token/?list=true')
  await go('DELETE', '/sys/storage/raft/join-token/{id}', undefined, `/sys/storage/raft/join-token/${token.id}`)
  await go('POST', '/sys/storage/raft/autopilot/configuration', { max_trailing_logs: 1_000 })
  await go('POST', '/sys/rotate/config', { enabled: true })
  await go('POST', '/sys/rotate/keyring/config', { enabled: true })
  await go('POST', '/sys/quotas/config', { rate_limit_exempt_paths: [] })
  await go('POST', '/sys/wrapping/wrap', { a: 1 }, '/sys/wrapping/wrap', { 'x-vault-wrap-ttl': '60' })
  const wrapped = async (): Promise<string> => {
    const { text } = await sender.request('POST', 'sys/wrapping/wrap', { body: { a: 1 }, headers: { 'x-vault-wrap-ttl': '60' } })
    return (JSON.parse(text) as { wrap_info: { token: string } }).wrap_info.token
  }
  await go('POST', '/sys/wrapping/lookup', { token: await wrapped() })
  await go('POST', '/sys/wrapping/rewrap', { token: await wrapped() })
  await go('POST', '/sys/wrapping/unwrap', { token: await wrapped() })
  const lookup = await sender.request('GET', 'sys/wrapping/lookup', { token: await wrapped() })
  judge.note('GET /sys/wrapping/lookup', lookup, { path: '' })
  await go('GET', '/sys/leases', undefined, '/sys/leases?type=irrevocable')
  await go('GET', '/sys/leases/count', undefined, '/sys/leases/count?type=irrevocable')
  const moved = data(await go('POST', '/sys/remount', { from: 'kv1', to: 'kv1-moved' }))
  await go('GET', '/sys/remount/status/{migration_id}', undefined, `/sys/remount/status/${moved.migration_id}`)
  await sender.remove('sys/mounts/kv1-moved')
  await go('POST', '/sys/audit-hash/{path}', { input: 'x' }, '/sys/audit-hash/file')
}

/** Somebody signs in to an application by the OpenID provider: each step needs what the one before has answered. */
async function signIn(sender: Sender, judge: Judge): Promise<void> {
  await sender.heal()
  const password = 'correct horse'
  await sender.write('auth/people/users/signer', { password })
  const login = await sender.request('POST', 'auth/people/login/signer', { body: { password }, token: null })
  const { auth } = JSON.parse(login.text) as { auth: { client_token: string } }
  const redirect_uri = 'https://app.example.com/callback'
  await sender.write('identity/oidc/client/shop', { redirect_uris: redirect_uri, assignments: 'allow_all' })
  const { client_id, client_secret } = (await sender.read('identity/oidc/client/shop')).body.data as Record<string, string>
  const go = async (method: string, step: string, token: string | null, body?: object, query = ''): Promise<Record<string, string>> => {
    const path = `identity/oidc/provider/default/${step}${query}`
    const sent = await sender.request(method, path, { body, token })
    judge.note(`${method} /identity/oidc/provider/{name}/${step}`, sent, { path, body })
    return sent.text.startsWith('{') ? (JSON.parse(sent.text) as Record<string, string>) : {}
  }
  const asked = { client_id: client_id!, redirect_uri, response_type: 'code', scope: 'openid', state: 'st' }
  await go('GET', 'authorize', auth.client_token, undefined, `?${new URLSearchParams(asked).toString()}`)
  const { code } = await go('POST', 'authorize', auth.client_token, asked)
  const { access_token = '' } = await go('POST', 'token', null, {
    grant_type: 'authorization_code',
    code,
    redirect_uri,
    client_id,
    client_secret,
  })
  await go('GET', 'userinfo', access_token)
  await go('POST', 'userinfo', access_token, {})
}

export async function tour(sender: Sender, judge: Judge): Promise<void> {
  await byExamples(sender, judge)
  await byRecipes(sender, judge)
  await byHand(sender, judge)
  await signIn(sender, judge)
}
