/**
 * Whether what a client shows leads to what an operator trusts. The path is found and checked by pkijs as RFC 5280 has it: signatures, times,
 * basic constraints, name constraints, policies. What it does not look at (the length of a path, key usages, what a client may be) is looked at here.
 */
import * as pkijs from 'pkijs'
import type { Certificate } from './x509.ts'

export interface Path {
  /** From the client's up to the trusted one. */
  readonly certificates: readonly Certificate[]
}

/** null: it leads nowhere, is of another time, or may not be a client. */
export async function findPath(
  leaf: Certificate,
  intermediates: readonly Certificate[],
  trusted: readonly Certificate[],
  nowMs: number,
): Promise<Path | null> {
  if (!leaf.mayBeClient || nowMs < leaf.notBeforeMs || nowMs > leaf.notAfterMs) return null
  // Trusted itself, whoever signed it. Compared as a whole: a serial number is anyone's to choose.
  if (trusted.some(({ der }) => Buffer.compare(der, leaf.der) === 0)) return { certificates: [leaf] }
  const anchors = trusted.filter(({ isCa }) => isCa)
  const between = intermediates.filter(({ isCa }) => isCa)
  if (leaf.weak || !anchors.some((anchor) => [leaf, ...between].some((each) => issued(anchor, each)))) return null
  const engine = new pkijs.CertificateChainValidationEngine({
    certs: [...between.map(({ pki }) => pki), leaf.pki],
    trustedCerts: anchors.map(({ pki }) => pki),
    checkDate: new Date(nowMs),
  })
  const { result, certificatePath } = await engine.verify()
  if (!result || certificatePath === undefined) return null
  const known = new Map([...anchors, ...between, leaf].map((each) => [each.pki, each]))
  const path = certificatePath.map((each) => known.get(each))
  if (!path.every((each) => each !== undefined) || path[0] !== leaf) return null
  return holds(path) ? { certificates: path } : null
}

function holds(path: readonly Certificate[]): boolean {
  const [leaf, ...authorities] = path
  // `at` is how many authorities stand between this one and the client.
  const signing = authorities.every(({ maySign, pathLengthMax }, at) => maySign && (pathLengthMax === null || at <= pathLengthMax))
  // The anchor's own signature is nobody's to check: it is trusted as it is.
  const plain = path.slice(0, -1).every(({ weak, strange, mayBeClient }) => !weak && !strange && mayBeClient)
  return leaf !== undefined && signing && plain
}

/** By names alone: to try no path where there can be none. */
const issued = (issuer: Certificate, each: Certificate): boolean => each.pki.issuer.isEqual(issuer.pki.subject)
