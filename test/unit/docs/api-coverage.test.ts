/** `docs/api-coverage.md`: every route that clients of the field know, held against the routing tables themselves. */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createAuthMethods } from '#auth/index.ts'
import { compilePaths } from '#core/paths.ts'
import type { MountEntry, Operation, PathDef } from '#core/types.ts'
import { createSecretEngines } from '#engines/index.ts'
import { createSystemEngine, type SystemServices } from '#engines/sys/index.ts'
import { fixtures } from '#test/support/contract.ts'
import { families, unbuilt, type Family } from './api-routes.ts'

const page = 'docs/api-coverage.md'

/** Tables of paths are made without calling a service: handlers do that. */
const noService: unknown = new Proxy(function () {}, { get: (_target, name) => (name === 'engines' ? [] : noService), apply: () => noService })

function tablesByEngine(): Map<string, readonly PathDef[]> {
  const mount = (version: string): MountEntry => ({ options: { version } }) as unknown as MountEntry
  const tables = new Map<string, readonly PathDef[]>()
  tables.set('secret:system', createSystemEngine(noService as SystemServices).paths(mount('')))
  for (const engine of [
    ...createSecretEngines(noService as Parameters<typeof createSecretEngines>[0]),
    ...createAuthMethods(noService as Parameters<typeof createAuthMethods>[0]),
  ]) {
    // OIDC is the JWT method by another name, with the same table.
    if (engine.type === 'oidc') continue
    if (engine.type === 'kv') for (const version of ['1', '2']) tables.set(`secret:kv:${version}`, engine.paths(mount(version)))
    else tables.set(`${engine.kind}:${engine.type}`, engine.paths(mount('')))
  }
  for (const [name, defs] of tables) tables.set(name, defs.filter(({ unpublished }) => unpublished !== true))
  return tables
}

const operationsOf: Readonly<Record<string, readonly Operation[]>> = {
  GET: ['read'],
  POST: ['update', 'create'],
  PATCH: ['patch'],
  DELETE: ['delete'],
  LIST: ['list'],
  SCAN: ['scan'],
}
const methodOf: Readonly<Record<string, string>> = { read: 'GET', update: 'POST', create: 'POST', patch: 'PATCH', delete: 'DELETE', list: 'LIST', scan: 'SCAN' }

interface Row {
  readonly methods: readonly string[]
  readonly path: string
  readonly kind: 'here' | 'differs' | 'none' | 'waits'
  readonly why: string
}

/** Routes whose reply test/unit/core/contract.test.ts compares with what the contract says. */
const contract = new Set(fixtures.map(({ route }) => route))

function rowsOf({ engine, lines }: Family, tables: ReturnType<typeof tablesByEngine>, used: Set<string>): Row[] {
  const defs = tables.get(engine ?? '')
  const table = defs === undefined ? null : compilePaths(defs)
  return lines
    .trim()
    .split('\n')
    .map((line) => {
      const [route = '', kind = 'here', why = ''] = line.split('|').map((part) => part.trim())
      const words = route.split(' ')
      const path = words.pop()!
      const found = words.filter((method) => {
        const def = table?.match(path.replaceAll(/:(\w+)/g, 'zz'))?.def
        // What a wildcard for names would take (`rotate/:x`) is not that route.
        const hit = def !== undefined && operationsOf[method]!.some((operation) => def.operations[operation]) && literals(def.pattern) === literals(path)
        if (hit) used.add(`${engine} ${def.pattern} ${method}`)
        return hit
      })
      if (table === null) return { methods: words, path, kind: 'waits', why: 'its login method or engine' } as const
      // What waited has come.
      if (kind === 'waits' && found.length === words.length) return { methods: words, path, kind: 'here', why: '' } as const
      const wanted = kind === 'here' || kind === 'differs'
      expect.soft([path, words.join(' '), found.length > 0], 'here, or with a remark that says why not').toEqual([path, words.join(' '), wanted])
      if (wanted && kind === 'here') expect.soft([path, found], 'each method').toEqual([path, words])
      return { methods: words, path, kind: kind as Row['kind'], why }
    })
}

