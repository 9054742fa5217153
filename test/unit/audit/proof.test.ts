import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pemOf, readAnchor, readCertificate, readProof, signCertificate, signProof } from '#audit/anchor.ts'
import { anchorHeads } from '#audit/anchor-store.ts'
import { signerFor } from '#audit/signer-store.ts'
import { readEvidence } from '#audit/verify/evidence.ts'
import { exitCodeOf, verifyFiles, type Verdict } from '#audit/verify/verify.ts'
import { makeScene, newTally, tryOne } from '#test/audit/tampers.ts'
import { AuditLab, memoryTransaction } from '#test/support/audit-lab.ts'
import { seeded } from '#test/support/audit-tampers.ts'
import { slowVerify } from '#test/support/audit-verifier.ts'
import { afterEach, describe, expect, test } from 'vitest'

const labs: AuditLab[] = []
const newLab = (...args: ConstructorParameters<typeof AuditLab>): AuditLab => {
  const lab = new AuditLab(...args)
  labs.push(lab)
  return lab
}
afterEach(() => labs.splice(0).forEach((lab) => lab.remove()))

async function verdictOf(lab: AuditLab, options: { part?: boolean; files?: string[] } = {}): Promise<Verdict> {
  const evidence = readEvidence(await lab.proof(), null)
  return verifyFiles(options.files ?? lab.files(), { evidence, ...(options.part === undefined ? {} : { part: options.part }) })
}

const texts = ({ findings }: Verdict): string[] => findings.map(({ text }) => text)
const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1)
const rewrite = (path: string, lines: readonly string[]): void => writeFileSync(path, `${lines.join('\n')}\n`)

/** Twelve lines in one life: eight anchored, four not. */
async function twelve(): Promise<AuditLab> {
  const lab = await newLab().start()
  await lab.write(8)
  await lab.anchor()
  await lab.write(4)
  await lab.stop()
  return lab
}

describe('what was not touched', () => {
  test('is whole, and what no anchor proves yet is called that', async () => {
    const lab = await twelve()
    const verdict = await verdictOf(lab)
    expect(verdict).toMatchObject({ verdict: 'whole', lines: 12, tailLines: 4, findings: [], unknown: [] })
    expect(exitCodeOf(verdict)).toBe(0)
  })

  test('is whole over crashes, rotation and compression, whatever the order of the files', async () => {
    const lab = newLab('n1', { rotateBytes: 3_000, shelf: { compress: true } })
    for (let life = 0; life < 4; life += 1) {
      await lab.start()
      await lab.write(20, 1)
      await lab.anchor()
      await lab.crash('{"time":"2026')
    }
    await lab.start()
    const files = lab.files()
    expect(files.filter((file) => file.endsWith('.gz')).length).toBeGreaterThan(2)
    const verdict = await verdictOf(lab, { files: files.toReversed() })
    expect([verdict.verdict, verdict.lines, verdict.tailLines, texts(verdict)]).toEqual(['whole', 80, 0, []])
    await lab.stop()
  })

  test('without a proof nobody can tell', async () => {
    const lab = await twelve()
    const verdict = await verifyFiles(lab.files(), { evidence: readEvidence(await newLabProof(), null) })
    expect([verdict.verdict, exitCodeOf(verdict)]).toEqual(['unknown', 2])
    const gone = await verdictOf(lab, { files: [...lab.files(), join(lab.folder, 'none')] })
    expect([gone.verdict, gone.unknown]).toEqual(['unknown', [`${join(lab.folder, 'none')} can not be read: ENOENT`]])
  })
})

async function newLabProof() {
  const lab = await newLab().start()
  await lab.write(1)
  await lab.anchor()
  await lab.stop()
  return lab.proof()
}

