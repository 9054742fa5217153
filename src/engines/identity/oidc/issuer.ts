/** What an issuer may be called: a scheme, a host and a port. Its path says namespace and provider, and is ours. */
import { bad } from '../common.ts'

/** As it is kept; '' for none. @throws ERR_BAD_REQUEST for more than scheme, host and port. */
export function readIssuer(given: string): string {
  const issuer = given.replace(/\/$/, '')
  const url = URL.canParse(issuer) ? new URL(issuer) : null
  if (issuer === '' || (url !== null && /^https?:$/.test(url.protocol) && url.origin === issuer.toLowerCase())) return issuer
  throw bad('invalid issuer, which must include only a scheme, host, and optional port (e.g. https://example.com:8200)')
}
