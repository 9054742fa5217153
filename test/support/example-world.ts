/** What the examples of the OpenAPI document speak of: mounts, policies, people, secrets of these names. */

/** Writes and deletes, wherever the server is. Refusals are not errors: what is there already may stay. */
export interface Writer {
  write(path: string, body?: Record<string, unknown>): Promise<unknown>
  remove(path: string): Promise<unknown>
  // oxlint-disable-next-line typescript/no-explicit-any -- parsed JSON of any answer
  read(path: string): Promise<{ readonly body: any }>
}

/** Made again before each example: the one before may have deleted it. */
export async function populateExamples(node: Writer): Promise<void> {
  const rule = 'path "secret/data/app/*" { capabilities = ["read"] }'
  for (const path of ['sys/mounts/moved', 'sys/namespaces/api-lock/unlock/team'])
    await (path.includes('unlock') ? node.write(path) : node.remove(path))
  await node.write('sys/mounts/secret', { type: 'kv', options: { version: '2' } })
  await node.write('sys/mounts/kv1', { type: 'kv' })
  await node.write('sys/mounts/transit', { type: 'transit' })
  await node.write('sys/auth/people', { type: 'userpass' })
  await node.write('sys/policies/acl/app', { policy: rule })
  await node.write('sys/policies/acl/app/part', { policy: rule })
  await node.write('sys/policies/password/digits', { policy: 'length = 8\nrule "charset" { charset = "0123456789" }' })
  await node.write('sys/roles/operators', { policies: ['app'] })
  await node.write('sys/namespaces/team', {})
  await node.write('sys/config/ui/headers/X-Frame-Options', { values: ['DENY'] })
  await node.write('sys/storage/raft/snapshot-auto/config/nightly', { interval: '24h', storage_type: 'local' })
  for (const [kind, body] of [
    ['rate-limit', { rate: 100_000 }],
    ['lease-count', { max_leases: 100_000 }],
    ['request-limits', { max_request_bytes: 1_048_576 }],
  ] as const)
    await node.write(`sys/quotas/${kind}/everybody`, body)
  await node.write('auth/token/create', { ttl: '1h', policies: ['default'] })
  await node.write('secret/data/team/database', { data: { username: 'app', password: 'x' } })
  await node.write('kv1/team/database', { username: 'app' })
  await node.write('transit/keys/seal')
  await node.write('transit/keys/seal/config', { deletion_allowed: true })
  await node.write('cubbyhole/mine', { note: 'x' })
  await node.write('identity/entity', { name: 'ada' })
  await node.write('identity/group', { name: 'ada' })
  await node.write('identity/group', { name: 'outside', type: 'external' })
  await node.write('identity/oidc/key/ada', { algorithm: 'EdDSA' })
  await node.write('identity/oidc/role/ada', { key: 'default' })
  await node.remove('identity/oidc/client/ada')
  await node.write('identity/oidc/assignment/ada')
  await node.write('identity/oidc/scope/ada')
  await node.write('identity/oidc/client/ada')
  await node.write('identity/oidc/provider/ada')
  await node.write('auth/people/users/ada', { password: 'correct horse' })
  const mount_accessor = (await node.read('sys/auth/people')).body.data.accessor
  const canonical = async (what: string, name: string): Promise<string> => (await node.read(`identity/${what}/name/${name}`)).body.data.id
  await node.write('identity/entity-alias', { name: 'ada', mount_accessor, canonical_id: await canonical('entity', 'ada') })
  await node.write('identity/group-alias', { name: 'them', mount_accessor, canonical_id: await canonical('group', 'outside') })
  await node.write('auth/token/roles/ci', { renewable: true })
}
