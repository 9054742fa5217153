/** Seeded bugs around format levels: what lets a release write what another one, still there, can't read. */
import type { Mutant } from './types.ts'

export const levelMutants: readonly Mutant[] = [
  {
    id: 'raised-for-a-majority',
    failures: [6],
    file: 'src/replica/levels.ts',
    find: '      if (heard === undefined || nowMs - heard.atMs > this.#freshMs) return null\n',
    replace: '      if (heard === undefined || nowMs - heard.atMs > this.#freshMs) continue\n',
    breaks: 'the level is raised while members are away or silent, and they cannot read what follows',
    killedBy: { test: 'test/unit/replica/levels.test.ts::the level waits for a member that is away, and for what each has said of late' },
  },
  {
    id: 'messages-in-own-format',
    failures: [6],
    file: 'src/replica/driver.ts',
    find: 'encodeMessage(message, this.directory.level)',
    replace: 'encodeMessage(message, this.formats.max)',
    breaks: 'a newer node writes messages that older members refuse',
    killedBy: {
      simulator: true,
      test: 'test/unit/replica/levels.test.ts::a cluster is upgraded node by node and back, and raised when the last one has been',
    },
  },
  {
    id: 'level-not-checked-on-apply',
    failures: [6],
    file: 'src/replica/rounds.ts',
    find: '      checkLevel(members.level, formats)\n',
    replace: '      if (members.level < formats.min) checkLevel(members.level, formats)\n',
    breaks: 'an older release goes on past the entry that raised the level beyond it',
    killedBy: {
      simulator: true,
      test: 'test/unit/replica/levels.test.ts::an entry in a level that was not raised before it is refused, and so is one that raises beyond what this node understands',
    },
  },
  {
    id: 'level-lowered',
    failures: [6],
    file: 'src/replica/directory.ts',
    find: 'level: Math.max(directory.level, update.level) }',
    replace: 'level: update.level }',
    breaks: 'an entry that comes twice lowers the level under those who rely on it',
    killedBy: {
      test: 'test/unit/replica/levels.test.ts::an entry in a level that was not raised before it is refused, and so is one that raises beyond what this node understands',
    },
  },
  {
    id: 'other-version-taken-for-damage',
    failures: [6],
    file: 'src/store/slots.ts',
    find: '  if (!checkVersion(name, version - digitZero, (bytes[3] ?? 0) - digitZero)) return null\n',
    replace: '  if (bytes[3] !== version || !checkVersion(name, version - digitZero, (bytes[3] ?? 0) - digitZero)) return null\n',
    breaks: 'an older release takes an older twin in place of the newer slot: a term and a vote come back',
    killedBy: {
      test: 'test/unit/house/formats.test.ts::a slot of another version is no damaged one, in whose place its older twin is taken',
    },
  },
]
