/**
 * Anchors as they are kept: in the Raft log with everything else, in the root's section 'sys/audit', sealed by the barrier and signed with the cluster's
 * audit key, which lies there too. The leader writes them, for its own lanes and for those of which the other nodes tell it (node/audit-anchors.ts).
 *
 * Of each lane the newest ones are kept, and of those before the last one of each life and each epoch: the chain ties everything between to them.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { readAnchor, signAnchor, signProof, type Anchor, type ProofFile, type Signed } from './anchor.ts'
import { epochKey } from './epochs.ts'
import type { LaneHead } from './types.ts'

const formatVersion = 1
export const auditSection: Section = { namespace: 'root', mount: 'sys/audit' }
const signerPath = 'signer'
/** The newest anchors of a lane: at one every ten seconds, those of an hour and a half. */
const newestMax = 512
/** Ends of lives and epochs of a lane: at one a day, those of eleven years. */
const closingsMax = 4_096
/** Devices times nodes; more are refused. */
const lanesMax = 256

interface LaneRecord {
  readonly node: string
  readonly device: string
  /** Of the last anchor. */
  readonly n: number
  readonly boot: string
  readonly epoch: number
  readonly seq: number
  /** Numbers of anchors that end a life or an epoch, older than the newest. */
  readonly closings: readonly number[]
}

const laneFolder = 'lanes'
const part = (text: string): string => `=${encodeURIComponent(text)}`
const lanePath = (node: string, device: string): string => `${laneFolder}/${part(node)}/${part(device)}`
const anchorPath = (node: string, device: string, n: number): string =>
  `anchors/${part(node)}/${part(device)}/${String(n).padStart(12, '0')}`

/** A record of this section. */
export const encoded = (value: object): Uint8Array => Buffer.from(JSON.stringify({ version: formatVersion, ...value }))

/** A record of this section; null: none. @throws ERR_STORE_CORRUPT, ERR_UPGRADE_REQUIRED. */
export async function load<T>(view: ReadView, path: string, what: string): Promise<T | null> {
  const stored = await view.get(auditSection, path)
  if (stored === null) return null
  let value: { version?: unknown } = {}
  try {
    value = JSON.parse(Buffer.from(stored).toString('utf8')) as { version?: unknown }
  } catch {
    // Told below.
  }
  if (checkVersion(what, formatVersion, value.version)) return value as T
  throw new HoldfastError('ERR_STORE_CORRUPT', `expected ${what} to have a version`)
}

/** The cluster's audit key, made where there is none. */
async function signerFor(transaction: Transaction): Promise<KeyObject> {
  const known = await signer(transaction)
  if (known !== null) return known
  const { privateKey } = generateKeyPairSync('ed25519')
  transaction.put(auditSection, signerPath, encoded({ key: privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64') }))
  return privateKey
}

async function signer(view: ReadView): Promise<KeyObject | null> {
  const record = await load<{ key: string }>(view, signerPath, 'the audit key')
  return record === null ? null : createPrivateKey({ key: Buffer.from(record.key, 'base64'), type: 'pkcs8', format: 'der' })
}

/**
 * Writes where lanes of `node` stand. What it says already, or said before, is left out.
 * @throws ERR_BAD_REQUEST: more lanes than are kept.
 */
export async function anchorHeads(transaction: Transaction, node: string, heads: readonly LaneHead[], timeMs: number): Promise<void> {
  for (const head of heads) {
    const { device } = head
    const lane = await load<LaneRecord>(transaction, lanePath(node, device), 'a lane of the audit')
    if (lane !== null && lane.boot === head.boot && lane.seq >= head.seq) continue
    if (lane === null) await checkRoom(transaction)
    const n = (lane?.n ?? 0) + 1
    const anchor: Anchor = { node, n, timeMs, ...head }
    transaction.put(auditSection, anchorPath(node, device, n), encoded(signAnchor(anchor, await signerFor(transaction))))
    const closings = await thinned(transaction, node, device, n, lane?.closings ?? [])
    const { boot, epoch, seq } = head
    transaction.put(auditSection, lanePath(node, device), encoded({ node, device, n, boot, epoch, seq, closings } satisfies LaneRecord))
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
  const stored = await load<Signed>(view, anchorPath(node, device, n), 'an anchor of the audit')
  return stored === null ? null : readAnchor(stored.text)
}

/** Everything that checking files needs: null while there is no anchor yet. `auditKey` is borrowed. */
export async function proofOf(view: ReadView, auditKey: Uint8Array, cluster: string, issuedMs: number): Promise<ProofFile | null> {
  const key = await signer(view)
  if (key === null) return null
  const anchors: Signed[] = []
  const keys: Record<string, string> = {}
  for (const node of await names(view, laneFolder)) {
    for (const device of await names(view, `${laneFolder}/${node}`)) {
      const of: Anchor[] = []
      for (const n of await names(view, `anchors/${node}/${device}`)) {
        const stored = await load<Signed>(view, `anchors/${node}/${device}/${n}`, 'an anchor of the audit')
        if (stored === null) continue
        anchors.push({ text: stored.text, signature: stored.signature })
        of.push(readAnchor(stored.text))
      }
      for (const { boot, epoch } of closedEpochs(of)) keys[`${boot} ${epoch}`] = epochKey(auditKey, boot, epoch).toString('base64')
    }
  }
  return signProof({ cluster, issuedMs, anchors, keys }, key)
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
