/** The AWS KMS seal on three nodes against moto: what it does while KMS is away, slow, throttling, refusing; regions; another key. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { recordFigures } from '#test/support/figures.ts'
import { Moto } from '#test/support/moto.ts'
import { SealCluster, seconds } from '#test/support/seal-cluster.ts'
import { serving, type ServerProcess, until } from '#test/support/server-process.ts'

interface Made {
  readonly first: string
  readonly second: string
  readonly id: string
  readonly secret: string
}

let cluster: SealCluster
let moto: Moto
let made: Made
const figures: Record<string, number> = {}
const stanza = (more = ''): string => `seal "awskms" {
  region     = "eu-central-1"
  kms_key_id = "alias/holdfast"
  endpoint   = "${moto.address}"
  ${more}
}`

beforeAll(async () => {
  cluster = await SealCluster.prepare('kms')
  moto = await Moto.start(Number(new URL(cluster.first.apiAddress).port) + 10)
  made = await moto.script<Made>(`
kms = client('kms')
keys = [kms.create_key()['KeyMetadata']['KeyId'] for _ in range(2)]
kms.create_alias(AliasName='alias/holdfast', TargetKeyId=keys[0])
west = client('kms', 'us-west-2')
west.create_alias(AliasName='alias/holdfast', TargetKeyId=west.create_key()['KeyMetadata']['KeyId'])
iam = client('iam')
iam.create_user(UserName='holdfast')
allow = {'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Action': ['kms:Encrypt', 'kms:Decrypt'], 'Resource': '*'}]}
iam.put_user_policy(UserName='holdfast', PolicyName='seal', PolicyDocument=json.dumps(allow))
key = iam.create_access_key(UserName='holdfast')['AccessKey']
print(json.dumps({'first': keys[0], 'second': keys[1], 'id': key['AccessKeyId'], 'secret': key['SecretAccessKey']}))
`)
  await moto.enforce()
  Object.assign(cluster.env, { AWS_ACCESS_KEY_ID: made.id, AWS_SECRET_ACCESS_KEY: made.secret, AWS_EC2_METADATA_DISABLED: 'true' })
  cluster.configure(stanza())
}, 180_000)
afterAll(async () => {
  recordFigures('seal-awskms', 'vitest run --config vitest.e2e.config.ts test/e2e/seals/awskms.test.ts', figures)
  await cluster?.dispose()
  await moto?.stop()
})

const third = (): ServerProcess => cluster.nodes[2] as ServerProcess

test('init refuses at once, and founds nothing, while KMS is away; then three nodes join and open by themselves', async () => {
  moto.mood = { kind: 'reset' }
  await cluster.first.startAndAnswer(cluster.env)
  const refused = await cluster.first.call('POST', 'sys/init', { body: {}, timeoutMs: 60_000 })
  expect([refused.status, refused.body?.['errors']]).toEqual([
    502,
    [expect.stringMatching(/^seal awskms expected an answer from KMS in eu-central-1, got ECONNRESET$/)],
  ])
  expect((await cluster.first.call('GET', 'sys/init')).body).toEqual({ initialized: false })
  await cluster.first.stop()
  moto.mood = { kind: 'pass' }
  figures['init_to_three_open_seconds'] = await cluster.found()
  expect((await cluster.sealStatus(third())).body).toMatchObject({ type: 'awskms', sealed: false, recovery_seal: true, t: 2, n: 3 })
  await cluster.mountKv()
  expect(await cluster.put('one')).toBe(200)
})

test('kill -9 of all, restart: open by itself, with the data', async () => {
  await cluster.killAll()
  figures['restart_to_three_open_seconds'] = await cluster.restartAll()
  for (const node of cluster.nodes) expect(await cluster.value(node)).toBe('one')
})

test('KMS away at start: all start, vote, stay sealed, say why; they open when it is back', async () => {
  await cluster.killAll()
  moto.mood = { kind: 'reset' }
  await Promise.all(cluster.nodes.map((node) => node.startAndAnswer(cluster.env)))
  for (const node of cluster.nodes) {
    const why = await cluster.saysWhy(node, /network|expected an answer from KMS in eu-central-1, got ECONNRESET/)
    expect((await node.call('GET', 'sys/health')).body).toMatchObject({ sealed: true, cause: why })
    await cluster.logs(node, /"fault":"network".*this node stays sealed and tries again/)
  }
  // A sealed node still votes and hears of its leader.
  await until('a leader to be known', async () => ((await cluster.first.call('GET', 'sys/leader')).status === 200 ? true : null), 5_000)
  const started = performance.now()
  moto.mood = { kind: 'pass' }
  await cluster.allServe()
  figures['back_to_three_open_seconds'] = seconds(started)
  expect(await cluster.value(third())).toBe('one')
  expect((await cluster.sealStatus(third())).body?.['warnings']).toBeUndefined()
})

test('a KMS that accepts and never answers costs a bounded wait, and opens when it answers', async () => {
  await third().stop()
  moto.mood = { kind: 'hang' }
  await third().startAndAnswer(cluster.env)
  const started = performance.now()
  await cluster.saysWhy(third(), /expected an answer in time from KMS in eu-central-1/, 60_000)
  figures['hanging_kms_named_after_seconds'] = seconds(started)
  moto.mood = { kind: 'pass' }
  await serving(third(), 60_000)
})

test.each([
  [
    'throttled',
    { status: 400, type: 'ThrottlingException' },
    /expected fewer calls or a higher quota from KMS in eu-central-1, got ThrottlingException/,
  ],
  [
    'key',
    { status: 400, type: 'DisabledException' },
    /expected the enabled key that wrapped it from KMS in eu-central-1, got DisabledException/,
  ],
  [
    'credentials',
    { status: 400, type: 'ExpiredTokenException' },
    /expected credentials that may use the key from KMS .*, got ExpiredTokenException/,
  ],
  ['network', { status: 500, type: 'KMSInternalException' }, /expected an answer from KMS in eu-central-1, got KMSInternalException/],
] as const)('what KMS refuses with is told apart: %s', async (cause, answer, expected) => {
  const { token } = cluster.founded
  moto.mood = { kind: 'answer', ...answer }
  const refused = await cluster.first.call('POST', 'sys/sealwrap/rewrap', { token, timeoutMs: 30_000 })
  expect([refused.status, refused.body?.['errors']]).toEqual([cause === 'key' ? 500 : 502, [expect.stringMatching(expected)]])
  moto.mood = { kind: 'pass' }
  // The leader carried it out, whoever was asked.
  const said = await Promise.all(cluster.nodes.map((node) => node.call('GET', 'sys/seal-backend-status', { token })))
  expect(said.map(({ body }) => body?.['data'])).toContainEqual(
    expect.objectContaining({ healthy: false, backends: [expect.objectContaining({ last_failure: expect.objectContaining({ cause }) })] }),
  )
  for (const node of cluster.nodes) expect(node.log()).not.toMatch(/marked-account-name/)
})

test('wrong and missing credentials are named, and shown nowhere', async () => {
  await third().stop()
  await third().startAndAnswer({ ...cluster.env, AWS_SECRET_ACCESS_KEY: 'marked-wrong-secret' })
  await cluster.saysWhy(third(), /expected credentials that may use the key from KMS in eu-central-1, got (?:\w*Signature\w*|status 403)/)
  await third().stop()
  const { AWS_ACCESS_KEY_ID: _id, AWS_SECRET_ACCESS_KEY: _secret, ...none } = cluster.env
  await third().startAndAnswer({ ...none, AWS_SHARED_CREDENTIALS_FILE: '/nonexistent', AWS_CONFIG_FILE: '/nonexistent' })
  await cluster.saysWhy(third(), /expected credentials .*, got CredentialsProviderError/)
  for (const secret of ['marked-wrong-secret', made.secret, made.id]) expect(third().log()).not.toContain(secret)
  await third().stop()
  await third().startAndAnswer(cluster.env)
  await serving(third(), 60_000)
})

test('another key, that of another region, is named; the right one opens', async () => {
  const another = stanza().replace('eu-central-1', 'us-west-2')
  const named = /seal awskms expected a copy for us-west-2, got one for eu-central-1/
  Object.assign(figures, await cluster.wrongThenRight(third(), another, stanza(), named))
  await cluster.logs(third(), /"fault":"key"/)
})

test('with a second region, either opens; a new one gets its copy from the leader', async () => {
  for (const node of cluster.nodes) {
    await node.stop()
    cluster.configure(stanza('failover_regions = ["us-west-2"]'), [node])
    await node.startAndAnswer(cluster.env)
    await serving(node, 30_000)
  }
  await until(
    'the copy for us-west-2',
    async () => (cluster.nodes.some((node) => node.log().includes('the root key is wrapped anew')) ? true : null),
    20_000,
  )
  moto.mood = { kind: 'reset', region: 'eu-central-1' }
  await cluster.killAll()
  figures['restart_by_second_region_seconds'] = await cluster.restartAll()
  moto.mood = { kind: 'pass' }
  expect(await cluster.value(third())).toBe('one')
})

test('after the alias moved to another key, a rewrap lets the first key go', async () => {
  await moto.relax()
  await moto.script(`client('kms').update_alias(AliasName='alias/holdfast', TargetKeyId='${made.second}')
print('null')`)
  await moto.enforce()
  expect((await cluster.first.call('POST', 'sys/sealwrap/rewrap', { token: cluster.founded.token, timeoutMs: 30_000 })).status).toBe(204)
  await moto.relax()
  await moto.script(`client('kms').schedule_key_deletion(KeyId='${made.first}', PendingWindowInDays=7)
print('null')`)
  await moto.enforce()
  await cluster.killAll()
  cluster.configure(stanza())
  await cluster.restartAll()
  expect(await cluster.value(third())).toBe('one')
  const metrics = await fetch(`${cluster.first.apiAddress}/v1/sys/metrics?format=prometheus`, {
    headers: { 'x-vault-token': cluster.founded.token },
  })
  expect(await metrics.text()).toMatch(/^holdfast_seal_ok 1$/m)
})