describe('what was', () => {
  const change = async (how: (lines: string[]) => string[]): Promise<Verdict> => {
    const lab = await twelve()
    rewrite(lab.path, how(linesOf(lab.path)))
    return verdictOf(lab)
  }

  test.each([
    ['a changed line', (all: string[]) => all.with(4, all[4]!.replace('secret/data', 'secret/dada')), 'altered at line 5'],
    ['a missing line', (all: string[]) => all.toSpliced(4, 1), 'removed after seq 4: 1 before line 5'],
    ['missing lines', (all: string[]) => all.toSpliced(2, 3), 'removed after seq 2: 3 before line 3'],
    ['a line twice', (all: string[]) => all.toSpliced(4, 0, all[4]!), 'inserted, or moved, at line 6'],
    ['no record at all', (all: string[]) => all.toSpliced(4, 0, '{}'), 'altered at line 5: it is no record'],
  ])('%s is found, and where', async (_, how, expected) => {
    const verdict = await change(how)
    expect(texts(verdict)[0]).toBe(expected)
    expect([verdict.verdict, exitCodeOf(verdict)]).toEqual(['tampered', 1])
  })

  test('a cut end is found up to the anchor; behind it, it is nobody’s word', async () => {
    const cut = await change((all) => all.slice(0, 6))
    expect(texts(cut)[0]).toContain('removed after seq 6')
    const tail = await change((all) => all.slice(0, 10))
    expect([tail.verdict, tail.tailLines]).toEqual(['whole', 2])
  })

  test('a file that is gone is found: the first, one between, the last', async () => {
    const lab = await newLab().start()
    for (const at of [1, 2, 3]) {
      await lab.write(5)
      await lab.anchor()
      renameSync(lab.path, `${lab.path}.${at}`)
      await lab.broker.reopen()
    }
    await lab.stop()
    const files = [1, 2, 3].map((at) => `${lab.path}.${at}`)
    const without = async (gone: number): Promise<Verdict> => verdictOf(lab, { files: files.toSpliced(gone, 1) })
    expect((await verdictOf(lab, { files })).verdict).toBe('whole')
    expect(texts(await without(0))).toEqual([`gap before ${files[1]}: its first line (seq 6) follows one that is in none of the files`])
    expect(texts(await without(1))).toEqual([`gap between ${files[0]} and ${files[2]}: removed after seq 5`])
    expect(texts(await without(2))[0]).toContain('removed after seq 10')
    // Who has only a part says so; what is inside it is checked all the same.
    expect((await verdictOf(lab, { files: files.slice(1, 2), part: true })).verdict).toBe('whole')
  })

  test('a file’s last line that was moved behind all others is missed where it stood, and nothing is said of the files between', async () => {
    const lab = await newLab().start()
    for (const at of [1, 2, 3]) {
      await lab.write(4)
      await lab.anchor()
      renameSync(lab.path, `${lab.path}.${at}`)
      await lab.broker.reopen()
    }
    await lab.stop()
    const [first, second, third] = [1, 2, 3].map((at) => `${lab.path}.${at}`) as [string, string, string]
    const lines = linesOf(first)
    rewrite(third, [...linesOf(third), lines.pop()!])
    rewrite(first, lines)
    expect(texts(await verdictOf(lab, { files: [first, second, third] })).toSorted()).toEqual([
      `gap between ${first} and ${second}: removed after seq 3`,
      'inserted, or moved, at line 5',
    ])
  })

  test('who rebuilds the hashes without the key is found by a closed epoch’s MAC, or by the anchor', async () => {
    const lab = await twelve()
    const { createHash } = await import('node:crypto')
    let head: string | null = null
    const forged = linesOf(lab.path).map((line, i) => {
      const value = JSON.parse(line)
      if (i >= 3) value.request.path = 'harmless'
      value.chain.prev = head
      const text = JSON.stringify(value)
      head = createHash('sha256').update(text).digest('hex')
      return text
    })
    rewrite(lab.path, forged)
    expect(texts(await verdictOf(lab))).toEqual(['altered at line 8: an anchor has another hash'])
    await lab.start()
    await lab.write(1)
    await lab.anchor()
    // Another life is anchored: the epoch of the first is closed, and its key is told.
    expect(texts(await verdictOf(lab))[0]).toBe("altered at line 4: its MAC is another's")
    await lab.stop()
  })

  test('a forged anchor, or a proof that lost one, is found', async () => {
    const lab = await twelve()
    const proof = await lab.proof()
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const of = async (file: typeof proof, pinned: string | null): Promise<string[]> =>
      texts(await verifyFiles(lab.files(), { evidence: readEvidence(file, pinned) }))
    expect(await of({ ...proof, text: proof.text.replace('"cluster":"lab"', '"cluster":"bal"') }, null)).toEqual([
      'forged: the proof is not signed by this public key',
    ])
    const forged = signProof({ ...readProof(proof.text), anchors: [] }, privateKey)
    expect(await of({ ...proof, text: forged.text, signature: forged.signature }, null)).toEqual([
      'forged: the proof is not signed by this public key',
    ])
    expect(await of(forged, proof.public_key)).toEqual(['forged: the proof is not signed by this public key'])
    const own = signCertificate({ n: 1, sinceMs: 0, public_key: pem }, privateKey)
    const signed = signProof({ ...readProof(proof.text), signers: [own] }, privateKey)
    expect(await of(signed, pem)).toContain('forged: anchor 1 of the proof is not signed by this public key')
  })
})

