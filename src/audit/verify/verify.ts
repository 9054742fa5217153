/**
 * Checks files of a device: each by itself (scan.ts), then how they hang together, then against the anchors: what those know must be there.
 *
 * Whole means: every line up to the last anchor is as it was written, in its place, and none is missing. What stands after the last anchor is the
 * unproven tail: it hangs together, and who wrote it could still have written it otherwise.
 */
import type { Evidence, AnchoredLane } from './evidence.ts'
import { scanFile, type Finding, type Scanned } from './scan.ts'

export type { Finding } from './scan.ts'

export interface FileReport {
  readonly file: string
  readonly node: string | null
  readonly device: string | null
  readonly lines: number
  readonly bytes: number
  /** Lines after the last one that is proven, where no later file proves them. */
  readonly tailLines: number
  /** It ends in half a line, which was told to nobody: a crash, or somebody who is writing now. */
  readonly torn: boolean
}

export interface Verdict {
  readonly verdict: 'whole' | 'tampered' | 'unknown'
  readonly findings: readonly Finding[]
  /** Why it could not be told. */
  readonly unknown: readonly string[]
  readonly files: readonly FileReport[]
  readonly lines: number
  readonly bytes: number
  readonly tailLines: number
  readonly issuedMs: number | null
}

export interface VerifyOptions {
  readonly evidence: Evidence
  /** The files are a piece: what stood before and after them is not expected. */
  readonly part?: boolean
  readonly onProgress?: (file: string, bytes: number) => void
}

/** 0 whole, 1 tampered, 2 could not tell. */
export const exitCodeOf = ({ verdict }: Verdict): number => (verdict === 'whole' ? 0 : verdict === 'tampered' ? 1 : 2)

/** Never rejects for what is in the files, or that they are not there: that is the verdict. */
export async function verifyFiles(files: readonly string[], options: VerifyOptions): Promise<Verdict> {
  const { evidence, part = false, onProgress = () => {} } = options
  const unknown: string[] = []
  const scans: Scanned[] = []
  for (const file of new Set(files)) {
    try {
      const scanned = await scanFile(file, evidence, (bytes) => onProgress(file, bytes))
      if (scanned.first === null && scanned.findings.length === 0) continue // Empty: nothing is said in it.
      scans.push(scanned)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'an error'
      unknown.push(`${file} can not be read: ${code}`)
    }
  }
  const chains = linked(scans)
  const findings: Finding[] = [
    ...evidence.problems.map((text): Finding => ({
      kind: 'forged anchor',
      file: null,
      line: null,
      afterSeq: null,
      text: `forged: ${text}`,
    })),
    ...scans.flatMap((scanned) => scanned.findings),
    ...chains.flatMap((chain) => beginningOf(chain, scans, evidence, part)),
    ...(part ? [] : missing(scans, evidence)),
  ]
  if (scans.length > 0 && evidence.lanes.length === 0) unknown.push('nothing anchors these lines: give a proof (holdfast audit proof)')
  const reports = chains.flatMap((chain) => reportsOf(chain, evidence))
  for (const { file, device } of reports) {
    if (device === null && evidence.lanes.length > 0) unknown.push(`no anchor of the proof knows ${file}`)
  }
  const sum = (of: (report: FileReport) => number): number => reports.reduce((total, report) => total + of(report), 0)
  return {
    verdict: findings.length > 0 ? 'tampered' : unknown.length > 0 ? 'unknown' : 'whole',
    findings,
    unknown,
    files: reports,
    lines: sum(({ lines }) => lines),
    bytes: sum(({ bytes }) => bytes),
    tailLines: sum(({ tailLines }) => tailLines),
    issuedMs: evidence.issuedMs,
  }
}

/** Files by what follows what: each chain begins with one that follows none of the others. */
function linked(scans: readonly Scanned[]): Scanned[][] {
  const next = new Map<string, Scanned[]>()
  const heads = new Set(scans.map(({ head }) => head))
  const roots: Scanned[] = []
  for (const scanned of scans) {
    const prev = scanned.first?.prev ?? null
    if (prev === null || prev === scanned.head || !heads.has(prev)) roots.push(scanned)
    else next.set(prev, [...(next.get(prev) ?? []), scanned])
  }
  const taken = new Set<Scanned>()
  const chainFrom = (root: Scanned): Scanned[] => {
    const chain: Scanned[] = []
    for (let at: Scanned | undefined = root; at !== undefined && !taken.has(at);) {
      chain.push(at)
      taken.add(at)
      at = at.head === null ? undefined : next.get(at.head)?.find((scanned) => !taken.has(scanned))
    }
    return chain
  }
  const chains = roots.map(chainFrom)
  // Two files that begin after the same line; or a circle: a file's last line was moved behind all others. Then the file after that one is where it begins.
  const moved = new Set(scans.filter(endsInFinding).map(({ head }) => head))
  const follows = (scanned: Scanned): boolean => moved.has(scanned.first?.prev ?? null)
  for (const scanned of [...scans.filter(follows), ...scans]) if (!taken.has(scanned)) chains.push(chainFrom(scanned))
  return chains
}

/** Something is wrong with the last line, or with where it stands. */
const endsInFinding = ({ findings, lines, torn }: Scanned): boolean => findings.some(({ line }) => line === lines - (torn ? 1 : 0))

