/**
 * What the examples of the OpenAPI document cannot say, since only the server that was asked knows it: ids, tokens, nonces, leases. With these every
 * operation is sent; what is not has its reason here, with the test that sends it.
 */
import type { HouseNode } from './core-house.ts'

export interface Recipe {
  readonly params?: Readonly<Record<string, string>>
  readonly body?: Readonly<Record<string, unknown>>
  readonly query?: Readonly<Record<string, string>>
  readonly token?: string | null
  readonly namespace?: string
  readonly wrapTtlSeconds?: number
}
/** @param shares of the seal, in base64; two of them open it */
type Make = (node: HouseNode, shares: readonly string[]) => Promise<Recipe> | Recipe

const idOf = async (node: HouseNode, path: string): Promise<string> => (await node.read(path)).body.data.id
const tokenOf = async (node: HouseNode): Promise<{ readonly client_token: string; readonly accessor: string }> =>
  (await node.write('auth/token/create', { ttl: '1h', policies: ['root'], renewable: true })).body.auth
const wrapped = async (node: HouseNode): Promise<string> =>
  (await node.ask({ operation: 'update', method: 'POST', path: 'sys/wrapping/wrap', body: { a: '1' }, wrapTtlSeconds: 60 })).body.wrap_info
    .token
const leaseOf = async (node: HouseNode): Promise<string> => (await node.read('db/creds/app')).body.lease_id
const accessorOf = async (node: HouseNode): Promise<string> => (await node.read('sys/auth/people')).body.data.accessor

const byToken: Make = async (node) => ({ body: { token: (await tokenOf(node)).client_token } })
const byAccessor: Make = async (node) => ({ body: { accessor: (await tokenOf(node)).accessor } })
const asToken: Make = async (node) => ({ token: (await tokenOf(node)).client_token })
const byWrapped: Make = async (node) => ({ body: { token: await wrapped(node) } })
const byLease: Make = async (node) => ({ body: { lease_id: await leaseOf(node) } })
const byLeaseUrl: Make = async (node) => ({ params: { url_lease_id: await leaseOf(node) } })
const named = (params: Readonly<Record<string, string>>, body?: Readonly<Record<string, unknown>>): Recipe => ({
  params,
  ...(body === undefined ? {} : { body }),
})
const made =
  (param: string, path: string, body?: Readonly<Record<string, unknown>>): Make =>
  async (node) =>
    named({ [param]: await idOf(node, path) }, body)
const aliasId =
  (what: 'entity' | 'group', body?: Readonly<Record<string, unknown>>): Make =>
  async (node) => {
    const { data } = (await node.read(`identity/${what}/name/${what === 'entity' ? 'ada' : 'outside'}`)).body
    return named({ id: what === 'entity' ? data.aliases[0].id : data.alias.id }, body)
  }
const method =
  (more: (id: string, node: HouseNode) => Promise<Recipe> | Recipe): Make =>
  async (node) => {
    const { method_id: id } = (await node.write('identity/mfa/method/totp', { issuer: 'holdfast' })).body.data
    return await more(id, node)
  }
const enforced = (body?: Readonly<Record<string, unknown>>): Make =>
  method(async (id, node) => {
    const rule = { mfa_method_ids: [id], auth_method_types: ['userpass'] }
    await node.write('identity/mfa/login-enforcement/ada', rule)
    return named({ name: 'ada' }, body === undefined ? undefined : rule)
  })

/** A rekey from its beginning: what was begun before is given up. Gives its nonce. */
async function beginRekey(node: HouseNode): Promise<string> {
  await node.remove('sys/rekey/init')
  return (await node.write('sys/rekey/init', { secret_shares: 2, secret_threshold: 2, require_verification: true })).body.nonce
}
const rekeying: Make = async (node, [key]) => ({ body: { nonce: await beginRekey(node), key } })
/** New shares that wait for being given back. */
const verifying: Make = async (node, shares) => {
  const nonce = await beginRekey(node)
  await node.write('sys/rekey/update', { nonce, key: shares[0] })
  const { keys_base64, verification_nonce } = (await node.write('sys/rekey/update', { nonce, key: shares[1] })).body
  return { body: { nonce: verification_nonce, key: keys_base64[0] } }
}
const beginning: Make = async (node) => {
  await node.remove('sys/rekey/init')
  return { body: { secret_shares: 2, secret_threshold: 2 } }
}
const generating: Make = async (node, [key]) => {
  await node.remove('sys/generate-root/attempt')
  return { body: { nonce: (await node.write('sys/generate-root/attempt')).body.nonce, key } }
}

