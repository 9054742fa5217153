/** operator raft snapshot: save, inspect, verify, restore, confirm. */
import { createReadStream, existsSync, statSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import { damageOf } from '#snapshots/blocks.ts'
import { openSnapshotFile, type FileSeal } from '#snapshots/file.ts'
import { sealOf, type SnapshotFileHeader } from '#snapshots/header.ts'
import { inspectSnapshotFile, type SnapshotSummary, type Tally } from '#snapshots/inspect.ts'
import { accepted } from '#client/answer.ts'
import type { Client } from '#client/client.ts'
import { firstArg } from '../../cli/common.ts'
import type { Row } from '../../cli/output.ts'
import { Progress, sizeText } from '../../cli/progress.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'

const savePath = 'sys/storage/raft/snapshot'
const confirmPath = 'sys/storage/raft/snapshot/confirm'
const verifyPath = 'sys/storage/raft/snapshot/verify'
const forcePath = 'sys/storage/raft/snapshot-force'
/** Once all of it was sent, the leader has the other nodes store it. */
const restoreQuietMsMax = 3_600_000
/** Of `verify`: 0 is whole. What is asked wrongly ends with 1 as everywhere. */
const verifyCodes = { whole: 0, damaged: 1, unknown: 2 } as const

/** Where a saved file goes, piece by piece; nothing of it stands under its name before `finish`. */
interface Sink {
  write(piece: Uint8Array): Promise<void>
  finish(): Promise<void>
  abandon(): Promise<void>
}

async function fileSink(path: string, force: boolean): Promise<Sink> {
  const refuseToReplace = (): void => {
    if (!force && existsSync(path))
      throw new UsageError(`${path} expected not to exist, got a file`, 'another name, or -force to replace it')
  }
  refuseToReplace()
  const partial = `${path}.${process.pid}.partial`
  const file = await open(partial, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`expected to write ${path}, got ${error.code ?? 'an error'}`)
  })
  return {
    write: async (piece) => {
      for (let at = 0; at < piece.length;) at += (await file.write(piece, at)).bytesWritten
    },
    finish: async () => {
      await file.sync()
      await file.close()
      refuseToReplace()
      await rename(partial, path)
      // Without it a power cut could take the name back, and leave a person who was told that the snapshot is kept with none.
      const folder = await open(dirname(path), 'r')
      try {
        await folder.sync()
      } finally {
        await folder.close()
      }
    },
    abandon: async () => {
      // It may be closed already, or be what failed; the file goes either way.
      await file.close().catch(() => {})
      await rm(partial, { force: true })
    },
  }
}

const outputSink = ({ io }: CommandContext): Sink => ({
  write: (piece) => io.outBytes(piece),
  finish: () => Promise.resolve(),
  abandon: () => Promise.resolve(),
})

async function save(context: CommandContext): Promise<void> {
  const path = firstArg(context)
  const client = await context.client()
  if (path === '-' && context.io.stdoutIsTty)
    throw new UsageError('standard output expected a pipe or a file, got a terminal', 'holdfast operator raft snapshot save - | ...')
  const sink = path === '-' ? outputSink(context) : await fileSink(path, context.flags.bool('force'))
  const progress = new Progress(context.io, 'saved', null)
  try {
    const download = await client.download({ method: 'GET', path: savePath })
    const { header, seal } = await copyChecked(download.body, sink, progress)
    await sink.finish()
    progress.end()
    if (path === '-') return context.output.note(`saved ${sizeText(seal.bytes)} at index ${header.index}, SHA-256 ${seal.sha256}`)
    const seconds = Math.round(progress.seconds * 10) / 10
    await context.output.rows([['File', path], ...headerRows(header), ...sealRows(seal), ['Seconds', seconds]], {
      file: path,
      ...headerJson(header),
      ...sealJson(seal),
      seconds,
    })
  } catch (error) {
    progress.end()
    await sink.abandon()
    throw error
  }
}

/** Copies a file and checks it on the way: one that arrived broken is never given its name. */
async function copyChecked(
  body: AsyncIterable<Uint8Array>,
  sink: Sink,
  progress: Progress,
): Promise<{ readonly header: SnapshotFileHeader; readonly seal: FileSeal }> {
  let bytes = 0
  const copied = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of body) {
      await sink.write(piece)
      bytes += piece.length
      progress.at(bytes)
      yield piece
    }
  }
  const file = await openSnapshotFile(copied())
  for await (const _ of file.body) continue
  return { header: file.header, seal: file.seal() }
}

