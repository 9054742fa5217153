/**
 * Nothing crosses from one namespace to another: a matrix that is generated from the tables of every engine and login method. Each operation of each route
 * first succeeds in its own namespace `a`; then it is tried on `a` by every kind of token of `b`, by one of a namespace inside `a`, and with what is of `a`
 * (ids, accessors, tokens, leases) inside `b`. Nothing of `a` may be told, and nothing in it may change, down to the bytes of its storage.
 */
import { createHash } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import type { ReadView, Section } from '#barrier/types.ts'
import { fullPath, MountReader } from '#core/mounts.ts'
import type { MountEntry, Operation, PathDef, Request } from '#core/types.ts'
import { quotaSection } from '#quotas/store.ts'
import { openHouse, type Answer } from '#test/support/core-house.ts'
import { lendingEngine } from '#test/support/lending-engine.ts'
import { Outsides } from '#test/support/outside-doubles.ts'
import { Maker, pathOf, populate, recipeOf, type Recipe, type World } from '#test/support/isolation-world.ts'

const { node, at } = await openHouse(1, [lendingEngine().engine])
const outsides = new Outsides(() => node.nowMs())
afterAll(() => outsides.dispose())
let [a, b]: [World, World] = [await populate(node, outsides, 'a', null), await populate(node, outsides, 'b', null)]
const inside = (await new Maker(node, 'a/c').write('sys/policies/acl/all', { policy: 'path "*" { capabilities = ["read"] }' }),
await new Maker(node, 'a/c').write('auth/token/create', { policies: ['all'] })).auth.client_token as string
const ofRoot = (await new Maker(node, '').write('auth/token/create', { policies: ['default'] })).auth.client_token as string

interface Route {
  readonly mount: MountEntry
  readonly def: PathDef
  readonly operation: Operation
}

async function allRoutes(): Promise<Route[]> {
  const { entries } = await at(0).read({ kind: 'linearizable' }, (view) => new MountReader().read(view, a.id))
  // Mounts that are there to be moved and deleted have nothing in them; their types are there twice.
  const wanted = entries.filter(({ path }) => !path.startsWith('after') && !path.startsWith('spare'))
  return wanted.flatMap((mount) =>
    node.core.registry
      .get(mount.table, mount.type)!
      .paths(mount)
      .filter((def) => def.rootNamespaceOnly !== true && def.local !== true && def.unpublished !== true)
      .flatMap((def) => (Object.keys(def.operations) as Operation[]).map((operation) => ({ mount, def, operation }))),
  )
}

const houseMounts = [
  'sys/mounts',
  'sys/token',
  'sys/policy',
  'sys/policy-due',
  'sys/role',
  'sys/identity',
  'sys/mfa',
  'sys/lease',
  'sys/lockout',
]

/** All that is stored in `a`, hashed. */
function digest(): Promise<string> {
  return at(0).read({ kind: 'linearizable' }, async (view) => {
    const hash = createHash('sha256')
    const { entries } = await new MountReader().read(view, a.id)
    for (const mount of [...houseMounts, ...entries.map(({ uuid }) => uuid)]) await hashFolder(view, { namespace: a.id, mount }, '', hash)
    // Quotas lie in the root, by whose they are.
    await hashFolder(view, quotaSection, `of/${a.id}`, hash)
    return hash.digest('hex')
  })
}

async function hashFolder(view: ReadView, section: Section, prefix: string, hash: ReturnType<typeof createHash>): Promise<void> {
  for (const name of await view.list(section, prefix)) {
    const path = prefix === '' ? name : `${prefix}/${name}`
    if (name.endsWith('/')) await hashFolder(view, section, path.slice(0, -1), hash)
    else hash.update(path).update((await view.get(section, path)) ?? '')
  }
}

function requestOf({ mount, def, operation }: Route, recipe: Recipe, world: World): Partial<Request> {
  const listing = operation === 'list' || operation === 'scan'
  const path = `${fullPath(mount)}${pathOf(mount.type, def.pattern, recipe)}`.replace(/\/$/, '')
  return {
    operation: operation === 'create' ? 'update' : operation,
    method: 'TEST',
    namespace: world.path,
    path: listing ? `${path}/` : path,
    body: recipe.body ?? {},
    query: recipe.query ?? {},
    token: recipe.token === undefined ? world.admin : recipe.token,
    wrapTtlSeconds: recipe.wrapTtlSeconds ?? 0,
    ...(recipe.certificate === undefined ? {} : { clientCertificate: recipe.certificate }),
  }
}

const nameOf = ({ mount, def, operation }: Route): string => `${fullPath(mount)} ${def.pattern} ${operation}`
const locking = ({ def }: Route): boolean => def.pattern.startsWith('namespaces/api-lock/')

/** In its own namespace, where it must succeed. */
async function own(route: Route): Promise<void> {
  const recipe = recipeOf(route.mount.type, route.def.pattern, route.operation, a)
  if (route.def.pattern.startsWith('namespaces/api-lock/unlock')) await lockFirst(route, recipe)
  const answer = await node.ask(requestOf(route, recipe, a))
  expect.soft([nameOf(route), answer.status < 300 ? 'ok' : `${answer.status} ${answer.text}`]).toEqual([nameOf(route), 'ok'])
  if (recipe.spends !== undefined) a.facts[recipe.spends] = ''
  if (locking(route)) await unlockAll()
}

