/** The OpenAPI document: valid, whole, and every example in it does what it says. */
import { existsSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Operation } from '#core/types.ts'
import { recipes, type Recipe } from '#test/support/example-recipes.ts'
import { lendingEngine } from '#test/support/lending-engine.ts'
import { sealByShares } from '#test/support/sealed-by-shares.ts'
import { populateExamples } from '#test/support/example-world.ts'
import { openHouse, type Answer, type HouseNode } from '#test/support/core-house.ts'

interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query'
  readonly required: boolean
  readonly example?: unknown
}
interface Content {
  readonly example?: Record<string, unknown>
  readonly schema?: {
    readonly required?: readonly string[]
    readonly properties?: Readonly<Record<string, { readonly example?: unknown; readonly default?: unknown }>>
  }
}
interface Described {
  readonly operationId: string
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: {
    readonly required?: boolean
    readonly content: Readonly<Record<string, Content>>
  }
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, Record<string, unknown>>> }>>
}
type Item = Readonly<Record<string, unknown>> & { readonly parameters?: readonly Parameter[] }
interface Document {
  readonly paths: Readonly<Record<string, Item>>
}

const methods = ['get', 'post', 'patch', 'delete'] as const

async function documentOf(node: HouseNode): Promise<Document> {
  return (await node.read('sys/internal/specs/openapi')).body as Document
}

/** Of each operation: its method, path and description, with the parameters of its path. */
function operationsOf({
  paths,
}: Document): { method: (typeof methods)[number]; path: string; described: Described; parameters: readonly Parameter[] }[] {
  return Object.entries(paths).flatMap(([path, item]) =>
    methods.flatMap((method) => {
      const described = item[method] as Described | undefined
      return described === undefined
        ? []
        : [{ method, path, described, parameters: [...(item.parameters ?? []), ...(described.parameters ?? [])] }]
    }),
  )
}

describe('the document of a bare server', () => {
  let document: Document
  beforeAll(async () => {
    document = await documentOf((await openHouse()).node)
  })

  test('passes a validator, and has at least 150 paths', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document) as unknown as Record<string, unknown>)
    expect(errors, JSON.stringify(errors)).toBeUndefined()
    expect(valid).toBe(true)
    expect(Object.keys(document.paths).length).toBeGreaterThanOrEqual(150)
  })

  test('names each operation once, and declares every name of a path', () => {
    const operations = operationsOf(document)
    const ids = operations.map(({ described }) => described.operationId)
    expect(ids.filter((id, at) => ids.indexOf(id) !== at)).toEqual([])
    for (const { path, parameters } of operations) {
      const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!)
      expect(
        parameters
          .filter((parameter) => parameter.in === 'path')
          .map(({ name }) => name)
          .toSorted(),
        path,
      ).toEqual(names.toSorted((a, b) => (a < b ? -1 : 1)))
    }
  })

  test('has no two paths that differ in the names of their parameters only', () => {
    const shapes = Object.keys(document.paths).map((path) => path.replaceAll(/\{\w+\}/g, '{}'))
    expect(shapes.filter((shape, at) => shapes.indexOf(shape) !== at)).toEqual([])
  })

  test('says of each path what it is for, and of each operation what it does', () => {
    for (const { method, path, described } of operationsOf(document)) {
      expect((described as unknown as { summary: string }).summary, `${method} ${path}`).not.toBe('')
      expect(Object.keys(described.responses), `${method} ${path}`).toContain('default')
    }
  })
})

/** What must not be there yet, or must be otherwise, before an example of it. */
const before: Readonly<Record<string, (node: HouseNode) => Promise<unknown>>> = {
  'post /sys/mounts/{path}': (node) => node.remove('sys/mounts/secret'),
  'post /sys/auth/{path}': (node) => node.remove('sys/auth/people'),
  'post /sys/namespaces/api-lock/unlock/{path}': (node) => node.write('sys/namespaces/api-lock/lock/team'),
  'get /secret/detailed-metadata/{path}/': (node) => node.write('secret/data/team/database/inner', { data: { a: 1 } }),
  'get /secret/metadata/{path}/': (node) => node.write('secret/data/team/database/inner', { data: { a: 1 } }),
  'get /kv1/{path}/': (node) => node.write('kv1/team/database/inner', { a: 1 }),
  ...Object.fromEntries(
    ['rate-limit', 'lease-count', 'request-limits'].map((kind) => [
      `post /sys/quotas/${kind}/{name}`,
      (node: HouseNode) => node.write('sys/auth/userpass', { type: 'userpass' }),
    ]),
  ),
  'get /cubbyhole/{path}/': (node) => node.write('cubbyhole/mine/inner', { a: 1 }),
}