const attempting: Make = async (node) => {
  await node.remove('sys/generate-root/attempt')
  return {}
}

let tenants = 0
/** A namespace with a seal of its own, of two shares; each time another one. */
async function tenantOf(node: HouseNode): Promise<{ readonly path: string; readonly shares: readonly string[] }> {
  const path = `tenant${(tenants += 1)}`
  const made = await node.write(`sys/namespaces/${path}`, { seal: 'seal "shamir" { shares = 2 threshold = 2 }' })
  return { path, shares: Object.values(made.body.data.key_shares as Record<string, string[]>).flat() }
}
const tenant =
  (more: (path: string, shares: readonly string[], node: HouseNode) => Promise<Recipe> | Recipe = () => ({})): Make =>
  async (node) => {
    const { path, shares } = await tenantOf(node)
    return { ...named({ path }), ...(await more(path, shares, node)) }
  }
const sealedTenant = (body?: (share: string) => Recipe): Make =>
  tenant(async (path, [share = ''], node) => {
    await node.write(`sys/namespaces/${path}/seal`)
    return body?.(share) ?? {}
  })
async function beginTenant(node: HouseNode, path: string): Promise<string> {
  const begun = await node.write(`sys/namespaces/${path}/rekey/init`, { secret_shares: 2, secret_threshold: 2, require_verification: true })
  return begun.body.data.nonce
}

const header = { name: 'X-Team' }
const ada = { username: 'ada' }

