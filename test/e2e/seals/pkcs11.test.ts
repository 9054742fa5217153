/** The PKCS#11 seal on two nodes with SoftHSM2: AES-GCM and RSA-OAEP, token away, wrong PIN, wrong key, a library that hangs or is missing. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { recordFigures } from '#test/support/figures.ts'
import { isRunning } from '#test/support/processes.ts'
import { SealCluster, seconds } from '#test/support/seal-cluster.ts'
import { serving, type ServerProcess, until } from '#test/support/server-process.ts'
import { SoftHsm } from '#test/support/softhsm.ts'

let cluster: SealCluster
let hsm: SoftHsm
const figures: Record<string, number> = {}
const second = (): ServerProcess => cluster.nodes[1] as ServerProcess
const pinFile = (): string => join(cluster.dir, 'pin')

interface Settings {
  readonly lib?: string
  readonly key?: string
  readonly more?: string
}

const stanza = ({ lib = hsm.library, key = 'root', more = '' }: Settings = {}): string => `seal "pkcs11" {
  lib         = "${lib}"
  token_label = "${hsm.label}"
  pin         = "file://${pinFile()}"
  key_label   = "${key}"
  ${more}
}`

/** The second node, started again with these settings. */
async function again(settings: Settings = {}): Promise<void> {
  await second().stop()
  cluster.configure(stanza(settings), [second()])
  await second().startAndAnswer(cluster.env)
}

