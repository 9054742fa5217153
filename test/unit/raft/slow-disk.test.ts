/** A disk slower than an election timeout must cost time, not the election. Found by the simulator (docs/internals/simulator.md, seed 6). */
import { expect, test } from 'vitest'
import { createRaft, emptyMembership, MessageType, Role, type Entry, type Raft } from '#raft/index.ts'

function start(voters: readonly string[]): Raft {
  const entries: Entry[] = []
  const membership = { ...emptyMembership, voters }
  return createRaft(
    {
      id: 'n1',
      electionTicks: 5,
      heartbeatTicks: 1,
      sealedElectionFactor: 3,
      entryBytesMax: 100,
      appendBytesMax: 1_000,
      inflightMessagesMax: 4,
      inflightBytesMax: 1_000,
      uncommittedBytesMax: 1_000,
      committedBytesMax: 1_000,
      pendingReadsMax: 4,
      preVote: false,
      checkQuorum: true,
      randomBelow: () => 0,
    },
    { hardState: { term: 1, vote: null, commit: 0 }, membership, applied: 0 },
    {
      firstIndex: () => 1,
      lastIndex: () => entries.length,
      term: (index) => (index === 0 ? 0 : (entries[index - 1]?.term ?? null)),
      entries: (lo, hi) => entries.slice(lo - 1, hi - 1),
      snapshot: () => ({ index: 0, term: 0, membership }),
    },
  )
}

function tick(raft: Raft, ticks: number): void {
  for (let at = 0; at < ticks; at += 1) raft.tick()
}

test('a sole voter whose disk takes many ticks for its vote leads once the vote is there', () => {
  const raft = start(['n1'])
  tick(raft, 1)
  const { persist } = raft.takeEffects()
  expect(persist?.hardState).toMatchObject({ term: 2, vote: 'n1' })
  tick(raft, 100)
  expect(raft.status().term).toBe(2)
  raft.persisted(persist?.persistId ?? 0)
  expect(raft.status().role).toBe(Role.leader)
})

test('a candidate among others does not raise its term before anybody was asked, and then waits a whole timeout for answers', () => {
  const raft = start(['n1', 'n2', 'n3'])
  tick(raft, 5)
  const { persist, messages } = raft.takeEffects()
  expect([persist?.hardState?.term, messages]).toEqual([2, []])
  tick(raft, 50)
  expect(raft.status()).toMatchObject({ term: 2, role: Role.candidate })
  expect(persist?.messagesAfterPersist.map(({ type, to }) => [type, to])).toEqual([
    [MessageType.vote, 'n2'],
    [MessageType.vote, 'n3'],
  ])
  raft.persisted(persist?.persistId ?? 0)
  tick(raft, 4)
  expect(raft.status().term).toBe(2)
  tick(raft, 1)
  expect(raft.status().term).toBe(3)
})
