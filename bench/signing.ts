/**
 * What signed commands cost: a command of one section, of one value or of eight, from its encoding at the leader to the check on a follower; and a round of
 * reads. No disk, no network. Run: node bench/signing.ts
 */
import { hash, createHmac } from 'node:crypto'
import { parseArgs } from 'node:util'
import { createRaft, emptyMembership, EntryType, type Entry } from '#raft/index.ts'
import { isProven, macOf, type Authenticator } from '#replica/authenticator.ts'
import { CommandChain } from '#replica/chain.ts'
import { decodeCommand, encodeCommand } from '#replica/command.ts'
import { proveState } from '#replica/proofs.ts'
import { emptyMeta } from '#store/statemeta.ts'
import type { LogStore, StateStore } from '#store/types.ts'
import { recordFigures } from '#test/support/figures.ts'

const { values } = parseArgs({ options: { times: { type: 'string', default: '20000' } } })
const times = Number(values.times)
const key = hash('sha256', 'a key', 'buffer')
const authenticator: Authenticator = { mac: (input) => createHmac('sha256', key).update(input).digest() }
const scope = { clusterId: '11111111-2222-3333-4444-555555555555', incarnation: 1 }
const state = { meta: { ...emptyMeta, applied: 1, digest: new Uint8Array(2_048) } }
const log = {} as LogStore

/** Microseconds for one run of `work`, in the best of 30 batches: others may share the machine. */
function microseconds(work: () => unknown): number {
  const batches = Array.from({ length: 30 }, () => {
    const started = performance.now()
    for (let at = 0; at < times / 30; at += 1) work()
    return ((performance.now() - started) * 1_000) / (times / 30)
  }).toSorted((a, b) => a - b)
  return Math.round((batches[0] ?? 0) * 100) / 100
}

function chain(): CommandChain {
  const made = new CommandChain({ log, state: state as StateStore, scope: () => scope })
  made.open(authenticator)
  return made
}

function ofCommand(valueBytes: number, opsCount: number): Record<string, number> {
  const ops = Array.from({ length: opsCount }, (_, at) => ({ key: new Uint8Array(48).fill(0x20 + at), value: new Uint8Array(valueBytes) }))
  const command = { timeMs: 1_700_000_000_000, sections: [{ section: new Uint8Array(17), ops }], directory: null }
  const leader = chain()
  const place = { index: 2, term: 1 }
  const data = encodeCommand(command)
  leader.signCommand(data, place, false)
  const entry = (): Entry => ({ ...place, type: EntryType.command, data })
  const follower = chain()
  const seen = entry()
  follower.admit('leader', [seen])
  return {
    commandBytes: data.length,
    encodeUs: microseconds(() => encodeCommand(command)),
    decodeUs: microseconds(() => decodeCommand(data)),
    signUs: microseconds(() => leader.signCommand(data, place, false)),
    checkOnArrivalUs: microseconds(() => follower.admit('leader', [entry()])),
    followAfterThatUs: microseconds(() => follower.follow([seen], state.meta)),
  }
}

const raft = createRaft(
  {
    id: 'a',
    electionTicks: 10,
    heartbeatTicks: 2,
    sealedElectionFactor: 3,
    entryBytesMax: 1_048_576,
    appendBytesMax: 1_048_576,
    inflightMessagesMax: 64,
    inflightBytesMax: 16_777_216,
    uncommittedBytesMax: 67_108_864,
    committedBytesMax: 16_777_216,
    pendingReadsMax: 1_024,
    preVote: true,
    checkQuorum: true,
    randomBelow: () => 0,
  },
  { hardState: { term: 1, vote: null, commit: 0 }, membership: { ...emptyMembership, voters: ['a', 'b', 'c'] }, applied: 0 },
  {
    firstIndex: () => 1,
    lastIndex: () => 0,
    term: () => 0,
    entries: () => [],
    snapshot: () => ({ index: 0, term: 0, membership: emptyMembership }),
  },
)
const answer = ['node-a', 'node-b', 7, 1_234_567, 998_877, 1_700_000_000_000]
const proof = macOf(authenticator, 'read index', scope, answer)
const figures = {
  'one value of 256 bytes': ofCommand(256, 1),
  'eight values of 1 KiB': ofCommand(1_024, 8),
  'a round of reads': {
    proveUs: microseconds(() => macOf(authenticator, 'read index', scope, answer)),
    checkUs: microseconds(() => isProven(authenticator, 'read index', scope, answer, proof)),
  },
  'a proof of the state': { proveUs: microseconds(() => proveState(authenticator, scope, state.meta)) },
  'the place of a command': { statusUs: microseconds(() => raft.status()) },
}
recordFigures('signing', 'node bench/signing.ts', figures)
