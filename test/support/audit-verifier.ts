/**
 * Checks audit files by what docs/audit.md says of them, and by nothing of the product: node:crypto and this page. Where it and `holdfast audit verify`
 * disagree, one of the two, or the page, is wrong.
 */
import { createHash, createHmac, createPublicKey, verify } from 'node:crypto'

export interface Place {
  readonly file: string
  /** 1-based. */
  readonly line: number
}

interface Line {
  readonly place: Place
  readonly text: string
  readonly hash: string
  readonly chain: { node: string; boot: string; seq: number; prev: string | null; mac: string | null } | null
}

interface Anchor {
  cluster: string
  node: string
  device: string
  n: number
  boot: string
  seq: number
  head: string
  oldest: { boot: string; seq: number } | null
}

const sha = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex')

function linesOf(file: string, bytes: Buffer): Line[] {
  const texts = bytes.toString('latin1').split('\n')
  texts.pop() // Half a line, or nothing: acknowledged to nobody.
  return texts.map((text, i) => {
    let chain = null
    try {
      chain = JSON.parse(`{${text.slice(text.lastIndexOf(',"chain":{') + 1)}`).chain
      // What we wrote, and no other way of writing the same.
      if (!text.endsWith(`"chain":${JSON.stringify(chain)}}`)) chain = null
      if (!/^[0-9a-f-]{36}$/.test(chain.boot) || !(chain.seq >= 1)) chain = null
      if (chain?.mac !== null && !/^[1-9]\d*:[0-9a-f]{64}$/.test(chain?.mac ?? '')) chain = null
      if (chain?.prev !== null && !/^[0-9a-f]{64}$/.test(chain?.prev ?? '')) chain = null
    } catch {
      chain = null
    }
    return { place: { file, line: i + 1 }, text, hash: sha(text), chain }
  })
}

interface Signed {
  text: string
  signature: string
}

/** null: whole. Else the first place where something is wrong, or null inside when it is nowhere in the files. */
export function slowVerify(
  files: ReadonlyMap<string, Buffer>,
  proof: { text: string; signature: string; public_key: string },
): { at: Place | null } | null {
  const good = (of: Signed, pem: string): boolean =>
    verify(null, Buffer.from(of.text), createPublicKey(pem), Buffer.from(of.signature, 'base64'))
  if (!good(proof, proof.public_key)) return { at: null }
  const { signers, anchors: signed, keys } = JSON.parse(proof.text)
  const pems: string[] = signers.map(({ text }: Signed) => JSON.parse(text).public_key)
  if (pems.at(-1) !== proof.public_key || !signed.every((one: Signed & { key: number }) => good(one, pems[one.key - 1]!)))
    return { at: null }
  const all = [...files].map(([file, bytes]) => linesOf(file, bytes)).filter((lines) => lines.length > 0)
  const given = new Set(all.flat().map(({ chain }) => chain?.boot))
  const every: Anchor[] = signed.map(({ text }: Signed) => JSON.parse(text)).sort((a: Anchor, b: Anchor) => a.n - b.n)
  const clusters = new Set(every.filter(({ boot }) => given.has(boot)).map(({ cluster }) => cluster))
  const anchors = every.filter(({ cluster }) => clusters.size === 0 || clusters.has(cluster))
  const broken: Place[] = []
  const ends = new Set(all.map((lines) => lines.at(-1)!.hash))
  const begun = new Set<string>()
  for (const lines of all) {
    const first = lines[0]!.chain
    if (first === null) broken.push(lines[0]!.place)
    else if (first.prev === null ? first.seq !== 1 : !ends.has(first.prev) || begun.has(first.prev)) {
      const oldest = anchors.findLast((anchor) => anchor.oldest)?.oldest
      if (first.prev === null || oldest?.boot !== first.boot || oldest.seq !== first.seq) broken.push(lines[0]!.place)
    }
    if (typeof first?.prev === 'string') begun.add(first.prev)
    const boots = new Set<string>()
    lines.forEach(({ chain, place, text, hash }, i) => {
      const before = lines[i - 1]
      if (chain === null) return void broken.push(place)
      const newLife = chain.prev === null && chain.seq === 1 && !boots.has(chain.boot)
      if (before && !newLife) {
        if (chain.prev !== before.hash) broken.push(place)
        else if (chain.seq !== (chain.boot === before.chain?.boot ? before.chain.seq + 1 : 1)) broken.push(place)
      }
      boots.add(chain.boot)
      const [epoch = '', mac = ''] = chain.mac?.split(':') ?? []
      const macKey = keys[`${chain.boot} ${epoch}`]
      const covered = Buffer.from(text.slice(0, text.lastIndexOf(',"mac":')), 'latin1')
      if (macKey && createHmac('sha256', Buffer.from(macKey, 'base64')).update(covered).digest('hex') !== mac) broken.push(place)
      const anchor = anchors.find(({ boot, seq }) => boot === chain.boot && seq === chain.seq)
      if (anchor && anchor.head !== hash) broken.push(place)
    })
  }
  if (broken.length > 0) return { at: broken[0]! }
  const there = new Map<string, number>()
  for (const { chain } of all.flat()) there.set(chain!.boot, Math.max(there.get(chain!.boot) ?? 0, chain!.seq))
  const kept = anchors.findLast(({ oldest }) => oldest)?.oldest
  const begins = anchors.findIndex(({ boot }) => boot === kept?.boot)
  const from = kept && begins < 0 ? anchors.findIndex(({ boot }) => there.has(boot)) : begins
  const gone = anchors.slice(Math.max(0, from)).some(({ boot, seq }) => (there.get(boot) ?? 0) < seq)
  return gone ? { at: null } : null
}
