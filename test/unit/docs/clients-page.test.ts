/** The table of docs/clients.md: versions are those that the tests run, steps those that they count, and each test is there and names its client. */
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const read = (path: string): string => readFileSync(path, 'utf8')
const rows = [...read('docs/clients.md').matchAll(/^\| `([^`]+)`[^|]* \| ([\d.]+) \| (.+) \| (works.*) \| `([^`]+)`(.*) \|$/gm)].map(
  ([, client = '', version = '', flows = '', , path = '']) => ({ client, version, path, steps: Number(/: (\d+) steps/.exec(flows)?.[1] ?? 0) }),
)
const npm = (JSON.parse(read('package.json')) as { devDependencies: Readonly<Record<string, string>> }).devDependencies
const all = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, found = '']) => found)

const hvac = read('test/compat/hvac.test.ts')
const named = read('test/e2e/full/clients.test.ts')
/** What the tests say themselves, of clients that are no package of ours. */
const others: Readonly<Record<string, { readonly version: string; readonly steps: number }>> = {
  hvac: {
    version: all(hvac, /const version = '([\d.]+)'/g)[0] ?? '',
    steps: all(hvac, /'hvac-\w+\.py', (\d+)\]/g).reduce((sum, count) => sum + Number(count), 0),
  },
  'github.com/openbao/openbao/api/v2': {
    version: all(read('test/e2e/full/openbao-go/go.mod'), /openbao\/api\/v2 v([\d.]+)/g)[0] ?? '',
    steps: Number(all(named, /expect\(steps\)\.toHaveLength\((\d+)\)/g)[0]),
  },
  'consul-template': { version: all(named, /consul-template', 'v([\d.]+)'\)/g)[0] ?? '', steps: 0 },
}

test('six clients are in the table', () => {
  expect(rows.map(({ client }) => client).toSorted()).toEqual(
    ['node-vault', 'hashi-vault-js', '@litehex/node-vault', ...Object.keys(others)].toSorted(),
  )
})

test.each(rows)('$client: version $version, $steps steps', ({ client, version, steps, path }) => {
  expect(existsSync(path), path).toBe(true)
  expect(read(path)).toContain(client)
  const expected = others[client] ?? { version: npm[client], steps: 0 }
  expect({ version, steps }).toEqual(expected)
})