/** How many literal segments a pattern has at its start, and which. */
const literals = (pattern: string): string => pattern.split('/').map((part) => (part.startsWith(':') ? ':' : part)).join('/')

/** What stands beside a row, by its methods: `same` is what a fixture compares, whatever else differs about the route is said behind it. */
function verdict({ methods, path, kind, why }: Row, prefix: string): string {
  if (kind === 'none' || kind === 'waits') return `${kind === 'none' ? 'no meaning here' : 'waits'}${why === '' ? '' : `: ${why}`}`
  if (kind === 'differs') return `differs: ${why}`
  const same = methods.filter((method) => contract.has(`${method} ${prefix}${path}`))
  if (same.length === 0) return 'here'
  return same.length === methods.length ? 'same' : `same (${same.join(' ')}), here`
}

function text(): string {
  const tables = tablesByEngine()
  const used = new Set<string>()
  const parts = families.map((family) => ({ family, rows: rowsOf(family, tables, used) }))
  const counts = { same: 0, here: 0, differs: 0, none: 0, waits: 0 }
  const routes = new Set<string>()
  for (const { family, rows } of parts)
    for (const row of rows)
      for (const method of row.methods) {
        const route = `${method} ${family.prefix}${row.path}`
        routes.add(route)
        counts[row.kind === 'here' && contract.has(route) ? 'same' : row.kind] += 1
      }
  expect.soft([...contract].filter((route) => !routes.has(route)), 'fixtures of routes that this page does not have').toEqual([])
  const own = [...tables].flatMap(([engine, defs]) =>
    defs.flatMap((def) => {
      const methods = [...new Set(Object.keys(def.operations).map((name) => methodOf[name]!))].filter((method) => !used.has(`${engine} ${def.pattern} ${method}`))
      return methods.length === 0 ? [] : [`| ${methods.join(' ')} | \`${prefixOf(engine)}${def.pattern}\` | ${def.help.synopsis} |`]
    }),
  )
  const total = [...tables.values()].flat().length
  return `# Routes of the API

What clients of Vault and OpenBao call, and what answers here. Made by \`UPDATE_DOCS=1 npx vitest run test/unit/docs\` from the routing tables
themselves: a route that is said to be here, and is not, fails a test; so does one that is said to be missing, and is not.

To see one route's fields, ask it: \`holdfast path-help PATH\`, or \`GET /v1/PATH?help=1\`. All of them as one document: \`GET /v1/sys/internal/specs/openapi\`.

- **same**: the reply is what the contract of the API says, key by key or word by word: test/unit/core/contract.test.ts sends for it and compares.
- **here**: it is served, and a test sends it, but the contract fixes no reply of it: test/unit/core/openapi.test.ts and test/unit/core/isolation.test.ts.
- **differs**: it is served, and something about it is otherwise on purpose: what, or why, stands behind it. Replies that the contract fixes are compared here too.

Of ${counts.same + counts.here + counts.differs + counts.none + counts.waits} methods of routes, ${counts.same} are the same, ${counts.here} are here, ${counts.differs} are here and differ, ${counts.none} have no meaning here, ${counts.waits} wait for their engine.
The routing tables hold ${total} paths.
${parts
  .map(
    ({ family, rows }) =>
      `\n## ${family.title}\n\n| methods | path | |\n| --- | --- | --- |\n${rows
        .map((row) => `| ${row.methods.join(' ')} | \`${family.prefix}${row.path}\` | ${verdict(row, family.prefix)} |`)
        .join('\n')}\n`,
  )
  .join('')}
## Not built yet

${unbuilt.join(', ')}.

## Only here

Routes that the peers do not have, or have in their enterprise editions only.

| methods | path | what for |
| --- | --- | --- |
${own.toSorted().join('\n')}
`
}

function prefixOf(engine: string): string {
  const [kind, type] = engine.split(':')
  if (type === 'system') return 'sys/'
  return kind === 'auth' ? `auth/${type}/` : `${type}/`
}

test('docs/api-coverage.md says of every route whether it is here', () => {
  const made = text()
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(page, made)
  expect(readFileSync(page, 'utf8'), 'run `UPDATE_DOCS=1 npx vitest run test/unit/docs`').toBe(made)
})
