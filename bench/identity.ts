/**
 * What identity adds to a request: reads of one kv value through the whole core (barrier, policies, identity, audit record) of a lone node in memory, by tokens
 * without an entity and with one, in more and more groups. Processor time, the best of several rounds: the machine may be busy with other things.
 * Run: node bench/identity.ts [--rounds 8]
 */
import { parseArgs } from 'node:util'
import { openHouse, type Answer } from '#test/support/core-house.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '8' } } })
const readsARound = 4_000
const { node } = await openHouse()

async function ok(asked: Promise<Answer>): Promise<Answer['body']> {
  const { status, body, text } = await asked
  if (status >= 300) throw new Error(`expected an answer, got ${status}: ${text}`)
  return body
}

interface Auth {
  readonly client_token: string
  readonly entity_id: string
}

async function login(name: string): Promise<Auth> {
  await ok(node.write(`auth/userpass/users/${name}`, { password: 'right', token_policies: 'app' }))
  const asked = {
    operation: 'update',
    method: 'POST',
    path: `auth/userpass/login/${name}`,
    token: null,
    body: { password: 'right' },
  } as const
  return (await ok(node.ask(asked))).auth
}

async function grouped(name: string, groups: number, policyOf: (at: number) => string): Promise<Auth> {
  const auth = await login(name)
  for (let at = 0; at < groups; at += 1)
    await ok(node.write('identity/group', { name: `${name}-${at}`, policies: [policyOf(at)], member_entity_ids: [auth.entity_id] }))
  return auth
}

await ok(node.write('sys/mounts/secret', { type: 'kv' }))
await ok(node.write('secret/app', { answer: '42' }))
await ok(node.write('sys/policies/acl/app', { policy: 'path "secret/app" { capabilities = ["read"] }' }))
await ok(node.write('sys/auth/userpass', { type: 'userpass' }))
const subjects: Readonly<Record<string, Auth>> = {
  'no entity': (await ok(node.write('auth/token/create', { policies: ['app'], no_parent: true }))).auth,
  'entity, no group': await login('plain'),
  'entity in 1 group': await grouped('one', 1, () => 'app'),
  'entity in 20 groups of one policy': await grouped('same', 20, () => 'app'),
  'entity in 20 groups of 20 policies': await grouped('many', 20, (at) => `policy-${at}`),
}

const best = new Map<string, number>()
for (let round = 0; round < Number(values.rounds); round += 1) {
  for (const [name, { client_token: token }] of Object.entries(subjects)) {
    const before = process.cpuUsage()
    for (let count = 0; count < readsARound; count += 1) await ok(node.read('secret/app', token))
    const { user, system } = process.cpuUsage(before)
    node.audit.length = 0
    best.set(name, Math.min(best.get(name) ?? Infinity, (user + system) / readsARound))
  }
}
const figures = Object.fromEntries([...best].map(([name, us]) => [`${name}, us of processor a read`, Math.round(us * 10) / 10]))
recordFigures('identity', 'node bench/identity.ts', figures)
