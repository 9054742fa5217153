/**
 * Bits flipped in copies of a node's store, each opened and read as a whole by the production code. What it returns without an error must be what was
 * written; it may refuse (and be repaired from peers), but never lie.
 */
import { createHash } from 'node:crypto'
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from '#base/logger.ts'
import { silentLogger } from '#base/logger.ts'
import type { LogStore, StateStore } from '#store/types.ts'
import { until } from '#test/support/server-process.ts'
import { countBy, drawFlip, flip, liveFiles, type Flip } from './bit-flips.ts'
import type { Bench, Proof, Subject } from './types.ts'
import { mountKv, restart, Writers } from './writers.ts'

type Outcome =
  | 'harmless'
  /** Opened with a warning, and right. */
  | 'mended'
  /** The log is cut to what proves itself; the node has no vote until it has the rest from the others again. */
  | 'cut, without a vote'
  /** The state is fetched from the other nodes. */
  | 'refetched'
  /** The node stays out. */
  | 'refused'
  /** Found when it was read. */
  | 'refused on reading'
  /** An older state, whose rest is applied again from the log. */
  | 'replayed'
  /** The newest entries were dropped as a torn tail; the mark of what was promised did not cover them yet, and peers prove them. */
  | 'unmarked tail'
  | 'WRONG'
  | 'LOST'
  | 'CRASHED'

interface Round extends Flip {
  readonly base: string
  readonly outcome: Outcome
  readonly said: string
}

interface Truth {
  readonly first: number
  readonly last: number
  readonly term: number
  readonly vote: string | null
  readonly entries: ReadonlyMap<number, string>
  readonly pairs: ReadonlyMap<string, string>
  readonly applied: number
}

interface Base {
  readonly name: string
  readonly dir: string
  readonly files: readonly string[]
  readonly truth: Truth
  /** The highest index that the mark beside the log covers. */
  readonly marked: number
}

const secretsPerPhase = 800
const firstKey = new Uint8Array([0x08])
const endOfKeys = new Uint8Array(64).fill(0xff)
const entryBytesMax = 1_048_576
const bad: ReadonlySet<Outcome> = new Set(['WRONG', 'LOST', 'CRASHED'])

export const flips: Proof<Round> = {
  name: 'flips',
  claim:
    '900 single-bit flips, each in a copy of a store that the production code then opens and reads: never a wrong answer, never a lost acknowledged write.',
  rounds: 900,
  async prepare(bench) {
    const bases = await makeBases(bench)
    const { subject, dir } = bench
    for (const base of bases) await expectEyes(subject, dir, base)
    return {
      async round(number, dice) {
        const base = dice.pick(bases)
        const copy = join(dir, `copy${number}`)
        cpSync(base.dir, copy, { recursive: true })
        const drawn = drawFlip(copy, base.files, dice)
        flip(copy, drawn)
        try {
          return { ...drawn, base: base.name, ...(await examine(subject, copy, base)) }
        } finally {
          rmSync(copy, { recursive: true, force: true })
        }
      },
      stop: () => Promise.resolve(),
    }
  },
  conclude(rounds) {
    const wrong = rounds.filter(({ outcome }) => bad.has(outcome))
    const inLevel = rounds.filter(({ kind }) => kind !== 'other').length
    const figures = {
      flips: rounds.length,
      in_log_table_or_manifest: inLevel,
      by_file: countBy(rounds, ({ kind }) => kind),
      outcomes: countBy(rounds, ({ outcome }) => outcome),
      by_file_and_outcome: countBy(rounds, ({ kind, outcome }) => `${kind}: ${outcome}`),
      wrong: wrong.slice(0, 20),
    }
    return { figures, clean: wrong.length === 0 && inLevel * 2 >= rounds.length }
  },
}