/** The file's bytes, or those of standard input; `total` null where nobody knows how many. */
function inputOf(context: CommandContext): { readonly open: () => AsyncIterable<Uint8Array>; readonly total: number | null } {
  const path = firstArg(context)
  if (path === '-') return { open: () => context.io.stdinBytes(), total: null }
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) throw new RefusedError(`could not read ${path}: there is none`)
  if (stat.isDirectory()) throw new RefusedError(`could not read ${path}: expected a file, got a folder`)
  return { open: () => fileBytes(path), total: stat.size }
}

async function* fileBytes(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* createReadStream(path, { highWaterMark: 256 * 1_024 }) as AsyncIterable<Uint8Array>
  } catch (error) {
    if (isHoldfastError(error) || error instanceof RefusedError) throw error
    throw new RefusedError(`could not read ${path}: ${(error as NodeJS.ErrnoException).code ?? 'unknown failure'}`)
  }
}

async function summaryOf(context: CommandContext, verb: string): Promise<SnapshotSummary> {
  const { open: openInput, total } = inputOf(context)
  const progress = new Progress(context.io, verb, total)
  try {
    return await inspectSnapshotFile(openInput(), { onProgress: (bytes) => progress.at(bytes) })
  } finally {
    progress.end()
  }
}

async function inspect(context: CommandContext): Promise<void> {
  const summary = await summaryOf(context, 'read').catch((error: unknown) => {
    if (isHoldfastError(error)) throw new RefusedError(error.message, error.hint)
    throw error
  })
  const { header, seal, voters, learners, total, classes, sections, sectionsInAll } = summary
  const tally = ({ pairs, keyBytes, valueBytes }: Tally): string =>
    `${pairs} pairs, ${sizeText(keyBytes)} of keys, ${sizeText(valueBytes)} of values`
  const classRows = Object.entries(classes).map(([name, one]): Row => [name, tally(one)])
  const sectionRows = sections.map((one): Row => [one.section, `${tally(one)} (${one.class})`])
  const members: Row[] = [
    ['Voters', voters.join(', ')],
    ['Learners', learners.length === 0 ? 'none' : learners.join(', ')],
  ]
  const shown = sections.length < sectionsInAll ? `Sections (the largest ${sections.length} of ${sectionsInAll})` : 'Sections'
  const value = { ...headerJson(header), ...sealJson(seal), voters, learners, total, classes, sections, sections_in_all: sectionsInAll }
  await context.output.sections(
    [
      ['Snapshot', [...headerRows(header), ...sealRows(seal), ...members]],
      ['Contents', [['all', tally(total)], ...classRows]],
      [shown, sectionRows],
    ],
    value,
  )
}

async function verify(context: CommandContext): Promise<number> {
  if (context.flags.bool('online')) return await verifyOnline(context)
  try {
    const { header, seal, total } = await summaryOf(context, 'checked')
    const rows: Row[] = [['Verdict', 'whole'], ...headerRows(header), ...sealRows(seal), ['Pairs', total.pairs]]
    await context.output.rows(rows, { verdict: 'whole', ...headerJson(header), ...sealJson(seal), pairs: total.pairs })
    return verifyCodes.whole
  } catch (error) {
    const damage = damageOf(error)
    if (damage === null && isHoldfastError(error)) throw new RefusedError(error.message, error.hint)
    if (damage === null) throw error
    const { message, hint } = error as HoldfastError
    return await tellDamage(context, { verdict: damage.kind, damaged_from: damage.from, damaged_to: damage.to, message }, hint)
  }
}

type DamageAnswer = Readonly<Record<'verdict' | 'damaged_from' | 'damaged_to' | 'message', unknown>>

async function tellDamage(context: CommandContext, damage: DamageAnswer, hint: string | undefined): Promise<number> {
  if (damage.verdict === 'no snapshot') throw new RefusedError(String(damage.message), hint)
  const rows: Row[] = [
    ['Verdict', damage.verdict],
    ['From byte', damage.damaged_from],
    ...(damage.damaged_to === null ? [] : [['To byte', damage.damaged_to] as const]),
    ['Message', damage.message],
  ]
  await context.output.rows(rows, damage)
  if (hint !== undefined) context.output.note(`hint: ${hint}`)
  return verifyCodes.damaged
}