/** The processes of `node` that speak to the HSM. */
const processesOf = (node: ServerProcess): number[] =>
  execFileSync('ps', ['-eo', 'ppid,pid,args'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes('pkcs11-process') && line.trim().startsWith(`${node.pid} `))
    .map((line) => Number(line.trim().split(/\s+/)[1]))

beforeAll(async () => {
  cluster = await SealCluster.prepare('pkcs11', 2)
  hsm = new SoftHsm(cluster.dir)
  Object.assign(cluster.env, hsm.env)
  writeFileSync(pinFile(), `${hsm.pin}\n`, { mode: 0o600 })
  cluster.configure(stanza({ more: 'generate_key = true' }))
})
afterAll(async () => {
  recordFigures('seal-pkcs11', 'vitest run --config vitest.e2e.config.ts test/e2e/seals/pkcs11.test.ts', figures)
  await cluster?.dispose()
})

test('init makes the key in the HSM, never to leave it; the other node joins; both open after kill -9', async () => {
  figures['init_to_two_open_seconds'] = await cluster.found()
  const objects = hsm.tool('--list-objects')
  expect(objects).toMatch(/Secret Key Object; AES length 32\s+label:\s+root/)
  expect(objects).toMatch(/Access:.*sensitive.*never extractable/)
  expect((await cluster.sealStatus(second())).body).toMatchObject({ type: 'pkcs11', sealed: false, recovery_seal: true })
  await cluster.mountKv()
  expect(await cluster.put('one')).toBe(200)
  await cluster.killAll()
  cluster.configure(stanza())
  figures['restart_to_two_open_seconds'] = await cluster.restartAll()
  for (const node of cluster.nodes) expect(await cluster.value(node)).toBe('one')
})

test('the token away at start: said as such; opens when it is back', async () => {
  await cluster.killAll()
  hsm.unplug()
  await Promise.all(cluster.nodes.map((node) => node.startAndAnswer(cluster.env)))
  for (const node of cluster.nodes) await cluster.saysWhy(node, /seal pkcs11 expected one token "holdfast", got NOT_FOUND/)
  const started = performance.now()
  hsm.plugIn()
  await cluster.allServe()
  figures['back_to_two_open_seconds'] = seconds(started)
  expect(await cluster.value(second())).toBe('one')
})

test('the token pulled and put back while the nodes run: the seal logs in and finds its key anew', async () => {
  const { token } = cluster.founded
  hsm.unplug()
  const refused = await cluster.first.call('POST', 'sys/sealwrap/rewrap', { token, timeoutMs: 30_000 })
  expect([refused.status, refused.body?.['errors']]).toEqual([502, [expect.stringMatching(/expected one token "holdfast", got NOT_FOUND/)]])
  // The leader carried it out, whoever was asked.
  const said = await Promise.all(cluster.nodes.map((node) => node.call('GET', 'sys/seal-backend-status', { token })))
  const failure = expect.objectContaining({ name: 'pkcs11', last_failure: expect.objectContaining({ cause: 'network' }) })
  expect(said.map(({ body }) => body?.['data'])).toContainEqual(expect.objectContaining({ healthy: false, backends: [failure] }))
  // What is open stays open.
  expect(await cluster.value(cluster.first)).toBe('one')
  hsm.plugIn()
  expect((await cluster.first.call('POST', 'sys/sealwrap/rewrap', { token, timeoutMs: 30_000 })).status).toBe(204)
  await again()
  await serving(second(), 30_000)
})

test('a wrong PIN, a missing key, another key of that name, a missing library: each is named; the PIN is shown nowhere', async () => {
  writeFileSync(pinFile(), 'another-marked-pin')
  await again()
  await cluster.saysWhy(second(), /seal pkcs11 expected the PIN of token "holdfast", got CKR_PIN_INCORRECT/)
  await cluster.logs(second(), /"fault":"credentials"/)
  writeFileSync(pinFile(), hsm.pin)
  await serving(second(), 40_000)
  await again({ lib: '/nowhere/libhsm.so' })
  await cluster.saysWhy(second(), /seal pkcs11 expected a PKCS#11 library at \/nowhere\/libhsm.so, got/)
  await cluster.logs(second(), /"fault":"missing"/)
  // Its key gone, and one of the same name and id in its stead.
  const restore = hsm.kept()
  hsm.tool('--delete-object', '--type', 'secrkey', '--label', 'root')
  await again()
  await cluster.saysWhy(second(), /seal pkcs11 expected one key with label "root" in token "holdfast", got NOT_FOUND/)
  hsm.tool('--keygen', '--key-type', 'AES:32', '--label', 'root', '--id', '01')
  const named = /seal pkcs11 expected the key that wrapped the root key, .* got CKR_/
  await cluster.saysWhy(second(), named)
  Object.assign(figures, await cluster.wrongThenRight(second(), stanza(), stanza(), named, restore))
  for (const pin of ['another-marked-pin', hsm.pin]) expect(second().log()).not.toContain(pin)
})

test('a library that hangs costs a bounded wait, and the node votes and answers meanwhile', async () => {
  const library = join(cluster.dir, 'libhang.so')
  const source = join(cluster.dir, 'hang.c')
  writeFileSync(source, '#include <unistd.h>\nint C_GetFunctionList(void **list) { for (;;) sleep(60); return 0; }\n')
  execFileSync('gcc', ['-shared', '-fPIC', '-o', library, source])
  await again({ lib: library })
  // Killed, it takes the process with it that its library holds.
  const [held] = await until(
    'a process of the HSM',
    async () => {
      const own = processesOf(second())
      return own.length > 0 ? own : null
    },
    20_000,
  )
  await second().stop('SIGKILL')
  await until('the process that the library holds to end', async () => (isRunning(held as number) ? null : true), 10_000)
  await second().startAndAnswer(cluster.env)
  const started = performance.now()
  const asked = performance.now()
  expect((await cluster.sealStatus(second())).status).toBe(200)
  expect(performance.now() - asked).toBeLessThan(2_000)
  await cluster.saysWhy(second(), /seal pkcs11 expected an answer within 10000 ms, got none/, 60_000)
  figures['hanging_hsm_named_after_seconds'] = seconds(started)
  await until('no process of the HSM to be left', async () => (processesOf(second()).length <= 1 ? true : null), 5_000)
})

test('RSA-OAEP: the same, by the slot and with the PIN in the environment; another hash than this HSM allows is refused by it, and named', async () => {
  const bySlot = (more: string): string =>
    stanza({ key: 'rsa', more })
      .replace(/token_label = .*/, `slot = "${hsm.slot}"`)
      .replace(/pin {9}= .*/, 'pin = "env://MARKED_PIN"')
  const rsa = await SealCluster.prepare('rsa', 1)
  try {
    hsm.tool('--keypairgen', '--key-type', 'RSA:2048', '--label', 'rsa', '--id', '0a')
    Object.assign(rsa.env, hsm.env, { MARKED_PIN: hsm.pin })
    rsa.configure(bySlot('rsa_oaep_hash = "sha256"'))
    await rsa.first.startAndAnswer(rsa.env)
    const refused = await rsa.first.call('POST', 'sys/init', { body: {}, timeoutMs: 30_000 })
    expect([refused.status, refused.body?.['errors']]).toEqual([500, [expect.stringMatching(/a mechanism that the HSM has, got CKR_/)]])
    await rsa.first.stop()
    rsa.configure(bySlot('rsa_oaep_hash = "sha1"\n  mechanism = "CKM_RSA_PKCS_OAEP"\n  key_id = "0x0a"'))
    await rsa.found()
    await rsa.mountKv()
    expect(await rsa.put('rsa')).toBe(200)
    await rsa.killAll()
    await rsa.restartAll()
    expect(await rsa.value(rsa.first)).toBe('rsa')
    await rsa.first.stop()
    rsa.configure(bySlot('rsa_oaep_hash = "sha1"').replace(String(hsm.slot), '7'))
    await rsa.first.startAndAnswer(rsa.env)
    await rsa.saysWhy(rsa.first, /seal pkcs11 expected one token .*, got NOT_FOUND/)
  } finally {
    await rsa.dispose()
  }
})
