import { expect, test } from 'vitest'
import { readProof } from '#audit/anchor.ts'
import { epochKey } from '#audit/epochs.ts'
import { readEvidence } from '#audit/verify/evidence.ts'
import { verifyFiles } from '#audit/verify/verify.ts'
import { silentLogger } from '#base/logger.ts'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { AuditAnchors } from '#node/audit-anchors.ts'
import { AuditLab } from '#test/support/audit-lab.ts'
import { openBarriers } from '#test/support/open-barrier.ts'

test("a node that was killed: the proof's keys are those that its earlier life wrote under, so its file is whole", async () => {
  const { cluster, at } = await openBarriers(1)
  const barrier = at(0)
  using key = barrier.derivedKey('audit')
  const lab = new AuditLab('n1')
  lab.auditKey.set(key.reveal())
  const anchors = (): AuditAnchors =>
    new AuditAnchors({
      barrier,
      random: systemRandom,
      replica: cluster.node(0),
      transport: () => null,
      audit: lab.broker,
      everyMs: 10_000,
      clock: systemClock,
      log: silentLogger,
    })
  try {
    await lab.start()
    await lab.write(12)
    await anchors().round()
    await lab.crash('{"time":"2026-08')
    // Another life is anchored: only then is the key of the one before told.
    await lab.start()
    await lab.write(4)
    const again = anchors()
    await again.round()
    const proof = await barrier.read({ kind: 'linearizable' }, (view) => again.proof(view))
    const { keys } = readProof(proof!.text)
    const [name = ''] = Object.keys(keys)
    expect(keys[name]).toBe(epochKey(key.reveal(), name.slice(0, 36), 1).toString('base64'))
    expect(await verifyFiles(lab.files(), { evidence: readEvidence(proof!, null) })).toMatchObject({
      verdict: 'whole',
      findings: [],
      lines: 16,
    })
    await lab.stop()
  } finally {
    lab.remove()
  }
})