/** The server reads the file too, and checks what only it can: the MAC. */
async function verifyOnline(context: CommandContext): Promise<number> {
  const { open: openInput, total } = inputOf(context)
  const client = await context.client()
  const progress = new Progress(context.io, 'sent', total)
  let sent = 0
  const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    sent = 0
    for await (const piece of openInput()) {
      sent += piece.length
      progress.at(sent)
      yield piece
    }
  }
  const once = firstArg(context) === '-'
  try {
    // Reading it twice changes nothing: a file may be sent to the next node. Standard input is gone once it was read.
    const answer = await client.upload({ method: 'POST', path: verifyPath, idempotent: !once, ...(once ? { retry: false } : {}) }, counted)
    progress.end()
    const data = accepted(answer, { method: 'POST', url: verifyPath })?.data
    if (!data) throw new RefusedError('the server answered no verdict')
    if (data['whole'] !== true) return await tellDamage(context, data as unknown as DamageAnswer, undefined)
    await context.output.rows(Object.entries(data), data)
    if (data['proven'] === true) return verifyCodes.whole
    context.output.note('hint: a restore of it would be asked to be forced: is it of another cluster, or was it altered?')
    return verifyCodes.damaged
  } finally {
    progress.end()
  }
}

/** The leader takes it: what follows of a restore is its to do. Where it says that another leads by now, that is the error. */
async function restore(context: CommandContext): Promise<void> {
  const { open: openInput, total } = inputOf(context)
  const force = context.flags.bool('force')
  // Damage is found before a byte of it is sent; standard input can be read only once.
  if (firstArg(context) !== '-') await summaryOf(context, 'checked').catch(refusedFile)
  const client = await leaderClient(context)
  const progress = new Progress(context.io, 'sent', total)
  let sent = 0
  const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of openInput()) {
      sent += piece.length
      progress.at(sent)
      yield piece
    }
    progress.end()
    context.output.note(`sent ${sizeText(sent)}; the nodes store and check it`)
  }
  const request = { method: 'POST', path: force ? forcePath : savePath, idempotent: false, retry: false } as const
  try {
    const answer = await client.upload({ ...request, quietMsMax: restoreQuietMsMax }, counted)
    const secret = accepted(answer, { method: 'POST', url: request.path })
    const data = secret?.data
    if (!data) throw new RefusedError('the server answered nothing: look at its log, and at sys/seal-status')
    const { snapshot: of, ...done } = data as { readonly snapshot?: Record<string, unknown> }
    await context.output.rows(
      [...Object.entries(done), ...Object.entries(of ?? {}).map(([name, value]): Row => [`snapshot_${name}`, value])],
      data,
    )
    context.output.warnings(secret)
  } finally {
    progress.end()
    // The dispatcher closes the one that was asked first; another one's kept connections would hold the process for seconds.
    await client.close()
  }
}

async function confirm(context: CommandContext): Promise<void> {
  const client = await context.client()
  await client.write(confirmPath)
  context.output.note('leases and jobs of the restored snapshot begin')
}

const refusedFile = (error: unknown): never => {
  if (isHoldfastError(error)) throw new RefusedError(`nothing was sent: ${error.message}`, error.hint)
  throw error
}

/** A client of the node that leads, wherever the one that was asked has sent us. */
async function leaderClient(context: CommandContext): Promise<Client> {
  const client = await context.client()
  const leader = (await client.raw({ method: 'GET', path: 'sys/leader' })).json as Readonly<Record<string, unknown>> | null
  const address = leader?.['leader_address']
  if (leader?.['is_self'] === true || typeof address !== 'string' || address === '') return client
  context.output.note(`the leader is asked: ${address}`)
  const { Client: Made } = await import('#client/client.ts')
  return new Made({ ...client.options, addresses: [address] }, { clock: systemClock, random: systemRandom })
}

const sealText = (header: SnapshotFileHeader): string => {
  const seal = sealOf(header)
  if (seal === null) return 'none'
  const shares = seal.secret ?? (seal.secret === null ? seal.recovery : null)
  if (shares === null) return seal.type
  return `${seal.type}, ${seal.secret === null ? 'recovery shares ' : ''}${shares.threshold} of ${shares.shares}`
}

const headerRows = (header: SnapshotFileHeader): Row[] => [
  ['Cluster', header.clusterName === null ? header.clusterId : `${header.clusterName} (${header.clusterId})`],
  ['Incarnation', header.incarnation],
  ['Index', header.index],
  ['Term', header.term],
  ['Created', formatRfc3339(header.createdMs)],
  ['By node', header.nodeId],
  ['Holdfast', header.holdfastVersion],
  ['Format level', header.formatLevel],
  ['Sealed by', sealText(header)],
]

