/** What files are checked against: a proof, read and itself checked. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { isSignedBy, readAnchor, readCertificate, readProof, type Anchor, type Proof, type ProofFile } from '../anchor.ts'
import { HmacKey } from '../hmac.ts'

/** One device of one node of one cluster. */
export interface AnchoredLane {
  readonly node: string
  readonly device: string
  /** In their order. */
  readonly anchors: readonly Anchor[]
}

export interface Evidence {
  readonly lanes: readonly AnchoredLane[]
  /** By boot: its lane, and the hash that each anchored line must have. */
  readonly boots: ReadonlyMap<string, { readonly lane: AnchoredLane; readonly heads: ReadonlyMap<number, string> }>
  readonly keyOf: (boot: string, epoch: number) => HmacKey | null
  readonly issuedMs: number | null
  /** What about the proof itself is wrong: forged. */
  readonly problems: readonly string[]
}

export const noEvidence: Evidence = { lanes: [], boots: new Map(), keyOf: () => null, issuedMs: null, problems: [] }

/**
 * @param pinned a public key that is known from elsewhere (PEM): the newest, or one before it that leads to it; null: the one that the proof brings, which
 * proves nothing against who made it. Never throws for what is in the file: a proof that can't be read is a problem of its own.
 */
export function readEvidence(file: ProofFile, pinned: string | null): Evidence {
  const problem = (what: string): Evidence => ({ ...noEvidence, problems: [what] })
  try {
    const proof = readProof(file.text)
    const keys = signersOf(proof, createPublicKey(pinned ?? file.public_key))
    const newest = keys?.at(-1)
    if (!keys || !newest || !isSignedBy(file, newest)) return problem('the proof is not signed by this public key')
    const problems: string[] = []
    const anchors = proof.anchors.flatMap((anchor, at) => {
      const key = keys[anchor.key - 1]
      if (key !== undefined && isSignedBy(anchor, key)) return [readAnchor(anchor.text)]
      problems.push(`anchor ${at + 1} of the proof is not signed by this public key`)
      return []
    })
    const lanes = lanesOf(anchors)
    return { lanes, boots: bootsOf(lanes), keyOf: keysOf(proof.keys), issuedMs: proof.issuedMs, problems }
  } catch {
    return problem('the proof can not be read')
  }
}

/** All audit keys, once a chain of certificates leads from `known` to the newest; null when none does. Older ones are believed because the newest signs the proof. */
function signersOf({ signers }: Proof, known: KeyObject): KeyObject[] | null {
  const keys = signers.map(({ text }, at) => {
    const { n, public_key: pem } = readCertificate(text)
    return n === at + 1 ? createPublicKey(pem) : null
  })
  if (!keys.every((key) => key !== null)) return null
  const from = keys.findIndex((key) => key.equals(known))
  if (from < 0) return null
  return signers.every((certificate, at) => at <= from || isSignedBy(certificate, keys[at - 1]!)) ? keys : null
}

function lanesOf(anchors: readonly Anchor[]): AnchoredLane[] {
  const lanes = new Map<string, Anchor[]>()
  for (const anchor of anchors) {
    const id = JSON.stringify([anchor.cluster, anchor.node, anchor.device])
    const lane = lanes.get(id)
    if (lane) lane.push(anchor)
    else lanes.set(id, [anchor])
  }
  return [...lanes.values()].map((of) => ({ node: of[0]!.node, device: of[0]!.device, anchors: of.sort((a, b) => a.n - b.n) }))
}

function bootsOf(lanes: readonly AnchoredLane[]): Evidence['boots'] {
  const boots = new Map<string, { lane: AnchoredLane; heads: Map<number, string> }>()
  for (const lane of lanes) {
    for (const { boot, seq, head } of lane.anchors) {
      const known = boots.get(boot)
      if (known) known.heads.set(seq, head)
      else boots.set(boot, { lane, heads: new Map([[seq, head]]) })
    }
  }
  return boots
}

function keysOf(keys: Readonly<Record<string, string>>): Evidence['keyOf'] {
  const made = new Map<string, HmacKey>()
  return (boot, epoch) => {
    const name = `${boot} ${epoch}`
    const known = made.get(name)
    if (known !== undefined) return known
    if (!Object.hasOwn(keys, name)) return null
    const key = new HmacKey(Buffer.from(keys[name]!, 'base64'))
    made.set(name, key)
    return key
  }
}
