/** Where a client may have people sent back to (RFC 6749, 3.1.2; RFC 8252 for programs on the person's own machine). */
import { bad } from '../../common.ts'

const redirectsMax = 64
const redirectCharsMax = 2_048
/** Would run in the browser's own page, with its rights. */
const scriptSchemes = new Set(['javascript:', 'data:', 'vbscript:', 'file:', 'blob:', 'about:'])

/** @throws ERR_BAD_REQUEST for what no browser may be sent to. */
export function readRedirects(given: readonly string[]): readonly string[] {
  const uris = [...new Set(given)].filter((uri) => uri !== '')
  if (uris.length > redirectsMax) throw bad(`redirect_uris expected at most ${redirectsMax} addresses`)
  for (const uri of uris) {
    const url = uri.length <= redirectCharsMax && URL.canParse(uri) ? new URL(uri) : null
    if (url === null || scriptSchemes.has(url.protocol)) throw bad('redirect_uris expected absolute addresses, got something else')
    if (uri.includes('#')) throw bad('redirect_uris expected addresses without a fragment')
  }
  return uris
}

const loopback = new Set(['127.0.0.1', '[::1]', 'localhost'])

/** Without its port where it leads to the machine of the browser: a program there listens where it finds room. null: it is none. */
function portless(uri: string): string | null {
  if (!URL.canParse(uri) || uri.includes('#')) return null
  const url = new URL(uri)
  if (url.protocol !== 'http:' || !loopback.has(url.hostname) || url.username !== '' || url.password !== '') return null
  url.port = ''
  return url.href
}

/** Letter by letter one of those registered; to loopback by http, any port. */
export function isRegistered(registered: readonly string[], uri: string): boolean {
  if (uri.length > redirectCharsMax) return false
  if (registered.includes(uri)) return true
  const asked = portless(uri)
  return asked !== null && registered.some((each) => portless(each) === asked)
}
