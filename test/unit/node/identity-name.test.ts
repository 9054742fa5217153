import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { systemRandom } from '#base/random.ts'
import { nodeIdOf } from '#node/identity-name.ts'
import { createClusterCa } from '#transport/certificates.ts'
import { createIdentity, identityPath, saveIdentity } from '#transport/identity.ts'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function folder(): string {
  const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-name-'))
  folders.push(dataDir)
  return dataDir
}

async function saveIdentityOf(dataDir: string, nodeId: string): Promise<void> {
  const options = { clusterId: 'cluster-1', nowMs: Date.now(), random: systemRandom }
  const ca = await createClusterCa(options)
  await saveIdentity(dataDir, await createIdentity(ca, { ...options, nodeId, days: 2 }))
}

const nameFile = (dataDir: string): string => join(dataDir, 'identity', 'node-id')

test('a node without a configured id is given one, once', async () => {
  const dataDir = folder()
  const id = await nodeIdOf(null, dataDir, systemRandom)
  expect(id).toMatch(/^[0-9a-f-]{36}$/)
  expect(await nodeIdOf('', dataDir, systemRandom)).toBe(id)
  expect(await nodeIdOf('configured', dataDir, systemRandom)).toBe('configured')
  expect([readFileSync(nameFile(dataDir), 'utf8'), statSync(nameFile(dataDir)).mode & 0o777]).toEqual([`${id}\n`, 0o600])
  expect(readdirSync(join(dataDir, 'identity'))).toEqual(['node-id'])
})

test.each(['missing', 'empty'])('a file that a power cut left %s: the id is the one of the identity', async (how) => {
  const dataDir = folder()
  await saveIdentityOf(dataDir, 'once-generated')
  if (how === 'empty') writeFileSync(nameFile(dataDir), '')
  expect(await nodeIdOf(null, dataDir, systemRandom)).toBe('once-generated')
})

test('an empty file without an identity counts as none', async () => {
  const dataDir = folder()
  mkdirSync(join(dataDir, 'identity'))
  writeFileSync(nameFile(dataDir), '\n')
  const id = await nodeIdOf(null, dataDir, systemRandom)
  expect(id).toMatch(/^[0-9a-f-]{36}$/)
  expect(await nodeIdOf(null, dataDir, systemRandom)).toBe(id)
})

test('no id is made up beside an identity that is damaged', async () => {
  const dataDir = folder()
  mkdirSync(join(dataDir, 'identity'))
  writeFileSync(identityPath(dataDir), '{}')
  await expect(nodeIdOf(null, dataDir, systemRandom)).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' })
  expect(existsSync(nameFile(dataDir))).toBe(false)
})
