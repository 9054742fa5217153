/** Seeded bugs in what keeps a repeated write from being applied twice. */
import type { Mutant } from './types.ts'

const simulator = { simulator: true } as const
const once = 'test/unit/core/once.test.ts'

export const onceMutants: readonly Mutant[] = [
  {
    id: 'repeated-applied-again',
    failures: [26],
    file: 'src/core/slots.ts',
    find: "return serial === mark.serial ? 'again' : 'first'",
    replace: "return serial === mark.serial + 1 ? 'again' : 'first'",
    breaks: 'a write that is sent again after its outcome was lost is applied again: as if there were no table',
    killedBy: simulator,
  },
  {
    id: 'straggler-applied',
    failures: [26],
    file: 'src/core/slots.ts',
    find: " || serial < mark.serial) return 'superseded'",
    replace: ") return 'superseded'",
    breaks: "a sending that comes when its sender's slot has served the next request is carried out, perhaps for the second time",
    killedBy: { ...simulator, test: 'test/unit/core/slots.test.ts::carries each request out once, whatever arrives when' },
  },
  {
    id: 'earlier-run-applied',
    failures: [26],
    file: 'src/core/slots.ts',
    find: 'if (mark === null || boot > mark.boot)',
    replace: 'if (mark === null || boot !== mark.boot)',
    breaks: 'what an earlier run of the sender has sent is carried out behind the requests of this one',
    killedBy: { ...simulator, test: 'test/unit/core/slots.test.ts::carries each request out once, whatever arrives when' },
  },
  {
    id: 'refused-then-applied',
    failures: [26, 27],
    file: 'src/core/keeping.ts',
    find: 'onceKey?.repeated === true && found',
    replace: 'onceKey?.repeated === false && found',
    breaks: 'a repetition is refused, and then its first sending arrives and is carried out: failed, then committed',
    killedBy: { test: `${once}::that was refused when it was repeated is not done by an earlier sending that comes behind it` },
  },
  {
    id: 'unknown-told-undone',
    failures: [27],
    file: 'src/core/core.ts',
    find: 'again ? (journey.lost ?? sending) : sending',
    replace: 'sending',
    breaks: 'a write that a silent leader may have carried out is called undone, since nobody led when it was sent again',
    killedBy: {
      test: 'test/unit/core/handle.test.ts::but not for ever; longer where it may have been carried out, and then it is not called undone',
    },
  },
  {
    id: 'id-of-another-request',
    failures: [26],
    file: 'src/core/once.ts',
    find: 'if (kept.fingerprint !== key.fingerprint) return',
    replace: "if (kept.fingerprint === '') return",
    breaks: "another request under a client's id gets the answer of the first, and is not carried out",
    killedBy: { test: `${once}::under the id is refused, and nothing is done` },
  },
  {
    id: 'use-counted-twice',
    failures: [26],
    file: 'src/core/evaluate.ts',
    find: 'if (found.numUses > 0 && !open && !kept) {',
    replace: 'if (found.numUses > 0 && !open) {',
    breaks: "a repetition uses up its token's uses although nothing is done",
    killedBy: { test: `${once}::a token's only use is used once, whether the request succeeds or fails` },
  },
]
