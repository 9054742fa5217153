/** Signatures of identity tokens and of the OpenID provider, by a named key's pair of today. The formats and algorithms are jose's. */
import { createLocalJWKSet, errors, importJWK, SignJWT } from 'jose'
import type { MountStorage } from '#core/types.ts'
import { bad } from '../common.ts'
import { publishedKeys, readSecret, type NamedKey } from './records.ts'

/** Services take tokens in a header: what is much longer they refuse. */
const claimsBytesMax = 65_536

/**
 * The compact form of `claims`. `type` stands in the header (RFC 8725, 3.11): what is no identity token must not be taken for one.
 * @throws ERR_BAD_REQUEST for more than anybody would take.
 */
export async function signClaims(
  storage: MountStorage,
  keyName: string,
  key: NamedKey,
  claims: Readonly<Record<string, unknown>>,
  type: string | null = null,
): Promise<string> {
  if (Buffer.byteLength(JSON.stringify(claims)) > claimsBytesMax) {
    throw bad(`expected claims of at most ${claimsBytesMax} bytes, got more: the template takes in too much`)
  }
  const secret = await importJWK(await readSecret(storage, keyName, key.signingKid), key.algorithm)
  const header = { alg: key.algorithm, kid: key.signingKid, ...(type === null ? {} : { typ: type }) }
  return new SignJWT({ ...claims }).setProtectedHeader(header).sign(secret)
}

/** The keys that anything of this namespace can be verified with now. */
export const verifierOf = async (storage: MountStorage, nowMs: number): Promise<ReturnType<typeof createLocalJWKSet>> =>
  createLocalJWKSet({ keys: (await publishedKeys(storage, nowMs)).map(({ jwk }) => jwk) })

/** Why a token is not good, without a word of it. @throws what is no verdict of jose's. */
export function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'token is expired'
  if (error instanceof errors.JWTClaimValidationFailed) return `claim ${JSON.stringify(error.claim)} is missing or another`
  if (error instanceof errors.JOSEError) return 'token is not signed by a key of this namespace'
  throw error
}
