/** The built client, installed as an application would have it, and used by a process of its own. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { StubServer } from '#test/support/stub-server.ts'

const run = promisify(execFile)
const root = resolve('.')
let dir = ''

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-client-'))
  const built = join(dir, 'built')
  await run(process.execPath, ['scripts/build-client.ts', built])
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'application', version: '1.0.0', type: 'module', private: true }))
  // Packed, as a registry would have it; what it needs comes from this clone, so that no registry is asked.
  const packed = await run('npm', ['pack', '--silent', '--pack-destination', dir], { cwd: built })
  const options = ['--offline', '--no-audit', '--no-fund', '--ignore-scripts', '--silent']
  await run('npm', ['install', ...options, join(root, 'node_modules', 'undici'), join(dir, packed.stdout.trim())], { cwd: dir })
}, 60_000)
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Ends with its standard output; only what is given is in its environment. */
async function application(code: string, env: Readonly<Record<string, string>>): Promise<string> {
  const path = join(dir, 'app.js')
  writeFileSync(path, code)
  return (await run(process.execPath, [path], { cwd: dir, env: { PATH: process.env['PATH'], ...env } })).stdout
}

test('reads a secret with what the environment says, over the second of two addresses', async () => {
  await using dead = await StubServer.start(() => ({ status: 503, json: { errors: ['Vault is sealed'] } }))
  await using stub = await StubServer.start(() => ({ json: { data: { data: { password: 'one' }, metadata: { version: 3 } } } }))
  const code = `import { connect, Kv } from '@holdfast/client'
await using client = connect()
const secret = await new Kv(client, 'secret').get('app/db')
console.log(JSON.stringify([secret.version, secret.data]))`
  const out = await application(code, { HOLDFAST_ADDR: `${dead.address},${stub.address}`, VAULT_TOKEN: 's.t', BAO_NAMESPACE: '/team/' })
  expect(JSON.parse(out)).toEqual([3, { password: 'one' }])
  expect(stub.last).toMatchObject({ path: 'secret/data/app/db', headers: { 'x-vault-token': 's.t', 'x-vault-namespace': 'team' } })
})

test('its refusals are told apart by their classes', async () => {
  await using stub = await StubServer.start(() => ({ status: 403, json: { errors: ['permission denied'] } }))
  const code = `import { ApiError, connect } from '@holdfast/client'
await using client = connect({ addresses: [process.env.WHERE], token: 's.t' })
const error = await client.read('a').catch((caught) => caught)
console.log(error instanceof ApiError, error.status, error.errors.join())`
  expect(await application(code, { WHERE: stub.address })).toBe('true 403 permission denied\n')
})

test('its types are found and hold: a number as a token is refused', async () => {
  writeFileSync(
    join(dir, 'typed.ts'),
    `import { connect, Kv, type KvSecret } from '@holdfast/client'
const client = connect({ addresses: ['http://127.0.0.1:1'] })
export const secret: Promise<KvSecret<{ password: string }> | null> = new Kv<{ password: string }>(client, 'secret').get('a')
// @ts-expect-error -- a token is text.
connect({ token: 7 })
`,
  )
  const compilerOptions = { module: 'nodenext', strict: true, noEmit: true, target: 'esnext', types: ['node'], typeRoots: [] as string[] }
  compilerOptions.typeRoots = [join(root, 'node_modules', '@types')]
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['typed.ts'] }))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const said = await run(process.execPath, [tsc, '-p', dir]).then(
    () => '',
    (error: { stdout: string }) => error.stdout,
  )
  expect(said).toBe('')
})

test('it needs one package, and nothing of the clone', () => {
  const manifest = JSON.parse(readFileSync(join(dir, 'built', 'package.json'), 'utf8')) as { dependencies: object }
  expect(Object.keys(manifest.dependencies)).toEqual(['undici'])
  expect(readFileSync(join(dir, 'built', 'client', 'client.js'), 'utf8')).not.toMatch(/from '#|\.ts'/)
})
