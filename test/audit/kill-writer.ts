/**
 * kill -9 of a process that writes audit records as fast as it can, rotation between, again and again: after each kill the files must be whole by the anchors
 * taken so far, and every record that it called written must be there. The same without a cluster as test/audit/kill-loop.ts does with one.
 *
 *   node test/audit/kill-writer.ts [KILLS] [OUT.json]
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { anchorHeads, proofOf } from '#audit/anchor-store.ts'
import { createAuditBroker } from '#audit/broker.ts'
import { openFileSink } from '#audit/sinks/file.ts'
import type { LaneHead } from '#audit/types.ts'
import { readEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles } from '#audit/verify/verify.ts'
import { labRecord, memoryTransaction } from '#test/support/audit-lab.ts'
import { seeded } from '#test/support/audit-tampers.ts'
import { keepFigures } from '#test/support/figures.ts'

const self = fileURLToPath(import.meta.url)
const auditKey = Buffer.alloc(32, 5)
const clients = 32
const anchorEveryMs = 40

type Told = { readonly written: readonly string[] } | { readonly heads: readonly LaneHead[] }

/** The process that is killed: tells what is written, and where its lane stands, a line each. */
async function write(folder: string, life: string): Promise<void> {
  const sink = await openFileSink({ path: join(folder, 'audit.log'), rotateBytes: 400_000, clock: systemClock })
  const broker = createAuditBroker({
    nodeId: 'n1',
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    devices: [{ name: 'file', sink }],
  })
  broker.setKey(auditKey)
  const tell = (told: Told): void => void process.stdout.write(`${JSON.stringify(told)}\n`)
  let serial = 0
  const client = async (): Promise<never> => {
    for (;;) {
      const id = `${life}-${(serial += 1)}`
      await broker.record(labRecord(id), { request: [], response: [] })
      tell({ written: [id] })
    }
  }
  const all = Array.from({ length: clients }, client)
  const anchor = async (): Promise<never> => {
    for (;;) {
      await delay(anchorEveryMs)
      tell({ heads: await broker.heads() })
    }
  }
  await Promise.all([...all, anchor()])
}

async function main(): Promise<void> {
  const kills = Number(process.argv[2] ?? 100)
  const out = process.argv[3]
  const random = seeded(11)
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-kill-'))
  const state = memoryTransaction()
  const written = new Set<string>()
  const problems: string[] = []
  const files = (): string[] => readdirSync(folder).map((name) => join(folder, name))
  let torn = 0
  let tailMax = 0
  let anchors = 0
  // Whoever has waited long enough is told what was found so far.
  let told = false
  process.once('SIGTERM', () => (told = true))
  let kill = 0
  for (; kill < kills && !told; kill += 1) {
    const child = spawn(process.execPath, [self, 'write', folder, String(kill)], { stdio: ['ignore', 'pipe', 'inherit'] })
    const dead = new Promise((resolve) => child.once('exit', resolve))
    const heard: Told[] = []
    const lines = createInterface({ input: child.stdout })
    const read = new Promise((resolve) => lines.once('close', resolve))
    lines.on('line', (line) => {
      // The last one may be half.
      if (line.endsWith('}')) heard.push(JSON.parse(line) as Told)
    })
    while (heard.length === 0) await delay(10)
    await delay(20 + random(250))
    child.kill('SIGKILL')
    await Promise.all([dead, read])
    for (const one of heard) {
      if ('written' in one) for (const id of one.written) written.add(id)
      else await anchorHeads(state, { cluster: 'kill', node: 'n1', timeMs: systemClock.nowMs(), keyringTerm: 1 }, one.heads)
    }
    anchors = [...state.values.keys()].filter((path) => path.startsWith('anchors/')).length
    // Killed between the rename of a rotation and the next file, it leaves none of that name.
    const last = join(folder, 'audit.log')
    if (existsSync(last) && readFileSync(last).at(-1) !== 10) torn += 1
    const proof = await proofOf(state, auditKey, 'kill', systemClock.nowMs())
    if (proof === null) continue
    const verdict = await verifyFiles(files(), { evidence: readEvidence(proof, null) })
    tailMax = Math.max(tailMax, verdict.tailLines)
    if (verdict.verdict !== 'whole')
      problems.push(`kill ${kill}: ${verdict.findings.map(({ text }) => text).join('; ')} ${verdict.unknown.join('; ')}`)
  }
  const recorded = new Set<string>()
  for (const file of files()) for (const [, id = ''] of readFileSync(file, 'utf8').matchAll(/"path":"([\d-]+)"/g)) recorded.add(id)
  const lost = [...written].filter((id) => !recorded.has(id)).length
  const result = {
    kills: kill,
    written: written.size,
    writtenAndNotThere: lost,
    files: files().length,
    anchorsKept: anchors,
    halfLinesFound: torn,
    unprovenTailLinesMax: tailMax,
    problems,
  }
  keepFigures(out, 'audit-kill', `npm run audit:kill -- ${kills}`, result)
  rmSync(folder, { recursive: true })
  if (lost > 0 || problems.length > 0) process.exitCode = 1
}

if (process.argv[2] === 'write') await write(process.argv[3] ?? '', process.argv[4] ?? '')
else await main()