/** By method and path of the document; a path is sent with `params` in place of, and beside, its examples. */
export const recipes: Readonly<Record<string, Make>> = {
  'get /sys/remount/status/{migration_id}': async (node) => {
    const { migration_id } = (await node.write('sys/remount', { from: 'kv1', to: 'moved' })).body.data
    return named({ migration_id })
  },
  'post /sys/capabilities': async (node) => ({ body: { token: (await tokenOf(node)).client_token, paths: ['sys/mounts'] } }),
  'post /sys/capabilities-accessor': async (node) => ({ body: { accessor: (await tokenOf(node)).accessor, paths: ['sys/mounts'] } }),
  'post /sys/audit/{path}': () => named({ path: 'second' }, { type: 'file', options: { file_path: 'second.log' } }),
  'delete /sys/audit/{path}': () => named({ path: 'file' }),
  'post /sys/audit-hash/{path}': () => named({ path: 'file' }, { input: 'hello' }),
  'get /sys/config/auditing/request-headers/{name}': async (node) => {
    await node.write('sys/config/auditing/request-headers/X-Team', { hmac: true })
    return named(header)
  },
  'post /sys/config/auditing/request-headers/{name}': () => named(header, { hmac: true }),
  'delete /sys/config/auditing/request-headers/{name}': () => named(header),
  'post /sys/rekey/init': beginning,
  'post /sys/rotate/root/init': beginning,
  'post /sys/rekey/update': rekeying,
  'post /sys/rotate/root/update': rekeying,
  'get /sys/rekey/verify': verifying,
  'post /sys/rekey/verify': verifying,
  'delete /sys/rekey/verify': verifying,
  'get /sys/rotate/root/verify': verifying,
  'post /sys/rotate/root/verify': verifying,
  'delete /sys/rotate/root/verify': verifying,
  'post /sys/generate-root/update': generating,
  'post /sys/generate-root-token/update': generating,
  'post /sys/generate-root/attempt': attempting,
  'post /sys/generate-root-token/attempt': attempting,
  'post /sys/wrapping/wrap': () => ({ body: { a: '1' }, wrapTtlSeconds: 60 }),
  'get /sys/leases': () => ({ query: { type: 'irrevocable' } }),
  'get /sys/leases/count': () => ({ query: { type: 'irrevocable' } }),
  'get /sys/namespaces/{path}/seal-status': tenant(),
  'post /sys/namespaces/{path}/seal': tenant(),
  'post /sys/namespaces/{path}/unseal': sealedTenant((key) => ({ body: { key } })),
  'delete /sys/namespaces/{path}/delete-sealed': sealedTenant(),
  'get /sys/namespaces/{path}/key-status': tenant(),
  'post /sys/namespaces/{path}/rotate': tenant(),
  'get /sys/namespaces/{path}/rekey/init': tenant(),
  'post /sys/namespaces/{path}/rekey/init': tenant(() => ({ body: { secret_shares: 2, secret_threshold: 2 } })),
  'delete /sys/namespaces/{path}/rekey/init': tenant(),
  'post /sys/namespaces/{path}/rekey/update': tenant(async (path, [key], node) => ({
    body: { nonce: await beginTenant(node, path), key },
  })),
  'post /sys/namespaces/{path}/rekey/verify': tenant(async (path, shares, node) => {
    const nonce = await beginTenant(node, path)
    let done: { keys_base64?: string[]; verification_nonce?: string } = {}
    for (const key of shares) done = (await node.write(`sys/namespaces/${path}/rekey/update`, { nonce, key })).body.data
    return { body: { nonce: done.verification_nonce, key: done.keys_base64?.[0] } }
  }),
  'post /sys/namespaces/api-lock/lock': () => ({ namespace: 'team' }),
  'post /sys/namespaces/api-lock/unlock': async (node) => {
    await node.write('sys/namespaces/api-lock/lock/team')
    return { namespace: 'team' }
  },
  'post /sys/decode-token': () => ({ body: { encoded_token: Buffer.from('ab').toString('base64'), otp: 'cd' } }),
  'delete /sys/storage/raft/join-token/{id}': () => named({ id: 'one' }),
  'post /sys/locked-users/{mount_accessor}/unlock/{alias_identifier}': async (node) =>
    named({ mount_accessor: await accessorOf(node), alias_identifier: 'ada' }),
  'post /sys/wrapping/unwrap': byWrapped,
  'get /sys/wrapping/lookup': async (node) => ({ token: await wrapped(node) }),
  'post /sys/wrapping/lookup': byWrapped,
  'post /sys/wrapping/rewrap': byWrapped,
  'post /sys/leases/lookup': byLease,
  'post /sys/leases/renew': byLease,
  'post /sys/leases/renew/{url_lease_id}': byLeaseUrl,
  'post /sys/leases/revoke': byLease,
  'post /sys/leases/revoke/{url_lease_id}': byLeaseUrl,
  'post /sys/renew': byLease,
  'post /sys/renew/{url_lease_id}': byLeaseUrl,
  'post /sys/revoke': byLease,
  'post /sys/revoke/{url_lease_id}': byLeaseUrl,
  'get /identity/entity/id/{id}': made('id', 'identity/entity/name/ada'),
  'post /identity/entity/id/{id}': made('id', 'identity/entity/name/ada', { metadata: { team: 'a' } }),
  'delete /identity/entity/id/{id}': made('id', 'identity/entity/name/ada'),
  'post /identity/entity/batch-delete': async (node) => ({ body: { entity_ids: [await idOf(node, 'identity/entity/name/ada')] } }),
  'post /identity/entity/merge': async (node) => {
    await node.write('identity/entity', { name: 'other' })
    const [to_entity_id, from] = [await idOf(node, 'identity/entity/name/ada'), await idOf(node, 'identity/entity/name/other')]
    return { body: { to_entity_id, from_entity_ids: [from] } }
  },
  'post /identity/entity-alias': async (node) => ({
    body: { name: 'ada', mount_accessor: await accessorOf(node), canonical_id: await idOf(node, 'identity/entity/name/ada') },
  }),
  'get /identity/entity-alias/id/{id}': aliasId('entity'),
  'post /identity/entity-alias/id/{id}': aliasId('entity', { custom_metadata: { team: 'a' } }),
  'delete /identity/entity-alias/id/{id}': aliasId('entity'),
  'post /identity/group': () => ({ body: { name: 'ada', policies: ['default'] } }),
  'get /identity/group/id/{id}': made('id', 'identity/group/name/ada'),
  'post /identity/group/id/{id}': made('id', 'identity/group/name/ada', { metadata: { team: 'a' } }),
  'delete /identity/group/id/{id}': made('id', 'identity/group/name/ada'),
  'post /identity/group-alias': async (node) => {
    await node.write('identity/group', { name: 'further', type: 'external' })
    await node.remove(`identity/group-alias/id/${(await node.read('identity/group/name/further')).body.data.alias.id}`)
    return {
      body: { name: 'others', mount_accessor: await accessorOf(node), canonical_id: await idOf(node, 'identity/group/name/further') },
    }
  },
  'get /identity/group-alias/id/{id}': aliasId('group'),
  'post /identity/group-alias/id/{id}': async (node) => ({
    ...(await aliasId('group')(node, [])),
    body: { name: 'them', mount_accessor: await accessorOf(node), canonical_id: await idOf(node, 'identity/group/name/outside') },
  }),
  'delete /identity/group-alias/id/{id}': aliasId('group'),
  'post /identity/mfa/method/totp': () => ({ body: { issuer: 'holdfast' } }),
  'get /identity/mfa/method/totp/{method_id}': method((method_id) => named({ method_id })),
  'post /identity/mfa/method/totp/{method_id}': method((method_id) => named({ method_id }, { issuer: 'holdfast' })),
  'delete /identity/mfa/method/totp/{method_id}': method((method_id) => named({ method_id })),
  'get /identity/mfa/method/{method_id}': method((method_id) => named({ method_id })),
  'post /identity/mfa/method/totp/admin-generate': method(async (method_id, node) => ({
    body: { method_id, entity_id: await idOf(node, 'identity/entity/name/ada') },
  })),
  'post /identity/mfa/method/totp/admin-destroy': method(async (method_id, node) => ({
    body: { method_id, entity_id: await idOf(node, 'identity/entity/name/ada') },
  })),
  'get /identity/mfa/method/': method(() => ({})),
  'get /identity/mfa/method/totp/': method(() => ({})),
  'get /identity/mfa/login-enforcement/': enforced(),
  'get /identity/mfa/login-enforcement/{name}': enforced(),
  'post /identity/mfa/login-enforcement/{name}': enforced({}),
  'delete /identity/mfa/login-enforcement/{name}': enforced(),
  'post /identity/oidc/introspect': () => ({ body: { token: 'none' } }),
  'post /auth/token/create/{role_name}': () => named({ role_name: 'ci' }, { ttl: '1h' }),
  'get /auth/token/lookup': asToken,
  'post /auth/token/lookup': byToken,
  'post /auth/token/lookup-accessor': byAccessor,
  'post /auth/token/renew': byToken,
  'post /auth/token/renew-self': asToken,
  'post /auth/token/renew-accessor': byAccessor,
  'post /auth/token/revoke': byToken,
  'post /auth/token/revoke-self': asToken,
  'post /auth/token/revoke-accessor': byAccessor,
  'post /auth/token/revoke-orphan': byToken,
  'get /auth/token/roles/{role_name}': () => named({ role_name: 'ci' }),
  'post /auth/token/roles/{role_name}': () => named({ role_name: 'ci' }, { renewable: true }),
  'delete /auth/token/roles/{role_name}': () => named({ role_name: 'ci' }),
  'post /transit/decrypt/{name}': async (node) => ({ body: { ciphertext: await ciphertext(node) } }),
  'post /transit/rewrap/{name}': async (node) => ({ body: { ciphertext: await ciphertext(node) } }),
  'post /auth/people/login/{username}': () => ({ ...named(ada, { password: 'correct horse' }), token: null }),
  'get /auth/people/users/{username}': () => named(ada),
  'post /auth/people/users/{username}': () => named(ada, { password: 'correct horse' }),
  'delete /auth/people/users/{username}': () => named(ada),
  'post /auth/people/users/{username}/password': () => named(ada, { password: 'battery staple' }),
  'post /auth/people/users/{username}/policies': () => named(ada, { token_policies: ['default'] }),
}

const ciphertext = async (node: HouseNode): Promise<string> =>
  (await node.write('transit/encrypt/seal', { plaintext: Buffer.from('hello').toString('base64') })).body.data.ciphertext
