/**
 * Anchors as they are kept: in the Raft log with everything else, in the root's section 'sys/audit', sealed by the barrier and signed with an
 * audit key of the cluster (signer-store.ts), which lies there too. The leader writes them, for its own lanes and for those of which the other nodes tell it (node/audit-anchors.ts).
 *
 * Of each lane the newest ones are kept, and of those before the last one of each life and each epoch: the chain ties everything between to them.
 */
import { HoldfastError } from '#base/errors.ts'
import type { ReadView, Transaction } from '#barrier/types.ts'
import { readAnchor, signAnchor, signProof, type Anchor, type ProofFile, type SignedAnchor } from './anchor.ts'
import { epochKey } from './epochs.ts'
import { auditSection, encoded, load } from './records.ts'
import { certificates, signer, signerFor, type SigningTime } from './signer-store.ts'
import type { LaneHead } from './types.ts'

/** The newest anchors of a lane: at one every ten seconds, those of an hour and a half. */
const newestMax = 512
/** Ends of lives and epochs of a lane: at one a day, those of eleven years. */
const closingsMax = 4_096
/** Devices times nodes; more are refused. */
const lanesMax = 256
/** Lives before the last one that a lane remembers: what was sent before its process died may arrive after what the next one sent. */
const endedMax = 8

interface LaneRecord {
  readonly node: string
  readonly device: string
  /** Of the last anchor. */
  readonly n: number
  readonly boot: string
  readonly epoch: number
  readonly seq: number
  /** Lives that are over, the last ones. */
  readonly ended: readonly string[]
  /** Numbers of anchors that end a life or an epoch, older than the newest. */
  readonly closings: readonly number[]
}

const laneFolder = 'lanes'
const part = (text: string): string => `=${encodeURIComponent(text)}`
const lanePath = (node: string, device: string): string => `${laneFolder}/${part(node)}/${part(device)}`
const anchorPath = (node: string, device: string, n: number): string =>
  `anchors/${part(node)}/${part(device)}/${String(n).padStart(12, '0')}`

/** Whose lanes are anchored, and when. */
export interface Anchoring extends SigningTime {
  readonly cluster: string
  readonly node: string
}

/**
 * Writes where lanes of a node stand. What is said already, or said before, is left out, and so is what comes late of a life that is over.
 * @throws ERR_BAD_REQUEST: more lanes than are kept.
 */
export async function anchorHeads(transaction: Transaction, anchoring: Anchoring, heads: readonly LaneHead[]): Promise<void> {
  const { cluster, node, timeMs } = anchoring
  for (const head of heads) {
    const { device, boot, epoch, seq } = head
    const lane = await load<LaneRecord>(transaction, lanePath(node, device), 'a lane of the audit')
    if (lane !== null && ((lane.boot === boot && lane.seq >= seq) || lane.ended.includes(boot))) continue
    if (lane === null) await checkRoom(transaction)
    const n = (lane?.n ?? 0) + 1
    const { key, n: keyNumber } = await signerFor(transaction, anchoring)
    const anchor: Anchor = { cluster, node, n, timeMs, ...head }
    transaction.put(auditSection, anchorPath(node, device, n), encoded({ ...signAnchor(anchor, key), key: keyNumber }))
    const closings = await thinned(transaction, node, device, n, lane?.closings ?? [])
    const ended = lane === null || lane.boot === boot ? (lane?.ended ?? []) : [...lane.ended, lane.boot].slice(-endedMax)
    transaction.put(
      auditSection,
      lanePath(node, device),
      encoded({ node, device, n, boot, epoch, seq, ended, closings } satisfies LaneRecord),
    )
  }
}

async function checkRoom(transaction: Transaction): Promise<void> {
  let count = 0
  for (const node of await transaction.list(auditSection, laneFolder)) {
    count += (await transaction.list(auditSection, `${laneFolder}/${node.replace(/\/$/, '')}`)).length
  }
  if (count >= lanesMax)
    throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${lanesMax} audit devices on all nodes together, got more`)
}

/** Deletes the anchor that is the newest no more, unless a life or an epoch ends with it. Gives the closings that are left. */
async function thinned(
  transaction: Transaction,
  node: string,
  device: string,
  n: number,
  closings: readonly number[],
): Promise<readonly number[]> {
  const old = n - newestMax
  if (old < 1) return closings
  const [at, after] = [await anchorAt(transaction, node, device, old), await anchorAt(transaction, node, device, old + 1)]
  if (at !== null && after !== null && (at.boot !== after.boot || at.epoch !== after.epoch)) {
    if (closings.length < closingsMax) return [...closings, old]
    transaction.delete(auditSection, anchorPath(node, device, closings[0]!))
    return [...closings.slice(1), old]
  }
  transaction.delete(auditSection, anchorPath(node, device, old))
  return closings
}

async function anchorAt(view: ReadView, node: string, device: string, n: number): Promise<Anchor | null> {
  const stored = await load<SignedAnchor>(view, anchorPath(node, device, n), 'an anchor of the audit')
  return stored === null ? null : readAnchor(stored.text)
}

/** Everything that checking files needs: null while there is no anchor yet. `auditKey` is borrowed. */
export async function proofOf(view: ReadView, auditKey: Uint8Array, cluster: string, issuedMs: number): Promise<ProofFile | null> {
  const signing = await signer(view)
  if (signing === null) return null
  const anchors: SignedAnchor[] = []
  const keys: Record<string, string> = {}
  for (const node of await names(view, laneFolder)) {
    for (const device of await names(view, `${laneFolder}/${node}`)) {
      const of: Anchor[] = []
      for (const n of await names(view, `anchors/${node}/${device}`)) {
        const stored = await load<SignedAnchor>(view, `anchors/${node}/${device}/${n}`, 'an anchor of the audit')
        if (stored === null) continue
        anchors.push({ text: stored.text, signature: stored.signature, key: stored.key })
        of.push(readAnchor(stored.text))
      }
      for (const { boot, epoch } of closedEpochs(of)) keys[`${boot} ${epoch}`] = epochKey(auditKey, boot, epoch).toString('base64')
    }
  }
  return signProof({ cluster, issuedMs, signers: await certificates(view), anchors, keys }, signing.key)
}

const names = async (view: ReadView, folder: string): Promise<string[]> =>
  (await view.list(auditSection, folder)).map((name) => name.replace(/\/$/, ''))

/** Epochs behind which an anchor of the same lane stands: in the same life with a later epoch, or in a later life. */
function closedEpochs(anchors: readonly Anchor[]): { boot: string; epoch: number }[] {
  const last = new Map<string, number>()
  for (const { boot, epoch } of anchors) last.set(boot, Math.max(last.get(boot) ?? 0, epoch))
  const current = anchors.at(-1)?.boot
  const closed: { boot: string; epoch: number }[] = []
  for (const [boot, epoch] of last) {
    // A life that is over may have gone one epoch further after its last anchor.
    const end = boot === current ? epoch - 1 : epoch + 1
    for (let at = 1; at <= end; at += 1) closed.push({ boot, epoch: at })
  }
  return closed
}
