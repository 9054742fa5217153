/** Revocation lists that an operator lays down, or names the address of. */
import { HoldfastError } from '#base/errors.ts'
import { aside } from '#core/aside.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { Records } from '../accounts.ts'
import { field, inPath, listNames, pageFields, path, reads, text, writes } from '../fields.ts'
import { checkWebUrl } from '../outside.ts'
import { crlBytes, issuerOf, parseCrl, type Revocation, type StoredCrl } from './revocation.ts'

/** Of one mount: each login goes through all of them. */
export const crlsMax = 64
/** What one entry of the storage holds, with room for its encoding. */
const crlBytesMax = 700_000
const serialsShownMax = 1_000

export const crlTable = new Records<StoredCrl>('a revocation list', 'crls', 1)
const nameField = { name: inPath('Its name.') }
const nameOf = (context: HandlerContext): string => text(context, 'name').toLowerCase()

export const crlPaths = (revocation: Revocation): PathDef[] => [
  path('crls', 'Names of the revocation lists.', { fields: pageFields }, { list: reads('List', (context) => listNames(context, 'crls')) }),
  path(
    'crls/:name',
    'A revocation list: certificates in it let nobody in.',
    {
      fields: {
        ...nameField,
        crl: field('string', 'The list, in PEM.'),
        url: field('string', 'Or its address: it is fetched when it is needed, and again when it says that there is another.'),
      },
    },
    {
      read: reads('Read', describe),
      update: writes('Set', (context) => save(revocation, context)),
      delete: writes('Delete', async (context) => {
        crlTable.delete(context.storage, nameOf(context))
        return null
      }),
    },
    'A list that lies at an address and cannot be had, is out of date, of another issuer, or not signed by it, lets nobody in.',
  ),
]

async function save(revocation: Revocation, context: HandlerContext): Promise<null> {
  const [pem, url] = [text(context, 'crl'), text(context, 'url')]
  if ((pem === '') === (url === '')) throw new HoldfastError('ERR_BAD_REQUEST', "one of 'crl' or 'url' must be provided")
  const names = await crlTable.list(context.storage, crlsMax)
  if (names.length >= crlsMax && !names.includes(nameOf(context)))
    throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${crlsMax} revocation lists`)
  if (url === '') {
    const der = crlBytes(Buffer.from(pem))
    if (der.length > crlBytesMax) throw new HoldfastError('ERR_BAD_REQUEST', `crl expected at most ${crlBytesMax} bytes, got ${der.length}`)
    parseCrl(der)
    crlTable.write(context.storage, nameOf(context), { der: Buffer.from(der).toString('base64'), url: '', issuer: '' })
    return null
  }
  checkWebUrl('url', url)
  const issuer = await aside(context, `fetch the list at ${url}`, async () => issuerOf(await revocation.fetchList(url)))
  crlTable.write(context.storage, nameOf(context), { der: '', url, issuer })
  return null
}

async function describe(context: HandlerContext): Promise<LogicalResponse | null> {
  const stored = await crlTable.read(context.storage, nameOf(context))
  if (stored === null) return null
  const list = stored.der === '' ? null : parseCrl(Buffer.from(stored.der, 'base64'))
  const serials = (list?.revokedCertificates ?? [])
    .slice(0, serialsShownMax)
    .map(({ userCertificate }) => BigInt(`0x${Buffer.from(userCertificate.valueBlock.valueHexView).toString('hex') || '0'}`).toString())
  return { data: { serials: Object.fromEntries(serials.map((serial) => [serial, {}])), ...(stored.url === '' ? {} : { url: stored.url }) } }
}
