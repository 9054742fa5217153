/** The npm client `hashi-vault-js`, unmodified: what it offers of unseal, token, kv, list and errors. It sends the method LIST, over TLS here. */
import Vault from 'hashi-vault-js'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { mountKv, startCluster, type TestCluster } from '#test/support/cluster.ts'

/** Its own declarations leave most answers untyped. */
interface HashiVault {
  healthCheck(params?: object): Promise<{ sealed: boolean; initialized: boolean }>
  sealStatus(): Promise<{ sealed: boolean; t: number; n: number }>
  sysSeal(token: string): Promise<unknown>
  sysUnseal(token: string, key: string, reset?: boolean, migrate?: boolean): Promise<{ sealed: boolean; progress: number }>
  sysCapabilitiesSelf(token: string, paths: string[]): Promise<Record<string, string[]>>
  createToken(token: string, params: object): Promise<{ client_token: string; accessor: string; lease_duration: number }>
  lookupToken(token: string, clientToken: string): Promise<{ policies: string[]; ttl: number }>
  lookupSelfToken(token: string): Promise<{ id: string }>
  renewSelfToken(token: string, increment: string): Promise<{ lease_duration: number }>
  listAccessors(token: string): Promise<{ keys: string[] }>
  lookupAccessor(token: string, accessor: string): Promise<{ accessor: string }>
  revokeAccessor(token: string, accessor: string): Promise<unknown>
  revokeSelfToken(token: string): Promise<unknown>
  readKVEngineConfig(token: string, mount: string): Promise<{ max_versions: number }>
  createKVSecret(token: string, name: string, secrets: object, mount: string): Promise<{ version: number }>
  updateKVSecret(token: string, name: string, secrets: object, version: number, mount: string): Promise<{ version: number }>
  readKVSecret(
    token: string,
    name: string,
    version: number | undefined,
    mount: string,
  ): Promise<{ data: object; metadata: { version: number } }>
  deleteLatestVerKVSecret(token: string, name: string, mount: string): Promise<unknown>
  undeleteVersionsKVSecret(token: string, name: string, versions: number[], mount: string): Promise<unknown>
  destroyVersionsKVSecret(token: string, name: string, versions: number[], mount: string): Promise<unknown>
  listKVSecrets(token: string, folder: string, mount: string): Promise<{ keys: string[] }>
  readKVSecretMeta(token: string, name: string, mount: string): Promise<{ current_version: number }>
  eliminateKVSecret(token: string, name: string, mount: string): Promise<unknown>
}