describe('anchors', () => {
  test('keys of open epochs are told nobody; those of closed ones are', async () => {
    const lab = await newLab().start()
    await lab.write(3)
    await lab.anchor()
    const keys = async (): Promise<number> => Object.keys(readProof((await lab.proof()).text).keys).length
    expect(await keys()).toBe(0)
    await lab.broker.reopen() // A rotation ends the epoch with the next anchor ...
    await lab.write(1)
    await lab.anchor()
    expect(await keys()).toBe(0)
    await lab.write(1) // ... and the one after closes it.
    await lab.anchor()
    expect(await keys()).toBe(1)
    const { keys: told, anchors } = readProof((await lab.proof()).text)
    const { boot } = readAnchor(anchors[0]!.text)
    expect(Object.keys(told)).toEqual([`${boot} 1`])
    await lab.stop()
    expect((await verdictOf(lab)).verdict).toBe('whole')
    expect(slowVerify(lab.contents(), await lab.proof())).toBeNull()
  })

  test('are kept: the newest of a lane, and where lives and epochs ended', async () => {
    const state = memoryTransaction()
    const head = (boot: number, seq: number) => ({
      device: 'file',
      boot: `00000000-0000-4000-8000-${String(boot).padStart(12, '0')}`,
      seq,
      head: 'a'.repeat(64),
      epoch: 1,
      oldest: null,
    })
    const at = (timeMs: number) => ({ cluster: 'lab', node: 'n1', keyringTerm: 1, timeMs })
    for (let n = 1; n <= 1_200; n += 1) await anchorHeads(state, at(n), [head(Math.ceil(n / 100), n)])
    await anchorHeads(state, at(1), [head(12, 1_200), head(12, 7)]) // Said already, or older: nothing new.
    const kept = [...state.values.keys()].filter((path) => path.startsWith('anchors/')).map((path) => Number(path.slice(-12)))
    expect(kept.slice(0, 7)).toEqual([100, 200, 300, 400, 500, 600, 689])
    expect(kept).toHaveLength(6 + 512)
  })
})