/** A cluster writes, restarts and writes again; one node was then killed, another stopped in order: both folders, and what is in them. */
async function makeBases({ subject, dir, say }: Bench): Promise<Base[]> {
  const clusterDir = join(dir, 'cluster')
  const cluster = await subject.cluster(clusterDir, { nodes: 3 })
  await cluster.start()
  await mountKv(cluster, 2)
  for (let phase = 0; phase < 3; phase++) {
    const writers = new Writers(cluster, `phase${phase}`)
    writers.start(16)
    await until('enough to be written', () => Promise.resolve(writers.written.length >= secretsPerPhase ? true : null), 120_000)
    await writers.stop()
    if (phase === 2) break
    for (const node of cluster.nodes) {
      await cluster.stopNode(node, phase === 0 ? 'SIGTERM' : 'SIGKILL')
      await restart(cluster, [node])
    }
  }
  const [killed, stopped] = cluster.nodes
  if (killed === undefined || stopped === undefined) throw new Error('expected three nodes')
  await cluster.stopNode(killed, 'SIGKILL')
  await cluster.stop()
  return Promise.all(
    [killed, stopped].map(async ({ dataDir }, i) => {
      const name = i === 0 ? 'killed' : 'stopped'
      const base = join(dir, name)
      cpSync(dataDir, base, { recursive: true })
      const probe = join(dir, `${name}-probe`)
      cpSync(dataDir, probe, { recursive: true })
      const truth = await readTruth(subject, probe)
      rmSync(probe, { recursive: true })
      const files = liveFiles(base)
      say(`${name}: ${truth.entries.size} entries, ${truth.pairs.size} pairs in ${files.length} files`)
      return { name, dir: base, files, truth, marked: markIn(base) }
    }),
  )
}

async function readTruth(subject: Subject, dir: string): Promise<Truth> {
  const clusterId = clusterOf(dir)
  const log = await subject.openLogStore({ directory: dir, clusterId })
  const state = await subject.openStateStore({ directory: dir, clusterId })
  try {
    const { term, vote } = log.hardState
    const pairs = await readPairs(state)
    if (pairs.size < 1_000 || log.lastIndex() < 1_000) throw new Error(`expected a store worth damaging, got ${pairs.size} pairs`)
    return { first: log.firstIndex(), last: log.lastIndex(), term, vote, entries: readEntries(log), pairs, applied: state.meta.applied }
  } finally {
    await state.close()
    await log.close()
  }
}

/** An intact copy is found harmless, and one that differs from what is expected wrong: an examination that sees nothing would pass everything. */
async function expectEyes(subject: Subject, dir: string, base: Base): Promise<void> {
  const { truth } = base
  const other = <K>(map: ReadonlyMap<K, string>): Map<K, string> =>
    new Map([...map].map(([key, value], i) => [key, i === 500 ? 'other' : value]))
  const lies = [
    truth,
    { ...truth, entries: other(truth.entries) },
    { ...truth, pairs: other(truth.pairs) },
    { ...truth, last: truth.last + 1 },
  ]
  const seen: Outcome[] = []
  for (const lie of lies) {
    const copy = join(dir, `${base.name}-intact`)
    cpSync(base.dir, copy, { recursive: true })
    seen.push((await examine(subject, copy, { ...base, truth: lie, marked: lie.last })).outcome)
    rmSync(copy, { recursive: true })
  }
  if (seen.join() !== 'harmless,WRONG,WRONG,LOST') throw new Error(`expected the examination to tell intact from wrong, got ${seen.join()}`)
}

