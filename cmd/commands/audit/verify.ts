/** audit proof, verify: whether files are what was written. */
import { statSync, writeFileSync } from 'node:fs'
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { ProofFile } from '#audit/anchor.ts'
import { noEvidence, readEvidence, type Evidence } from '#audit/verify/evidence.ts'
import { exitCodeOf, verifyFiles, type Verdict } from '#audit/verify/verify.ts'
import { readData } from '../../cli/common.ts'
import { Progress, sizeText } from '../../cli/progress.ts'
import { UsageError, type Command, type CommandContext } from '../../cli/types.ts'

const proofPath = 'sys/audit-proof'
const bytesPerMb = 1_000_000

const asProof = (value: Readonly<Record<string, unknown>>): ProofFile => {
  const { text, signature, public_key: key } = value
  if (typeof text === 'string' && typeof signature === 'string' && typeof key === 'string') return { text, signature, public_key: key }
  throw new UsageError(
    'the proof expected text, signature and public_key, got something else',
    'make one with: holdfast audit proof > FILE',
  )
}

async function proof(context: CommandContext): Promise<void> {
  const file = asProof(await readData(context, proofPath))
  const [out] = context.args
  if (out === undefined) return context.output.text(`${JSON.stringify(file)}\n`)
  writeFileSync(out, `${JSON.stringify(file)}\n`, { mode: 0o600 })
  context.output.say(`Success! The proof of all anchored audit records is in ${out}`)
}

/** From a file, or from the cluster; null, and why, when neither has it. */
async function evidenceOf(context: CommandContext): Promise<{ evidence: Evidence; why: string | null }> {
  const file = context.flags.string('proof')
  const pinnedFile = context.flags.string('public-key')
  const pinned = pinnedFile === undefined ? null : context.io.readFile(pinnedFile)
  if (file !== undefined) return { evidence: readEvidence(parsed(context.io.readFile(file)), pinned), why: null }
  try {
    return { evidence: readEvidence(asProof(await readData(context, proofPath)), pinned), why: null }
  } catch (error) {
    return { evidence: noEvidence, why: `no proof from the cluster: ${(error as Error).message}` }
  }
}

function parsed(text: string): ProofFile {
  try {
    return asProof(JSON.parse(text) as Record<string, unknown>)
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError('the proof expected to be JSON, got something else')
  }
}

async function verify(context: CommandContext): Promise<number> {
  const { evidence, why } = await evidenceOf(context)
  const progress = new Progress(context.io, 'checked', totalBytes(context.args))
  let done = 0
  let current = 0
  let currentFile = ''
  const found = await verifyFiles(context.args, {
    evidence,
    part: context.flags.bool('part'),
    onProgress: (file, bytes) => {
      if (file !== currentFile) done += current
      currentFile = file
      current = bytes
      progress.at(done + bytes)
    },
  })
  progress.end()
  const verdict: Verdict = why === null ? found : { ...found, unknown: [why, ...found.unknown] }
  await print(context, verdict, progress.seconds)
  return exitCodeOf(verdict)
}

const totalBytes = (files: readonly string[]): number | null =>
  // What is compressed is longer than it says.
  files.some((file) => file.endsWith('.gz'))
    ? null
    : files.reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0)

const words: Readonly<Record<Verdict['verdict'], string>> = { whole: 'whole', tampered: 'TAMPERED', unknown: 'could not tell' }

async function print(context: CommandContext, verdict: Verdict, seconds: number): Promise<void> {
  const { output, flags } = context
  const mbPerSecond = verdict.bytes / bytesPerMb / Math.max(0.001, seconds)
  const value = { ...verdict, seconds, mb_per_second: Math.round(mbPerSecond * 10) / 10 }
  const rows = verdict.files.map(({ file, node, device, lines, tailLines, torn }) => [
    file,
    node ?? '-',
    device ?? '-',
    String(lines),
    String(tailLines),
    torn ? 'yes' : '',
  ])
  await output.table(['File', 'Node', 'Device', 'Records', 'Unproven tail', 'Half a line'], rows, value)
  for (const { text, file, line } of verdict.findings)
    output.say(`${file === null ? '' : `${file}${line === null ? '' : `:${line}`}: `}${text}`)
  for (const text of verdict.unknown) output.say(text)
  const asOf = verdict.issuedMs === null ? '' : `, by a proof of ${formatRfc3339(verdict.issuedMs)}`
  const tail = verdict.tailLines === 0 ? '' : `; unproven tail: the last ${verdict.tailLines}`
  const speed = `${sizeText(verdict.bytes)} in ${seconds.toFixed(1)} s, ${mbPerSecond.toFixed(0)} MB/s`
  output.say(`${words[verdict.verdict]}: ${verdict.lines} records${asOf}${tail} (${speed})`)
  if (verdict.verdict === 'whole' && flags.string('public-key') === undefined)
    output.note('the public key is the one that the proof brings: give -public-key to believe no proof but the cluster’s')
}

export const proofCommand: Command = {
  path: ['audit', 'proof'],
  synopsis: 'Fetch what checking audit files needs: signed anchors, and keys of closed epochs',
  args: '[FILE]',
  argsMin: 0,
  argsMax: 1,
  description: 'Nothing in it can forge a record. Keep it, and its public_key, where nobody comes who can write audit files.',
  examples: ['holdfast audit proof proof.json'],
  run: proof,
}

export const verifyCommand: Command = {
  path: ['audit', 'verify'],
  synopsis: 'Check that audit files are whole: no record changed, removed, added or moved',
  args: 'FILE...',
  argsMin: 1,
  argsMax: Infinity,
  description:
    'Give all files of a device, in any order, compressed or not. Exit code 0: whole; 1: tampered with; 2: could not tell. Records after the last anchor are the unproven tail.',
  examples: [
    'holdfast audit verify /var/log/holdfast/audit.log*',
    'holdfast audit verify -proof=proof.json -public-key=audit.pem audit.log',
  ],
  flags: {
    proof: { type: 'string', placeholder: 'FILE', description: 'A saved proof; without it the cluster is asked.' },
    'public-key': { type: 'string', placeholder: 'FILE', description: 'The public key that signatures must be of, PEM.' },
    part: { type: 'bool', description: 'The files are a part: what stood before and after them is not expected.' },
  },
  run: verify,
}