describe('hashi-vault-js', () => {
  let running: TestCluster
  let vault: HashiVault
  let root: string

  beforeAll(async () => {
    running = await startCluster({ nodes: 1, tls: true })
    await mountKv(running.cluster, 'kv')
    root = running.cluster.rootToken
    const params = {
      https: true,
      baseUrl: `${running.cluster.nodes[0]?.apiAddress}/v1`,
      cacert: running.cluster.caPath as string,
      timeout: 10_000,
    }
    vault = new Vault(params) as unknown as HashiVault
  })
  afterAll(() => running?.dispose())

  test('kv v2: create, update by check-and-set, read, list, delete, undelete, destroy', async () => {
    expect((await vault.readKVEngineConfig(root, 'kv')).max_versions).toBe(0)
    expect((await vault.createKVSecret(root, 'a/one', { n: 1 }, 'kv')).version).toBe(1)
    expect((await vault.updateKVSecret(root, 'a/one', { n: 2 }, 1, 'kv')).version).toBe(2)
    // On this failure the client prints the whole request, its token included: not into our output.
    const silenced = vi.spyOn(console, 'log').mockImplementation(() => {})
    await expect(vault.updateKVSecret(root, 'a/one', { n: 3 }, 1, 'kv')).rejects.toMatchObject({
      isVaultError: true,
      response: { status: 400, data: { errors: ['check-and-set parameter did not match the current version'] } },
    })
    silenced.mockRestore()
    expect(await vault.readKVSecret(root, 'a/one', undefined, 'kv')).toMatchObject({ data: { n: 2 }, metadata: { version: 2 } })
    expect(await vault.readKVSecret(root, 'a/one', 1, 'kv')).toMatchObject({ data: { n: 1 } })
    expect((await vault.listKVSecrets(root, 'a', 'kv')).keys).toEqual(['one'])
    await vault.deleteLatestVerKVSecret(root, 'a/one', 'kv')
    await expect(vault.readKVSecret(root, 'a/one', undefined, 'kv')).rejects.toMatchObject({ response: { status: 404 } })
    await vault.undeleteVersionsKVSecret(root, 'a/one', [2], 'kv')
    expect(await vault.readKVSecret(root, 'a/one', undefined, 'kv')).toMatchObject({ data: { n: 2 } })
    await vault.destroyVersionsKVSecret(root, 'a/one', [1], 'kv')
    await expect(vault.readKVSecret(root, 'a/one', 1, 'kv')).rejects.toMatchObject({ response: { status: 404 } })
    expect((await vault.readKVSecretMeta(root, 'a/one', 'kv')).current_version).toBe(2)
    await vault.eliminateKVSecret(root, 'a/one', 'kv')
    await expect(vault.listKVSecrets(root, 'a', 'kv')).rejects.toMatchObject({ response: { status: 404, data: { errors: [] } } })
  })

  test('tokens: create, lookup, renew, accessors, revoke', async () => {
    const made = await vault.createToken(root, { policies: ['default'], ttl: '30m' })
    expect(made.lease_duration).toBe(1_800)
    expect((await vault.lookupToken(root, made.client_token)).policies).toEqual(['default'])
    expect((await vault.lookupSelfToken(made.client_token)).id).toBe(made.client_token)
    expect((await vault.renewSelfToken(made.client_token, '1h')).lease_duration).toBe(3_600)
    expect((await vault.listAccessors(root)).keys).toContain(made.accessor)
    expect((await vault.lookupAccessor(root, made.accessor)).accessor).toBe(made.accessor)
    expect(await vault.sysCapabilitiesSelf(made.client_token, ['auth/token/lookup-self'])).toMatchObject({
      'auth/token/lookup-self': ['read'],
    })
    await vault.revokeAccessor(root, made.accessor)
    await expect(vault.lookupSelfToken(made.client_token)).rejects.toMatchObject({
      isVaultError: true,
      response: { status: 403, data: { errors: ['permission denied'] } },
    })
    const other = await vault.createToken(root, { policies: ['default'] })
    await vault.revokeSelfToken(other.client_token)
    await expect(vault.lookupSelfToken(other.client_token)).rejects.toMatchObject({ response: { status: 403 } })
  })

  test('seal, health of a sealed node, unseal', async () => {
    expect(await vault.sealStatus()).toMatchObject({ sealed: false, t: 3, n: 5 })
    await vault.sysSeal(root)
    // The process is replaced, and answers nobody for a moment.
    await expect
      .poll(
        async () =>
          vault.sealStatus().then(
            ({ sealed }: { sealed: boolean }) => sealed,
            () => false,
          ),
        { timeout: 10_000 },
      )
      .toBe(true)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    await running.cluster.waitForAnswer(running.cluster.nodes[0] as (typeof running.cluster.nodes)[number])
    await expect(vault.readKVSecret(root, 'x', undefined, 'kv')).rejects.toMatchObject({
      response: { status: 503, data: { errors: ['Vault is sealed'] } },
    })
    const keys = running.cluster.keys.unseal_keys_b64
    expect(await vault.sysUnseal('', keys[0] as string)).toMatchObject({ sealed: true, progress: 1 })
    await vault.sysUnseal('', keys[3] as string)
    expect(await vault.sysUnseal('', keys[4] as string)).toMatchObject({ sealed: false })
    await expect.poll(async () => (await vault.healthCheck()).sealed).toBe(false)
  })
})