describe('keys', () => {
  test('another cluster’s state is restored: the lane begins another life under its audit key, and its anchors are not missed here', async () => {
    const origin = await newLab().start()
    await origin.write(5)
    await origin.anchor()
    await origin.stop()
    const lab = await newLab().start()
    await lab.write(5)
    await lab.anchor()
    // As a forced restore does: the state and the keyring are the origin's, the cluster's name and the process stay.
    lab.state = origin.state
    lab.auditKey = origin.auditKey
    lab.cluster = 'restored'
    lab.broker.setKey(null)
    await lab.write(1)
    lab.broker.setKey(lab.auditKey)
    await lab.write(5)
    await lab.anchor()
    await lab.stop()
    await lab.start()
    await lab.write(1)
    await lab.anchor()
    await lab.stop()
    const verdict = await verdictOf(lab)
    expect([verdict.verdict, texts(verdict), verdict.tailLines]).toEqual(['whole', [], 0])
    expect(slowVerify(lab.contents(), await lab.proof())).toBeNull()
    const boots = new Set(linesOf(lab.path).map((line) => JSON.parse(line).chain.boot))
    expect(boots.size).toBe(3)
  })

  test('sealed and opened again with the same key, a lane goes on with its life', async () => {
    const lab = await newLab().start()
    await lab.write(2)
    lab.broker.setKey(null)
    await lab.write(2)
    lab.broker.setKey(lab.auditKey)
    await lab.write(2)
    await lab.stop()
    const boots = new Set(linesOf(lab.path).map((line) => JSON.parse(line).chain.boot))
    expect(boots.size).toBe(1)
  })

  test('what comes late of a life that is over is no anchor', async () => {
    const lab = await newLab().start()
    await lab.write(2)
    await lab.anchor()
    await lab.write(2)
    const [late] = await lab.broker.heads()
    await lab.crash(null)
    await lab.start()
    await lab.write(2)
    await lab.anchor()
    const before = lab.state.values.size
    await anchorHeads(lab.state, { cluster: lab.cluster, node: lab.node, keyringTerm: 1, timeMs: 1 }, [late!])
    expect(lab.state.values.size).toBe(before)
    await lab.stop()
  })

  test('the key that signs is replaced: by the keyring’s rotation and by time; whoever has noted down an older one goes on to the newest', async () => {
    const lab = await newLab().start()
    const proofs = []
    for (const term of [1, 2, 2, 3]) {
      lab.keyringTerm = term
      await lab.write(2)
      await lab.anchor()
      proofs.push(await lab.proof())
    }
    await lab.stop()
    const [first, second, same, last] = proofs.map(({ public_key: pem }) => pem)
    expect([first === second, second === same, same === last]).toEqual([false, true, false])
    const proof = proofs.at(-1)!
    expect(readProof(proof.text).anchors.map(({ key }) => key)).toEqual([1, 2, 2, 3])
    for (const pinned of [first!, second!, last!, null]) {
      expect(await verifyFiles(lab.files(), { evidence: readEvidence(proof, pinned) })).toMatchObject({ verdict: 'whole', tailLines: 0 })
    }
    expect(slowVerify(lab.contents(), proof)).toBeNull()
    // The proof of before is not signed by the key of now.
    expect(readEvidence(proofs[0]!, last!).problems).toEqual(['the proof is not signed by this public key'])
  })

  test('a chain of keys that somebody else goes on with leads nowhere', async () => {
    const lab = await newLab().start()
    await lab.write(2)
    await lab.anchor()
    lab.keyringTerm = 2
    await lab.write(2)
    await lab.anchor()
    await lab.stop()
    const proof = await lab.proof()
    const told = readProof(proof.text)
    const [first, second] = told.signers.map(({ text }) => readCertificate(text))
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const other = signCertificate({ ...second!, public_key: pemOf(publicKey) }, privateKey)
    const forged = signProof({ ...told, signers: [told.signers[0]!, other], anchors: told.anchors.slice(0, 1) }, privateKey)
    expect(readEvidence(forged, first!.public_key).problems).toEqual(['the proof is not signed by this public key'])
    expect(readEvidence(forged, second!.public_key).problems).toEqual(['the proof is not signed by this public key'])
    // Who believes the key that a proof brings believes whoever made it: that is why it is noted down.
    expect(readEvidence(forged, null).problems).toEqual([])
    const unnumbered = signProof({ ...told, signers: told.signers.toReversed() }, privateKey)
    expect(readEvidence(unnumbered, null).problems).toEqual(['the proof is not signed by this public key'])
  })

  test('a key signs for 30 days at most', async () => {
    const state = memoryTransaction()
    const days = 24 * 3_600_000
    const ns = []
    for (const day of [0, 29, 31, 60, 62]) ns.push((await signerFor(state, { timeMs: day * days, keyringTerm: 1 })).n)
    expect(ns).toEqual([1, 1, 2, 2, 3])
  })
})

test('200 random tampers: each up to the last anchor is found, and another verifier agrees', async () => {
  const random = seeded(20_260_801)
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-tampers-'))
  const tally = newTally()
  while (tally.tampers < 200) {
    const scene = await makeScene(random, tally.tampers % 2 === 0)
    expect(slowVerify(scene.files, scene.proof)).toBeNull()
    for (let i = 0; i < 20; i += 1) await tryOne(scene, random, join(folder, 'files'), tally, scene.name)
  }
  rmSync(folder, { recursive: true })
  expect(tally).toMatchObject({ missed: 0, disagreements: 0 })
  expect(tally.found).toBeGreaterThan(100)
  expect(tally.named / tally.found).toBeGreaterThan(0.97)
}, 120_000)