/** What must stand before a chain of files, and does not. */
function beginningOf(chain: readonly Scanned[], scans: readonly Scanned[], evidence: Evidence, part: boolean): Finding[] {
  const [root] = chain
  const first = root?.first
  // Its first line was changed, which was told.
  if (!root || !first || root.findings.some(({ line }) => line === 1)) return []
  const tell = (kind: Finding['kind'], text: string, of: Partial<Finding> = {}): Finding[] => [
    { kind, file: root.file, line: 1, afterSeq: null, text, ...of },
  ]
  if (first.prev === null && first.seq === 1) return []
  // What stands behind it and claims to stand before it was moved there.
  const before = lastBefore(
    first,
    root,
    scans.filter((scanned) => scanned.head !== first.prev || !chain.includes(scanned)),
  )
  if (before?.last) {
    const { file, lines, last, torn } = before
    if (last.seq + 1 === first.seq) {
      const line = lines - (torn ? 1 : 0)
      // It may have been told from its MAC or an anchor.
      if (before.findings.some((one) => one.line === line)) return []
      return tell('altered', `altered at line ${line} of ${file}, the last one before ${root.file}`, { file, line, afterSeq: last.seq - 1 })
    }
    return tell('gap', `gap between ${file} and ${root.file}: removed after seq ${last.seq}`, { afterSeq: last.seq })
  }
  if (part) return []
  if (first.prev === null) return tell('removed', `removed before ${root.file}: it begins with seq ${first.seq}`, { afterSeq: 0 })
  const lane = evidence.boots.get(first.boot)?.lane ?? laneOf(chain, evidence)
  const oldest = lane?.anchors.findLast(({ oldest: at }) => at !== null)?.oldest
  if (oldest && oldest.boot === first.boot && oldest.seq === first.seq) return []
  return tell('gap', `gap before ${root.file}: its first line (seq ${first.seq}) follows one that is in none of the files`)
}

/** The file that ends nearest before `first`, in the same life of the device. */
function lastBefore(first: NonNullable<Scanned['first']>, root: Scanned, scans: readonly Scanned[]): Scanned | null {
  let best: Scanned | null = null
  for (const scanned of scans) {
    if (scanned === root || scanned.last?.boot !== first.boot || scanned.last.seq >= first.seq) continue
    if (best === null || scanned.last.seq > (best.last?.seq ?? 0)) best = scanned
  }
  return best
}

const laneOf = (chain: readonly Scanned[], { boots }: Evidence): AnchoredLane | null => {
  for (const { boots: seen } of chain) {
    for (const boot of seen.keys()) {
      const lane = boots.get(boot)?.lane
      if (lane) return lane
    }
  }
  return null
}

/** Lines that anchors know, and none of the files has. Only of lanes of which there is anything, unless there is nothing at all. */
function missing(scans: readonly Scanned[], { lanes, boots }: Evidence): Finding[] {
  const highest = new Map<string, { seq: number; file: string }>()
  for (const { boots: seen, file } of scans) {
    for (const [boot, seq] of seen) if ((highest.get(boot)?.seq ?? 0) < seq) highest.set(boot, { seq, file })
  }
  const given = new Set([...highest.keys()].map((boot) => boots.get(boot)?.lane))
  // Nothing is left of anything that is anchored: then that is what is missing.
  return lanes.filter((lane) => given.has(lane) || scans.length === 0).flatMap((lane) => missingOf(lane, highest))
}

function missingOf(lane: AnchoredLane, highest: ReadonlyMap<string, { seq: number; file: string }>): Finding[] {
  const oldest = lane.anchors.findLast(({ oldest: at }) => at !== null)?.oldest ?? null
  // A life that ended before it was ever anchored: what is given begins with it, or beginningOf says that it does not.
  const begins = lane.anchors.findIndex(({ boot }) => boot === oldest?.boot)
  const from = oldest === null ? 0 : Math.max(0, begins >= 0 ? begins : lane.anchors.findIndex(({ boot }) => highest.has(boot)))
  const last = new Map<string, number>()
  for (const { boot, seq } of lane.anchors.slice(from)) last.set(boot, Math.max(last.get(boot) ?? 0, seq))
  const findings: Finding[] = []
  for (const [boot, seq] of last) {
    const found = highest.get(boot)
    if (found === undefined) {
      const text = `removed: of ${lane.device} on ${lane.node} none of the files has the ${seq} lines of boot ${boot}`
      findings.push({ kind: 'removed', file: null, line: null, afterSeq: 0, text })
    } else if (found.seq < seq) {
      const text = `removed after seq ${found.seq}: ${found.file} ends there, ${seq - found.seq} lines of boot ${boot} before an anchor`
      findings.push({ kind: 'removed', file: found.file, line: null, afterSeq: found.seq, text })
    }
  }
  return findings
}

function reportsOf(chain: readonly Scanned[], evidence: Evidence): FileReport[] {
  const lane = laneOf(chain, evidence)
  const lastProven = chain.findLastIndex(({ anchoredLine }) => anchoredLine > 0)
  return chain.map((scanned, i) => {
    const whole = scanned.lines - (scanned.torn ? 1 : 0)
    return {
      file: scanned.file,
      node: scanned.first?.node ?? null,
      device: lane?.device ?? null,
      lines: whole,
      bytes: scanned.bytes,
      // A later file that is proven proves this one: it names its last line.
      tailLines: i < lastProven ? 0 : whole - scanned.anchoredLine,
      torn: scanned.torn,
    }
  })
}