const headerJson = (header: SnapshotFileHeader): Record<string, unknown> => {
  const seal = sealOf(header)
  const shares = seal === null ? null : (seal.secret ?? (seal.secret === null ? seal.recovery : null))
  return {
    cluster_id: header.clusterId,
    cluster_name: header.clusterName,
    incarnation: header.incarnation,
    index: header.index,
    term: header.term,
    created: formatRfc3339(header.createdMs),
    node_id: header.nodeId,
    holdfast_version: header.holdfastVersion,
    format_level: header.formatLevel,
    seal: seal === null ? null : { type: seal.type, shares: shares?.shares ?? null, threshold: shares?.threshold ?? null },
  }
}

const sealRows = (seal: FileSeal): Row[] => [
  ['Size', `${sizeText(seal.bytes)} (${seal.bytes} bytes)`],
  ['SHA-256', seal.sha256],
]

const sealJson = (seal: FileSeal): Record<string, unknown> => ({ bytes: seal.bytes, sha256: seal.sha256 })

const common = { args: 'FILE|-', argsMin: 1, argsMax: 1 } as const

export const snapshotCommands: readonly Command[] = [
  {
    ...common,
    path: ['operator', 'raft', 'snapshot', 'save'],
    synopsis: "Save the cluster's state into a file",
    description:
      'Any node that is open can be asked. The file stands under its name only once it is whole and on the disk; "-" writes it to standard output. It holds ciphertext: to restore it takes the seal (shares, KMS, HSM) that the cluster has now.',
    examples: [
      'holdfast operator raft snapshot save backup.snap',
      'holdfast operator raft snapshot save - | ssh vault-backup "cat > backup.snap"',
    ],
    flags: { force: { type: 'bool', description: 'Replace the file if it is there.' } },
    run: save,
  },
  {
    ...common,
    path: ['operator', 'raft', 'snapshot', 'inspect'],
    synopsis: 'Show what a snapshot file is of, and what is in it',
    description:
      'Needs no server and no key. Names of mounts and secrets are ciphertext: a section stands for one mount, by its hidden id.',
    examples: ['holdfast operator raft snapshot inspect backup.snap', 'holdfast operator raft snapshot inspect -format=json backup.snap'],
    local: true,
    run: inspect,
  },
  {
    ...common,
    path: ['operator', 'raft', 'snapshot', 'verify'],
    synopsis: 'Check that a snapshot file is whole',
    description:
      "Exits with 0 when it is whole, 1 when it is damaged or cut off (it says where), 2 when that can't be told. That finds damage; whether it is ours, and nobody has made or altered it, only a cluster that has its keys can tell: -online sends it there to be checked by its MAC.",
    examples: ['holdfast operator raft snapshot verify backup.snap', 'holdfast operator raft snapshot verify -online backup.snap'],
    flags: { online: { type: 'bool', description: 'Send it to the cluster to be checked by its MAC too.' } },
    run: verify,
  },
  {
    ...common,
    path: ['operator', 'raft', 'snapshot', 'restore'],
    synopsis: "Replace the cluster's whole state by that of a snapshot file",
    description:
      'Into the cluster that saved it, or into another that is initialised and unsealed. What was written since the snapshot is lost, and all tokens are those of then; the nodes stay the members that they are. Nothing is replaced before the file was found whole, saved by this cluster, and sealed as it is now. -force leaves out the last two: afterwards the cluster is sealed, and takes the unseal shares (or KMS, HSM) of when the snapshot was saved; and whoever could write to where the file lay has chosen what is restored. "-" reads standard input.',
    examples: [
      'holdfast operator raft snapshot restore backup.snap',
      'holdfast operator raft snapshot restore -force backup.snap',
      'ssh vault-backup cat backup.snap | holdfast operator raft snapshot restore -',
    ],
    flags: { force: { type: 'bool', description: 'Also where it is sealed otherwise, or was saved by another cluster.' } },
    run: restore,
  },
  {
    args: '',
    argsMin: 0,
    argsMax: 0,
    path: ['operator', 'raft', 'snapshot', 'confirm'],
    synopsis: "Let leases and jobs of another cluster's snapshot begin",
    description:
      'After a snapshot of another cluster was restored, what falls due in it waits: leases, tokens that end, engines’ jobs, snapshot schedules. While the cluster that saved it still runs, both would end what only one has given out. Say so once it is gone for good.',
    examples: ['holdfast operator raft snapshot confirm', 'holdfast read sys/storage/raft/snapshot/restored'],
    run: confirm,
  },
]