async function lockFirst(route: Route, recipe: Recipe): Promise<void> {
  const child = recipe.params?.['path']
  await new Maker(node, '').write(`sys/namespaces/api-lock/lock/a${route.def.pattern.endsWith('*') ? `/${child}` : ''}`)
}

async function unlockAll(): Promise<void> {
  for (const path of ['a', 'a/c2', 'b', 'b/c2']) await node.ask({ operation: 'update', path: `sys/namespaces/api-lock/unlock/${path}` })
}

const told = (answer: Answer): string => `${answer.status} ${answer.text.replaceAll(/"request_id":"[^"]*"/g, '')}`
const refusal = '403 {"errors":["permission denied"]}\n'

/** What logs in is theirs who have it: without it, what is tried is the route. */
function withoutCredentials(form: Partial<Request>): Partial<Request> {
  const rest = Object.fromEntries(Object.entries(form).filter(([name]) => name !== 'clientCertificate'))
  return { ...rest, body: {}, query: {} }
}

/** Tries it from outside; gives back how many cells that were. */
async function crossing(route: Route): Promise<number> {
  const recipe = recipeOf(route.mount.type, route.def.pattern, route.operation, a)
  const asked = requestOf(route, recipe, a)
  const foreign = [...b.tokens, ['of a namespace inside it', inside], ['of the root, with its default policy', ofRoot]] as const
  const forms = [asked, { ...asked, namespace: '', path: `a/${asked.path}` }]
  let cells = 0
  for (const [kind, token] of foreign) {
    for (const form of forms) {
      const shown = route.def.unauthenticated ? withoutCredentials(form) : form
      const answer = await node.ask({ ...shown, token })
      const cell = `${nameOf(route)}, token: ${kind}, ${form.namespace === '' ? 'by path' : 'by header'}`
      if (route.def.unauthenticated && token !== ofRoot) {
        // Of a route that looks at tokens itself, a stranger's is nobody's.
        const stranger = await node.ask({ ...shown, token: typeof recipe.token === 'string' ? 's.of-nobody' : null })
        // What anybody may ask is answered as to anybody.
        expect.soft([cell, told(answer)]).toEqual([cell, told(stranger)])
      } else if (token === ofRoot) expect.soft([cell, answer.status >= 400 || route.def.unauthenticated]).toEqual([cell, true])
      else expect.soft([cell, told(answer)]).toEqual([cell, refusal])
      expect.soft([cell, answer.text.includes(a.canary)]).toEqual([cell, false])
      cells += 1
    }
  }
  return cells + (await withTheirs(route, recipe))
}

/** The other way round: in `b`, by its administrator, with what is of `a`. */
async function withTheirs(route: Route, recipe: Recipe): Promise<number> {
  const asked = { ...requestOf(route, recipe, b), token: b.admin }
  const ownToken = typeof recipe.token === 'string'
  const forms = {
    'by the path of a': { ...asked, path: `a/${asked.path}` },
    // What is done to the caller's own token would be done to that of b.
    ...(ownToken ? { "by a's token": { ...asked, token: recipe.token! } } : { "by b's administrator": asked }),
  }
  for (const [form, request] of Object.entries(forms)) {
    const answer = await node.ask(request)
    const cell = `${nameOf(route)}, in b with what is of a, ${form}`
    expect.soft([cell, answer.text.includes(a.canary)]).toEqual([cell, false])
    if (form === 'by the path of a' || recipe.credentials || ownToken) expect.soft([cell, answer.status >= 400]).toEqual([cell, true])
  }
  return Object.keys(forms).length
}

/** `b` with what was deleted in it; its tokens were good all the time, or what they could not do would say nothing. */
async function refreshed(): Promise<World> {
  for (const [kind, token] of b.tokens) {
    const { status } = await node.ask({ namespace: 'b', path: 'auth/token/lookup-self', token })
    expect.soft([kind, status]).toEqual([kind, kind === 'wrapping' ? 403 : 200])
  }
  return populate(node, outsides, 'b', b)
}

test('nothing crosses, on any route', { timeout: 900_000 }, async () => {
  const routes = await allRoutes()
  // An engine or login method that is mounted nowhere is one that nobody has looked at.
  expect([...new Set(routes.map(({ mount }) => mount.type))].toSorted()).toEqual(
    node.core.registry
      .all()
      .map(({ type }) => type)
      .toSorted(),
  )
  let cells = 0
  let last = routes[0]!.mount
  for (const route of routes) {
    if (route.mount !== last) b = await refreshed()
    last = route.mount
    await own(route)
    if (route.def.operations[route.operation]!.writes) a = await populate(node, outsides, 'a', a, route.mount.type)
    const before = await digest()
    cells += await crossing(route)
    expect.soft([nameOf(route), await digest()]).toEqual([nameOf(route), before])
    if (locking(route)) await unlockAll()
  }
  await refreshed()
  console.log(`isolation: ${routes.length} operations of routes, ${cells} cells`)
  expect(routes.length).toBeGreaterThan(200)
  expect(cells).toBeGreaterThan(4_000)
})
