/** Shares -> AWS KMS -> PKCS#11 -> shares, node by node, behind a load balancer through which somebody reads all the time. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { recordFigures } from '#test/support/figures.ts'
import { startHaproxy } from '#test/support/haproxy.ts'
import { Moto } from '#test/support/moto.ts'
import { SealCluster, seconds } from '#test/support/seal-cluster.ts'
import { serving, type Founded, type ServerProcess, unseal, until } from '#test/support/server-process.ts'
import { SoftHsm } from '#test/support/softhsm.ts'

let cluster: SealCluster
let moto: Moto
let hsm: SoftHsm
let balancer: Awaited<ReturnType<typeof startHaproxy>>
let founded: Founded
let reader: Reader
const figures: Record<string, unknown> = {}

/** Reads through the balancer until it is told to stop, and keeps what did not come back as it was written. */
class Reader {
  reads = 0
  readonly failed: string[] = []
  #stopped = false
  #running: Promise<void> = Promise.resolve()

  start(): void {
    this.#running = this.#run()
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.reads++
      try {
        const answer = await fetch(`${balancer.address}/v1/secret/data/marked`, {
          headers: { 'x-vault-token': cluster.founded.token },
          signal: AbortSignal.timeout(10_000),
        })
        const text = await answer.text()
        if (answer.status !== 200 || !text.includes('"value":"kept"')) this.failed.push(`${answer.status} ${text.slice(0, 200)}`)
      } catch (error) {
        this.failed.push((error as Error).message)
      }
      await delay(20)
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }
}

const kms = (disabled = ''): string => `seal "awskms" {
  ${disabled}
  region     = "eu-central-1"
  kms_key_id = "alias/holdfast"
  endpoint   = "${moto.address}"
}`
const pkcs11 = (disabled = ''): string => `seal "pkcs11" {
  ${disabled}
  lib          = "${hsm.library}"
  token_label  = "${hsm.label}"
  pin          = "file://${join(cluster.dir, 'pin')}"
  key_label    = "root"
  generate_key = true
}`
const disabled = 'disabled = "true"'

beforeAll(async () => {
  cluster = await SealCluster.prepare('migrate')
  const port = Number(new URL(cluster.first.apiAddress).port)
  moto = await Moto.start(port + 10)
  await moto.script(`
kms = client('kms')
kms.create_alias(AliasName='alias/holdfast', TargetKeyId=kms.create_key()['KeyMetadata']['KeyId'])
print('null')`)
  hsm = new SoftHsm(cluster.dir)
  writeFileSync(join(cluster.dir, 'pin'), hsm.pin)
  Object.assign(cluster.env, hsm.env, { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' })
  cluster.configure('')
  founded = await cluster.foundByShares(3, 2)
  await cluster.mountKv()
  expect(await cluster.put('kept')).toBe(200)
  balancer = await startHaproxy(cluster, port + 15)
  reader = new Reader()
  await delay(1_500)
  reader.start()
}, 180_000)
afterAll(async () => {
  await reader?.stop()
  figures['reads'] = reader?.reads
  figures['failed_reads'] = reader?.failed.length
  recordFigures('seal-migration', 'vitest run --config vitest.e2e.config.ts test/e2e/seals/migration.test.ts', figures)
  await balancer?.stop()
  await cluster?.dispose()
  await moto?.stop()
})

/** The followers first, the leader last. */
async function order(): Promise<readonly ServerProcess[]> {
  const leads = await Promise.all(cluster.nodes.map(async (node) => (await node.call('GET', 'sys/leader')).body?.['is_self'] === true))
  return [...cluster.nodes.filter((_, at) => leads[at] !== true), ...cluster.nodes.filter((_, at) => leads[at] === true)]
}

/** One node under the next seal. Shares are given where it asks for them: with migrate before the cluster has changed over, without after. */
async function change(node: ServerProcess, stanza: string, from: string, to: string): Promise<void> {
  await node.stop()
  cluster.configure(stanza, [node])
  await node.startAndAnswer(cluster.env)
  // It answers before its store is open.
  const body = await until(
    `${node.id} to know its seal`,
    async () => {
      const { body: status } = await cluster.sealStatus(node)
      return status?.['initialized'] === true ? status : null
    },
    10_000,
  )
  const before = body['type'] === from
  expect(body).toMatchObject({ initialized: true, type: before ? from : to, t: 2, n: 3, migration: before })
  if (before) {
    const wrong = await node.call('POST', 'sys/unseal', { body: { key: founded.keys[0] } })
    expect([wrong.status, wrong.body?.['errors']]).toEqual([400, ['migrate option not provided and seal migration is pending']])
  }
  if (before || to === 'shamir')
    for (const key of founded.keys.slice(1))
      expect((await node.call('POST', 'sys/unseal', { body: { key, migrate: before }, timeoutMs: 30_000 })).status).toBe(200)
  await serving(node, 30_000)
  // Until the balancer has seen it, the next node must not go.
  await delay(1_500)
}

async function migrate(stanza: string, from: string, to: string): Promise<void> {
  const started = performance.now()
  for (const node of await order()) await change(node, stanza, from, to)
  await until(
    `all to be sealed by ${to}`,
    async () => {
      const all = await Promise.all(cluster.nodes.map((node) => cluster.sealStatus(node)))
      return all.every(({ body }) => body?.['type'] === to && body['migration'] === false && body['sealed'] === false) ? true : null
    },
    15_000,
  )
  figures[`${from}_to_${to}_seconds`] = seconds(started)
  for (const node of cluster.nodes) expect(await cluster.value(node)).toBe('kept')
  expect(reader.failed).toEqual([])
}

test('from shares to AWS KMS: the shares become recovery keys, and the nodes open by themselves', async () => {
  await migrate(kms(), 'shamir', 'awskms')
  await cluster.nodes[1]?.stop()
  await cluster.nodes[1]?.startAndAnswer(cluster.env)
  await serving(cluster.nodes[1] as ServerProcess)
})

test('from AWS KMS to an HSM', async () => {
  await migrate(`${kms(disabled)}\n${pkcs11()}`, 'awskms', 'pkcs11')
})

test('from the HSM back to shares, which are those of the beginning', async () => {
  await migrate(pkcs11(disabled), 'pkcs11', 'shamir')
})

test('after kill -9 the shares open, without KMS and HSM; nobody’s read has failed', async () => {
  await reader.stop()
  expect([reader.failed, reader.reads > 500]).toEqual([[], true])
  await cluster.killAll()
  await moto.stop()
  cluster.configure('')
  await Promise.all(cluster.nodes.map((node) => node.startAndAnswer()))
  await Promise.all(cluster.nodes.map((node) => unseal(node, founded)))
  await cluster.allServe()
  for (const node of cluster.nodes) expect(await cluster.value(node)).toBe('kept')
})
