/**
 * kill -9 of a node, again and again under load: after each restart its audit file must be whole, and at the end every request that a client was answered
 * must be in some file.
 *
 *   node test/audit/kill-loop.ts [KILLS] [NODES] [OUT.json]
 */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { ProofFile } from '#audit/anchor.ts'
import { readEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles, type Verdict } from '#audit/verify/verify.ts'
import { mountKv, startCluster } from '#test/support/cluster.ts'
import { seeded } from '#test/support/audit-tampers.ts'
import { keepFigures } from '#test/support/figures.ts'

const [rounds = 100, count = 3] = process.argv.slice(2, 4).map(Number)
const out = process.argv[4]
const clients = 8
const random = seeded(7)
const running = await startCluster({ nodes: count, extraConfig: 'audit_anchor_interval = "1s"' })
const { cluster } = running
await mountKv(cluster, 'secret')
const acknowledged = new Set<string>()
let serial = 0
let stop = false

/** Asks a node at a time, and goes to another when it gets no answer. */
async function client(): Promise<void> {
  while (!stop) {
    const node = cluster.nodes[random(cluster.nodes.length)]!
    const path = `secret/data/k${(serial += 1)}x`
    const write = random(2) === 0
    try {
      const answer = await cluster.api.call(node.apiAddress, write ? 'POST' : 'GET', path, {
        token: cluster.rootToken,
        timeoutMs: 3_000,
        ...(write ? { body: { data: { value: path } } } : {}),
      })
      if (answer.status === 200 || answer.status === 404) acknowledged.add(path)
    } catch {
      await delay(20)
    }
  }
}

async function proofOf(): Promise<ProofFile | null> {
  for (const node of cluster.nodes) {
    const answer = await cluster.api.call(node.apiAddress, 'GET', 'sys/audit-proof', { token: cluster.rootToken }).catch(() => null)
    if (answer?.status === 200) return answer.body!['data'] as ProofFile
  }
  return null
}

async function check(path: string): Promise<Verdict> {
  for (let attempt = 0; ; attempt += 1) {
    const proof = await proofOf()
    // The file first grows, then is read: what the proof knows must be there.
    const verdict = proof === null ? null : await verifyFiles([path], { evidence: readEvidence(proof, null) })
    if (verdict !== null && (verdict.verdict !== 'unknown' || attempt === 50)) return verdict
    if (attempt === 50) throw new Error('expected a proof, got none')
    await delay(200)
  }
}

/** On a machine that does much else at the same time, a start takes longer than it is waited for. */
const patience = Number(process.env['HOLDFAST_PATIENCE'] ?? 1)
async function patiently(wait: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await wait()
      return
    } catch (error) {
      if (attempt >= patience) throw error
    }
  }
}

const problems: string[] = []
const startMs = performance.now()
let torn = 0
let tails = 0
let kills = 0
try {
  const asking = Array.from({ length: clients }, client)
  for (; kills < rounds; kills += 1) {
    await delay(200 + random(800))
    const node = cluster.nodes[random(cluster.nodes.length)]!
    await cluster.stopNode(node, 'SIGKILL')
    if (readFileSync(node.auditPath).at(-1) !== 10) torn += 1
    cluster.spawn(node)
    await patiently(() => cluster.waitForAnswer(node))
    await patiently(() => cluster.unseal(node))
    await patiently(() => cluster.waitUntilServing())
    const verdict = await check(node.auditPath)
    tails = Math.max(tails, verdict.tailLines)
    if (verdict.verdict !== 'whole')
      problems.push(`round ${kills} ${node.id}: ${JSON.stringify(verdict.findings)} ${verdict.unknown.join('; ')}`)
    if ((kills + 1) % 10 === 0) console.log(`${kills + 1} kills, ${acknowledged.size} requests answered, ${problems.length} problems`)
  }
  stop = true
  await Promise.all(asking)
  await delay(1_500)
  const files = cluster.nodes.map(({ auditPath }) => readFileSync(auditPath, 'utf8'))
  const recorded = new Set<string>()
  for (const file of files) {
    for (const [, path = ''] of file.matchAll(/"type":"response".*?"path":"(secret\/data\/k\d+x)"/g)) recorded.add(path)
  }
  const missing = [...acknowledged].filter((path) => !recorded.has(path))
  const last = await Promise.all(cluster.nodes.map(({ auditPath }) => check(auditPath)))
  const result = {
    kills,
    nodes: count,
    clients,
    answered: acknowledged.size,
    answeredAndNotRecorded: missing.length,
    filesWhole: last.every(({ verdict }) => verdict === 'whole'),
    records: last.reduce((sum, { lines }) => sum + lines, 0),
    halfLinesFound: torn,
    unprovenTailLinesMax: tails,
    problems,
    seconds: Math.round((performance.now() - startMs) / 1_000),
  }
  keepFigures(out, 'audit-kill-cluster', `node test/audit/kill-loop.ts ${rounds} ${count}`, result)
  if (problems.length + missing.length > 0 || !result.filesWhole) process.exitCode = 1
} finally {
  stop = true
  await running.dispose()
}
