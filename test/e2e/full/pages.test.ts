/** The pages for users: their commands run in order, as a reader would, and what comes out compared with what they show. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { runCommand, type Ran, type RunOptions } from '#test/support/cli.ts'
import { mountKv, startCluster, type TestCluster } from '#test/support/cluster.ts'
import { blocksOf, commandsOf } from '#test/support/doc-pages.ts'
import { replayed, shown } from '#test/support/doc-pages-replay.ts'
import { Terminal } from '../../../scripts/tour/terminal.ts'

let running: TestCluster
let address = ''
let token = ''
let dir = ''
beforeAll(async () => {
  running = await startCluster({ nodes: 1 })
  address = running.cluster.nodes[0]?.apiAddress ?? ''
  token = running.cluster.rootToken
  dir = mkdtempSync(join(tmpdir(), 'holdfast-cli-e2e-'))
  await mountKv(running.cluster, 'secret')
})
afterAll(async () => {
  await running?.dispose()
  rmSync(dir, { recursive: true, force: true })
})

/** In this process: a command costs milliseconds. */
const hf = async (line: string | readonly string[], options: RunOptions = {}): Promise<Ran> =>
  await runCommand(line, { address, home: dir, ...options, env: { HOLDFAST_TOKEN: token, ...options.env } })

/** As `hf`, which must end well. @returns its standard output. */
async function ok(line: string | readonly string[], options: RunOptions = {}): Promise<string> {
  const ran = await hf(line, options)
  expect([ran.code, ran.err], `holdfast ${String(line)}`).toEqual([0, expect.not.stringContaining('error:')])
  return ran.out
}

describe('pages for users', () => {
  /** What a page finds in its folder before its first command. */
  const files: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    'docs/run.md': { 'key.pem': 'KEY\n' },
    'docs/kv.md': { '.env': "DB_USER=shop\nDB_PASSWORD='it is $ecret'\n" },
  }

  const pages = ['docs/run.md', 'docs/cli.md', 'docs/kv.md', 'docs/getting-started.md']

  test.each(pages)('%s shows what comes out', { timeout: 900_000 }, async (path) => {
    const folder = mkdtempSync(join(dir, 'page-'))
    const bin = mkdtempSync(join(dir, 'bin-'))
    writeFileSync(join(bin, 'holdfast'), `#!/bin/sh\nexec ${process.execPath} ${resolve('cmd/holdfast.mjs')} "$@"\n`, { mode: 0o700 })
    writeFileSync(join(bin, 'npx'), '#!/bin/sh\nexec "$@"\n', { mode: 0o700 })
    for (const [name, content] of Object.entries(files[path] ?? {})) writeFileSync(join(folder, name), content)
    // Pages begin with an empty cluster of their own; here each has the mount that the page speaks of, but for the one that begins by making it.
    await hf('secrets disable secret')
    if (path !== 'docs/getting-started.md') await mountKv(running.cluster, 'secret')
    const env = {
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      HOME: folder,
      LANG: 'C.UTF-8',
      HOLDFAST_ADDR: address,
      HOLDFAST_TOKEN: token,
    }
    const terminal = new Terminal({ cwd: folder, env, prelude: 'true' })
    const third: { readonly child: ChildProcess; readonly expected: string; out: string }[] = []
    let commands = 0
    try {
      const { page, again } = await replayed(path, async (block) => {
        if (block.language === 'js' && block.note !== '') writeFileSync(join(folder, block.note), block.body)
        if (block.language !== 'console') return block.body
        if (block.note === 'third-terminal') {
          const [command] = commandsOf(block.body)
          const child = spawn('bash', ['-c', `exec ${command?.line ?? ''}`], {
            cwd: folder,
            env: { ...env, USER: 'me' },
            stdio: ['ignore', 'pipe', 'pipe'],
          })
          const running = { child, expected: command?.output ?? '', out: '' }
          third.push(running)
          for (const stream of [child.stdout, child.stderr]) stream?.on('data', (part: Buffer) => (running.out += part.toString()))
          await vi.waitFor(() => expect(running.out).toBe(running.expected.slice(0, running.expected.indexOf('\n') + 1)), {
            timeout: 30_000,
          })
          return block.body
        }
        let body = ''
        for (const { line } of commandsOf(block.body)) {
          commands += 1
          body += `$ ${line}\n${shown(await terminal.run(line, block.note === 'exit-2' ? 2 : 0), address)}`
        }
        return body
      })
      for (const { out, expected } of third)
        await vi.waitFor(() => expect(third.find((one) => one.expected === expected)?.out ?? out).toBe(expected), { timeout: 60_000 })
      if (process.env['UPDATE_DOCS'] === '1') writeFileSync(path, again)
      else expect(again).toBe(page)
      expect(commands).toBeGreaterThan(4)
    } finally {
      for (const { child } of third) child.kill('SIGTERM')
      await terminal.close()
    }
  })

  test('docs/client.md: its examples run with the built package', { timeout: 900_000 }, async () => {
    const app = mkdtempSync(join(dir, 'app-'))
    const execute = promisify(execFile)
    await execute(process.execPath, ['scripts/build-client.ts', join(app, 'built')])
    writeFileSync(join(app, 'package.json'), '{"type":"module","private":true}')
    const undici = resolve('node_modules/undici')
    await execute('npm', ['install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts', '--silent', undici, './built'], {
      cwd: app,
    })
    writeFileSync(join(app, 'ca.pem'), '')
    await hf('secrets disable secret')
    await mountKv(running.cluster, 'secret')
    await ok('kv put secret/app/db user=app password=x')
    await ok('policy write docs-app -', { stdin: 'path "secret/data/*" { capabilities = ["read"] }' })
    await ok('auth enable approle')
    await ok('write auth/approle/role/docs token_policies=docs-app token_ttl=1h')
    const role = await ok('read -field=role_id auth/approle/role/docs/role-id')
    const secret = await ok('write -force -field=secret_id auth/approle/role/docs/secret-id')
    const env = { PATH: process.env['PATH'] ?? '', HOLDFAST_ADDR: address, HOLDFAST_TOKEN: token, ROLE_ID: role, SECRET_ID: secret }
    const printed: string[] = []
    for (const [at, { body }] of blocksOf(readFileSync('docs/client.md', 'utf8'))
      .filter(({ language }) => language === 'js')
      .entries()) {
      writeFileSync(join(app, `example${at}.js`), body)
      printed.push((await execute(process.execPath, [`example${at}.js`], { cwd: app, env })).stdout.trim())
    }
    expect(printed).toEqual(["1 [ 'user', 'password' ]", '', '', '1', ''])
    expect(statSync(join(app, 'cluster.snap')).size).toBeGreaterThan(1_000)
    expect(JSON.parse(await ok('kv export secret/app/counter'))).toEqual({ n: 1 })
  })
})
