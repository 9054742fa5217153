/**
 * What namespaces add to a request: reads of one kv value through the whole core (barrier, policies, audit record) of a lone node in memory: in the root
 * namespace without any other and with a thousand, and in namespaces of more and more depth, by header and by path. Processor time, the best of several
 * rounds: the machine may be busy with other things.
 * Run: node bench/namespaces.ts [--rounds 8]
 */
import { parseArgs } from 'node:util'
import { openHouse, type Answer } from '#test/support/core-house.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '8' } } })
const readsARound = 4_000
const others = 1_000
const depths = [1, 4, 16]
type Node = Awaited<ReturnType<typeof openHouse>>['node']
const { node: alone } = await openHouse()
const { node: crowded } = await openHouse()

async function ok(asked: Promise<Answer>): Promise<Answer['body']> {
  const { status, body, text } = await asked
  if (status >= 300) throw new Error(`expected an answer, got ${status}: ${text}`)
  return body
}

const write = (node: Node, namespace: string, path: string, body: Record<string, unknown> = {}) =>
  ok(node.ask({ operation: 'update', method: 'POST', namespace, path, body }))

interface Subject {
  readonly node: Node
  readonly namespace: string
  readonly path: string
  readonly token: string
}

async function subjectIn(node: Node, namespace: string): Promise<Subject> {
  await write(node, namespace, 'sys/mounts/secret', { type: 'kv' })
  await write(node, namespace, 'secret/app', { answer: '42' })
  await write(node, namespace, 'sys/policies/acl/app', { policy: 'path "secret/app" { capabilities = ["read"] }' })
  const { auth } = await write(node, namespace, 'auth/token/create', { policies: ['app'], no_parent: true })
  return { node, namespace, path: 'secret/app', token: auth.client_token }
}

const subjects: Record<string, Subject> = { 'root, no other namespace': await subjectIn(alone, '') }
let path = ''
for (let depth = 1; depth <= Math.max(...depths); depth += 1) {
  path = path === '' ? 'n1' : `${path}/n${depth}`
  await write(crowded, '', `sys/namespaces/${path}`)
  if (!depths.includes(depth)) continue
  const subject = await subjectIn(crowded, path)
  subjects[`depth ${depth}, by header`] = subject
  subjects[`depth ${depth}, by path`] = { ...subject, namespace: '', path: `${path}/${subject.path}` }
}
for (let at = 0; at < others; at += 1) await write(crowded, '', `sys/namespaces/other-${at}`)
subjects[`root, beside ${others} namespaces`] = await subjectIn(crowded, '')

const best = new Map<string, number>()
for (let round = 0; round < Number(values.rounds); round += 1) {
  for (const [name, { node, namespace, path: at, token }] of Object.entries(subjects)) {
    const before = process.cpuUsage()
    for (let count = 0; count < readsARound; count += 1) await ok(node.ask({ namespace, path: at, token }))
    const { user, system } = process.cpuUsage(before)
    node.audit.length = 0
    best.set(name, Math.min(best.get(name) ?? Infinity, (user + system) / readsARound))
  }
}
const figures = Object.fromEntries([...best].map(([name, us]) => [`${name}, us of processor a read`, Math.round(us * 10) / 10]))
recordFigures('namespaces', 'node bench/namespaces.ts', figures)