/** What this house has not, or not at once: each is sent by the test that is named. */
const elsewhere: Readonly<Record<string, readonly string[]>> = {
  'test/unit/core/contract.test.ts: here it is done already': ['post /sys/init'],
  'test/unit/engines/sys/sys.test.ts: nothing is anchored yet': ['get /sys/audit-proof'],
  'test/e2e/seals/keys.test.ts: it takes a rekey to PGP keys': [
    'get /sys/rekey/backup',
    'get /sys/rekey/recovery-key-backup',
    'get /sys/rekey-recovery-key/backup',
    'get /sys/rotate/root/backup',
    'get /sys/rotate/recovery/backup',
  ],
  'test/e2e/seals/keys.test.ts: it takes an auto seal': [
    'post /sys/rotate/root',
    ...['rekey-recovery-key', 'rotate/recovery'].flatMap((path) => [
      `get /sys/${path}/init`,
      `post /sys/${path}/init`,
      `post /sys/${path}/update`,
      `get /sys/${path}/verify`,
      `post /sys/${path}/verify`,
      `delete /sys/${path}/verify`,
    ]),
  ],
  'test/e2e/restore.test.ts: it takes a file': [
    'get /sys/storage/raft/snapshot',
    'post /sys/storage/raft/snapshot',
    'post /sys/storage/raft/snapshot-force',
    'post /sys/storage/raft/snapshot/confirm',
    'post /sys/storage/raft/snapshot/verify',
  ],
  'test/unit/auth/mfa.test.ts: it takes a login that waits for its second factor': ['post /sys/mfa/validate'],
  'test/unit/auth/mfa.test.ts: a root token is nobody, and has no second factor': ['post /identity/mfa/method/totp/generate'],
  'test/unit/engines/identity/oidc.test.ts: a root token is nobody': ['get /identity/oidc/token/{name}'],
  'test/unit/engines/identity/oidc-provider.test.ts: a root token is nobody, and gets no code': [
    'get /identity/oidc/provider/{name}/authorize',
    'post /identity/oidc/provider/{name}/authorize',
    'post /identity/oidc/provider/{name}/token',
    'get /identity/oidc/provider/{name}/userinfo',
    'post /identity/oidc/provider/{name}/userinfo',
  ],
  'test/e2e/members.test.ts: it needs a third node': [
    'post /sys/storage/raft/remove-peer',
    'post /sys/storage/raft/promote',
    'post /sys/storage/raft/demote',
  ],
  'test/unit/engines/sys/snapshots.test.ts: after a run': ['get /sys/storage/raft/snapshot-auto/status/{name}'],
}

describe('examples', () => {
  let node: HouseNode
  let shares: readonly string[] = []
  let done = 0
  beforeAll(async () => {
    ;({ node, shares } = await openExamples())
  })

  /** Sends one, in the world that its example speaks of. */
  const send = async (
    { method, path, described, parameters }: ReturnType<typeof operationsOf>[number],
    more: Readonly<Record<string, unknown>>,
  ): Promise<Answer> => {
    const name = `${method} ${path}`
    await populateExamples(node)
    await before[name]?.(node)
    const recipe = (await recipes[name]?.(node, shares)) ?? {}
    const body = { ...more, ...(recipe.body ?? contentOf(described)?.example) }
    return await ask(node, method, path, parameters, { ...recipe, body })
  }

  test('every operation is sent, as its example says or with what only the server knows, and does what it says', async () => {
    const failed: string[] = []
    for (const each of lastThingsLast(operationsOf(await documentOf(node)))) {
      const name = `${each.method} ${each.path}`
      if (reasonOf(name) !== undefined) continue
      const answer = await send(each, {})
      if (answer.status >= 300) failed.push(`${name}: ${answer.status} ${answer.text.slice(0, 300)}`)
      else checkShape(name, answer, each.described)
      done += 1
    }
    expect(failed).toEqual([])
    expect(done).toBeGreaterThan(330)
  }, 120_000)

  test('every operation takes all its optional fields at once, as their examples or defaults are', async () => {
    ;({ node, shares } = await openExamples())
    const failed: string[] = []
    let fields = 0
    let unknown = 0
    for (const each of lastThingsLast(operationsOf(await documentOf(node)))) {
      const name = `${each.method} ${each.path}`
      const more = optionalsOf(each.described, name)
      unknown += withoutValue(each.described)
      if (reasonOf(name) !== undefined || Object.keys(more).length === 0) continue
      const answer = await send(each, more)
      if (answer.status >= 300) failed.push(`${name}: ${answer.status} ${answer.text.slice(0, 300)} ${JSON.stringify(more)}`)
      fields += Object.keys(more).length
    }
    console.log(`openapi: ${fields} optional fields sent, ${unknown} have neither example nor default`)
    expect(failed).toEqual([])
    expect(fields).toBeGreaterThan(130)
    // Only ever lower: a field without a value is described, and never sent here.
    expect(unknown).toBeLessThanOrEqual(373)
  }, 120_000)

  test('what is not sent here is there, and its reason names a test that is there', async () => {
    const names = new Set(operationsOf(await documentOf((await openHouse()).node)).map(({ method, path }) => `${method} ${path}`))
    const here = (name: string): boolean => /^\w+ \/(?:sys|identity|auth\/token)\//.test(name)
    expect(
      Object.values(elsewhere)
        .flat()
        .filter((name) => !names.has(name)),
    ).toEqual([])
    expect(Object.keys(recipes).filter((name) => here(name) && !names.has(name))).toEqual([])
    expect(Object.keys(elsewhere).filter((reason) => !existsSync(reason.split(': ')[0]!))).toEqual([])
  })
})