async function examine(subject: Subject, dir: string, base: Base): Promise<{ outcome: Outcome; said: string }> {
  const said: string[] = []
  const open: { close(): Promise<void> }[] = []
  const finding = (outcome: Outcome, text = said.join('; ')): { outcome: Outcome; said: string } => ({ outcome, said: text.slice(0, 300) })
  let opening = true
  try {
    const common = { directory: dir, clusterId: clusterOf(dir), logger: listening(said) }
    // Both as a node among others opens them.
    const log = await subject.openLogStore({ ...common, repairable: true })
    open.push(log)
    const state = await subject.openStateStore({ ...common, repairable: true })
    open.push(state)
    opening = false
    const verdict = compareLog(log, base)
    if (verdict !== null && verdict !== 'cut, without a vote') return finding(verdict)
    if (state.damage !== null) return finding(verdict ?? 'refetched', state.damage.message)
    const ofState = await compareState(state, log, base.truth, said)
    return finding(verdict === null || bad.has(ofState) ? ofState : verdict)
  } catch (error) {
    const { code, message, stack } = error as NodeJS.ErrnoException
    const refusal = code?.startsWith('ERR_STORE_') === true || code === 'ERR_UPGRADE_REQUIRED'
    if (!refusal) return finding('CRASHED', stack)
    return finding(opening ? 'refused' : 'refused on reading', message)
  } finally {
    // A store that has failed may fail to close, too; it is thrown away with its folder.
    for (const store of open.toReversed()) await store.close().catch(() => {})
  }
}

/** Null: the log is as it was. */
function compareLog(log: LogStore, { truth, marked }: Base): Outcome | null {
  const { term, vote } = log.hardState
  if (term < truth.term || (term === truth.term && vote !== truth.vote)) return 'LOST'
  const entries = readEntries(log)
  for (const [index, hash] of entries) if (truth.entries.get(index) !== hash) return 'WRONG'
  if (log.fence !== null) return log.fence.term > truth.term && log.lastIndex() <= truth.last ? 'cut, without a vote' : 'WRONG'
  if (log.firstIndex() > truth.first) return 'LOST'
  if (log.lastIndex() >= truth.last) return null
  return log.lastIndex() >= marked ? 'unmarked tail' : 'LOST'
}

async function compareState(state: StateStore, log: LogStore, truth: Truth, said: readonly string[]): Promise<Outcome> {
  const pairs = await readPairs(state)
  if (state.meta.applied === truth.applied) {
    const same = pairs.size === truth.pairs.size && [...pairs].every(([key, value]) => truth.pairs.get(key) === value)
    if (!same) return 'WRONG'
    return said.length > 0 ? 'mended' : 'harmless'
  }
  // What the log still has is applied again; what lies before must be a state that once was: its digest, changed with each batch, says so.
  if (state.meta.applied > truth.applied || log.firstIndex() > state.meta.applied + 1) return 'LOST'
  await state.scrub(() => Promise.resolve())
  return 'replayed'
}

function readEntries(log: LogStore): Map<number, string> {
  const found = new Map<number, string>()
  for (let next = log.firstIndex(); next <= log.lastIndex();) {
    const entries = log.entries(next, log.lastIndex() + 1, entryBytesMax)
    if (entries === null || entries.length === 0) throw new Error(`expected entries from ${next} on, got none`)
    for (const { index, term, type, data } of entries) found.set(index, `${term}/${type}/${hashOf(data)}`)
    next = (entries.at(-1)?.index ?? next) + 1
  }
  return found
}

async function readPairs(state: StateStore): Promise<Map<string, string>> {
  const view = state.view()
  const found = new Map<string, string>()
  try {
    for await (const [key, value] of view.entriesFrom(firstKey, endOfKeys)) found.set(Buffer.from(key).toString('latin1'), hashOf(value))
  } finally {
    view.release()
  }
  return found
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64')

function clusterOf(dir: string): string {
  const { clusterId } = JSON.parse(readFileSync(join(dir, 'identity', 'identity.json'), 'utf8')) as { clusterId: string }
  return clusterId
}

/** As src/store/ack.ts lays it out: two slots, the index in each behind twelve bytes. */
function markIn(dir: string): number {
  const bytes = readFileSync(join(dir, 'acknowledged'))
  return Math.max(...[0, 512].map((at) => (bytes.length >= at + 16 ? bytes.readUInt32BE(at + 12) : 0)))
}

function listening(said: string[]): Logger {
  const note = (...args: unknown[]): void => void said.push(String(args.findLast((arg) => typeof arg === 'string') ?? ''))
  return { ...silentLogger, warn: note, error: note }
}
