/**
 * Tampers with audit files at random and asks both verifiers; and lets both look at files that nobody touched, crashes between.
 *
 *   node test/audit/tampers.ts [COUNT] [UNTOUCHED] [SEED] [OUT.json]
 */
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { readAnchor, readProof, type ProofFile } from '#audit/anchor.ts'
import { readEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles, type Verdict } from '#audit/verify/verify.ts'
import { AuditLab } from '#test/support/audit-lab.ts'
import { placeOf, provenLines, seeded, tamper, tamperKinds, type Random } from '#test/support/audit-tampers.ts'
import { keepFigures } from '#test/support/figures.ts'
import { slowVerify } from '#test/support/audit-verifier.ts'

export interface Scene {
  readonly name: string
  readonly files: ReadonlyMap<string, Buffer>
  readonly proof: ProofFile
  /** Lines, over all files, that an anchor proves. */
  readonly proven: number
}

/** One node's life: restarts, crashes, anchors at random, and a tail that nothing anchors yet. */
export async function makeScene(random: Random, rotation: boolean): Promise<Scene> {
  const lab = new AuditLab('n1', rotation ? { rotateBytes: 6_000 + random(6_000) } : {})
  try {
    const lives = 1 + random(4)
    for (let life = 0; life < lives; life += 1) {
      await lab.start()
      const steps = 2 + random(4)
      for (let step = 0; step < steps; step += 1) {
        await lab.write(1 + random(8), 1 + random(5))
        if (random(3) === 0) await lab.broker.reopen()
        if (random(2) === 0 || step === 0) await lab.anchor()
      }
      const last = life === lives - 1
      await lab.crash(random(2) === 0 ? null : '{"time":"2026-08-01T10:00'.slice(0, 1 + random(20)))
      if (last && random(2) === 0) break
    }
    const files = lab.contents()
    const proof = await lab.proof()
    const heads = new Set(readProof(proof.text).anchors.map(({ text }) => readAnchor(text).head))
    const proven = provenLines(files, (line) => heads.has(createHash('sha256').update(line).digest('hex')))
    const named = new Map([...files].map(([file, bytes]) => [basename(file), bytes]))
    return { name: rotation ? 'with rotation' : 'without rotation', files: named, proof, proven }
  } finally {
    lab.remove()
  }
}

/** Writes files into `folder`, and lets the product look at them. File names in the verdict are bare again. */
export async function productVerdict(folder: string, files: ReadonlyMap<string, Buffer>, proof: ProofFile): Promise<Verdict> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  for (const [file, bytes] of files) writeFileSync(join(folder, file), bytes)
  const verdict = await verifyFiles(
    [...files.keys()].map((file) => join(folder, file)),
    { evidence: readEvidence(proof, null) },
  )
  const findings = verdict.findings.map((finding) => ({ ...finding, file: finding.file === null ? null : basename(finding.file) }))
  return { ...verdict, findings }
}

export interface Tally {
  tampers: number
  found: number
  inTail: number
  tailFound: number
  missed: number
  named: number
  disagreements: number
  byKind: Record<string, { tampers: number; found: number; named: number; inTail: number }>
  failures: string[]
}

export const newTally = (): Tally => ({
  tampers: 0,
  found: 0,
  inTail: 0,
  tailFound: 0,
  missed: 0,
  named: 0,
  disagreements: 0,
  byKind: {},
  failures: [],
})

const failuresMax = 20

/** One tampering with `scene`, told to `tally`. False when nothing came of it. */
export async function tryOne(scene: Scene, random: Random, folder: string, tally: Tally, what = ''): Promise<boolean> {
  const tampered = tamper(scene.files, random)
  if (tampered === null) return false
  const { kind, at, files } = tampered
  const verdict = await productVerdict(folder, files, scene.proof)
  const independent = slowVerify(files, scene.proof)
  const of = (tally.byKind[kind] ??= { tampers: 0, found: 0, named: 0, inTail: 0 })
  tally.tampers += 1
  of.tampers += 1
  const found = verdict.verdict === 'tampered'
  const mustBe = at < scene.proven
  const fail = (why: string): void => {
    if (tally.failures.length < failuresMax)
      tally.failures.push(
        `${what} ${kind} at line ${at} of ${scene.proven} proven: ${why}: ${verdict.findings.map(({ text }) => text).join('; ')}`,
      )
  }
  if (found !== (independent !== null)) {
    tally.disagreements += 1
    fail(`the product says ${verdict.verdict}, the other ${JSON.stringify(independent)}`)
  }
  if (!mustBe) {
    tally.inTail += 1
    of.inTail += 1
    if (found) tally.tailFound += 1
    return true
  }
  if (!found) {
    tally.missed += 1
    fail('not found')
    return true
  }
  tally.found += 1
  of.found += 1
  const place = placeOf(scene.files, at)
  const isNear = verdict.findings.some(
    ({ file, line, afterSeq, text }) =>
      (file === place.file && (line === null || Math.abs(line - place.line) <= 1)) ||
      isEnd(scene, file, line, place) ||
      (file === null && afterSeq === 0) ||
      text.includes(place.file),
  )
  if (isNear) {
    tally.named += 1
    of.named += 1
  } else fail(`named another place than ${place.file}:${place.line}`)
  return true
}

/** The end of the file before is where the beginning of the next one hangs. */
function isEnd(scene: Scene, file: string | null, line: number | null, place: { file: string; line: number }): boolean {
  const names = [...scene.files.keys()]
  const near = (a: number, b: number): boolean => a >= 0 && b >= 0 && Math.abs(a - b) === 1
  if (file === null || !near(names.indexOf(file), names.indexOf(place.file))) return false
  return line === null || line <= 2 || place.line <= 2
}

async function main(): Promise<void> {
  const [count = 10_000, untouched = 100, seed = 7] = process.argv.slice(2, 5).map(Number)
  const out = process.argv[5]
  const random = seeded(seed)
  const folder = join(mkdtempSync(join(tmpdir(), 'holdfast-tampers-')), 'files')
  const tally = newTally()
  let falseAlarms = 0
  let untouchedDone = 0
  let scene = await makeScene(random, false)
  const kinds = { 'with rotation': 0, 'without rotation': 0 }
  for (; untouchedDone < untouched; untouchedDone += 1) {
    const whole = await makeScene(random, untouchedDone % 2 === 0)
    const verdict = await productVerdict(folder, whole.files, whole.proof)
    if (verdict.verdict !== 'whole' || slowVerify(whole.files, whole.proof) !== null) {
      falseAlarms += 1
      tally.failures.push(`false alarm: ${JSON.stringify({ ...verdict, files: undefined })}`)
    }
  }
  // Whoever has waited long enough is told what was found so far.
  let told = false
  process.once('SIGTERM', () => (told = true))
  while (tally.tampers < count && !told) {
    if (tally.tampers % 50 === 0) scene = await makeScene(random, (tally.tampers / 50) % 2 === 0)
    if (await tryOne(scene, random, folder, tally, scene.name)) kinds[scene.name as keyof typeof kinds] += 1
  }
  const result = { seed, ...tally, kinds, untouched: { runs: untouchedDone, falseAlarms } }
  keepFigures(out, 'audit-tampers', `npm run audit:tampers -- ${count} ${untouched} ${seed}`, result)
  rmSync(join(folder, '..'), { recursive: true })
  if (tally.missed + tally.disagreements + falseAlarms > 0 || tamperKinds.some((kind) => !tally.byKind[kind])) process.exitCode = 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