/** A house in which every example has what it speaks of. */
async function openExamples(): Promise<{ readonly node: HouseNode; readonly shares: readonly string[] }> {
  const house = await openHouse(1, [lendingEngine().engine])
  const shares = await sealByShares(house.at(0))
  await house.node.write('sys/mounts/db', { type: 'lending' })
  await populateExamples(house.node)
  return { node: house.node, shares }
}

const contentOf = ({ requestBody }: Described): Content | undefined => Object.values(requestBody?.content ?? {})[0]

/** Optional fields that mean another request than the example: sent by tests of their own. */
const apart: Readonly<Record<string, readonly string[]>> = {
  // Only of a namespace that is not there yet: test/unit/core/sealed-namespace.test.ts.
  'post /sys/namespaces/{path}': ['seal'],
  // That nothing is there yet, where the example writes over something: test/unit/core/contract.test.ts.
  'post /secret/data/{path}': ['options'],
  'patch /secret/data/{path}': ['options'],
}

/** The optional fields of a body with a value each: its example, or its default. */
function optionalsOf(described: Described, name: string): Record<string, unknown> {
  const { properties = {}, required = [] } = contentOf(described)?.schema ?? {}
  const values = Object.entries(properties).map(([field, { example, default: usual }]) => [field, example ?? usual] as const)
  const left = apart[name] ?? []
  return Object.fromEntries(values.filter(([field, value]) => value !== undefined && !required.includes(field) && !left.includes(field)))
}

/** How many fields of a body have neither example nor default. */
const withoutValue = (described: Described): number =>
  Object.values(contentOf(described)?.schema?.properties ?? {}).filter(({ example, default: usual }) => (example ?? usual) === undefined)
    .length

/** Why an operation is not sent here, and which test sends it. */
const reasonOf = (name: string): string | undefined => Object.keys(elsewhere).find((reason) => elsewhere[reason]!.includes(name))

/** A namespace that is being deleted stays so: there are no jobs in this house. What is sealed answers nothing more. */
const lastOfAll: readonly string[] = ['delete /sys/namespaces/{path}', 'post /sys/seal']
const lastThingsLast = (found: ReturnType<typeof operationsOf>): ReturnType<typeof operationsOf> => {
  const place = ({ method, path }: (typeof found)[number]): number => lastOfAll.indexOf(`${method} ${path}`)
  return found.toSorted((a, b) => place(a) - place(b))
}

const textOf = (example: unknown): string => (typeof example === 'string' ? example : JSON.stringify(example))

const operations: Readonly<Record<string, Operation>> = { get: 'read', post: 'update', patch: 'patch', delete: 'delete' }

function ask(
  node: HouseNode,
  method: string,
  path: string,
  parameters: readonly Parameter[],
  { params = {}, body = {}, query: asked = {}, ...rest }: Recipe,
): Promise<Answer> {
  let filled = path.slice(1)
  const query: Record<string, string> = { ...asked }
  for (const { name, in: place, example } of parameters) {
    if (place === 'path') filled = filled.replace(`{${name}}`, params[name] ?? textOf(example))
    else if (example !== undefined && name !== 'list') query[name] = textOf(example)
  }
  const listing = path.endsWith('/')
  return node.ask({
    operation: listing ? 'list' : operations[method]!,
    method: method.toUpperCase(),
    path: filled,
    query,
    body,
    ...rest,
  })
}

/** Where the document shows an answer, the answer has its keys. */
function checkShape(name: string, answer: Answer, described: Described): void {
  const shown = described.responses[String(answer.status)]?.content?.['application/json']?.['x-holdfast-data-example']
  if (shown === undefined) return
  expect.soft([name, Object.keys(answer.body.data).toSorted()]).toEqual([name, Object.keys(shown as object).toSorted()])
}
