/** docs/migrate.md: what its commands print is what they print, between two cores. `UPDATE_DOCS=1 vitest run test/unit/docs` writes it anew. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runCommand } from '#test/support/cli.ts'
import { openHouse } from '#test/support/core-house.ts'
import { commandsOf } from '#test/support/doc-pages.ts'
import { replayed } from '#test/support/doc-pages-replay.ts'
import { frontOf, type House } from '#test/support/house-front.ts'

const path = 'docs/migrate.md'

/** What the page's Vault has. */
async function furnish({ node }: House): Promise<void> {
  const put = async (at: string, body: Record<string, unknown>): Promise<void> => {
    const { status, text } = await node.write(at, body)
    expect(status, `${at}: ${text}`).toBeLessThan(300)
  }
  await put('sys/mounts/secret', { type: 'kv', options: { version: '2' } })
  await put('sys/mounts/transit', { type: 'transit' })
  for (const n of [1, 2, 3]) await put('secret/data/app/db', { data: { password: `p${n}` } })
  await put('secret/delete/app/db', { versions: [1] })
  await put('secret/data/app/api', { data: { key: 'k' } })
  await put('sys/policies/acl/app', { policy: 'path "secret/data/app/*" { capabilities = ["read"] }' })
  await put('sys/auth/approle', { type: 'approle' })
  await put('auth/approle/role/ci', { token_policies: ['app'] })
  await put('sys/auth/people', { type: 'userpass' })
  await put('auth/people/users/ada', { password: 'x', token_policies: ['app'] })
}

test('the page shows what comes out', async () => {
  const [from, to] = [await openHouse(), await openHouse()]
  const named = (id: string) => (asked: { readonly path: string }) =>
    asked.path === 'sys/seal-status' ? { json: { cluster_id: id } } : undefined
  await using source = await frontOf(from, named('source'))
  await using target = await frontOf(to, named('target'))
  await furnish(from)
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-page-'))
  const file = join(dir, 'vault.token')
  writeFileSync(file, from.rootToken)
  let commands = 0
  try {
    const { page, again } = await replayed(path, async ({ language, body }) => {
      if (language !== 'console') return body
      let shown = ''
      for (const { line } of commandsOf(body)) {
        commands += 1
        const words = line.replace('vault.token', file).replace('holdfast ', '')
        const env = { HOLDFAST_TOKEN: to.rootToken, HOLDFAST_FROM_ADDR: source.address }
        const ran = await runCommand(words, { address: target.address, env })
        expect([ran.code, ran.err]).toEqual([0, ''])
        shown += `$ ${line}\n${ran.out}`
      }
      return shown
    })
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(path, again)
    else expect(again).toBe(page)
    expect(commands).toBe(3)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
