/** PGP public keys as people name them on a command line: files, binary or armored, or base64; sent as base64, which every server of the field reads. */
import { existsSync } from 'node:fs'
import { UsageError, type CommandContext, type FlagSpec } from './types.ts'

export const pgpKeysFlag = (description: string): FlagSpec => ({ type: 'list', placeholder: 'FILE,...', description })
export const pgpKeyFlag = (description: string): FlagSpec => ({ type: 'string', placeholder: 'FILE', description })

/** The keys of the list flag `name`; undefined when it was not given. @throws UsageError. */
export function pgpKeys(context: CommandContext, name: string): readonly string[] | undefined {
  const lists = context.flags.list(name)
  return lists.length === 0 ? undefined : lists.flatMap((list) => list.split(',')).map((key) => pgpKey(context, name, key))
}

/** One key: '@FILE', the name of a file, or base64. @throws UsageError. */
export function pgpKey({ io }: CommandContext, name: string, key: string): string {
  if (key.startsWith('keybase:'))
    throw new UsageError(
      `-${name} expected a file or base64, got a name at Keybase`,
      'export the key to a file: gpg --export NAME > name.pgp',
    )
  const named = key.startsWith('@')
  if (!named && !existsSync(key)) return key
  const bytes = Buffer.from(io.readFileBytes(named ? key.slice(1) : key))
  const text = bytes.toString('latin1')
  if (text.includes('-----BEGIN PGP')) return dearmored(name, text)
  return /^[A-Za-z0-9+/=\s]+$/.test(text) ? text.replaceAll(/\s/g, '') : bytes.toString('base64')
}

/** What lies between head and checksum is the key's base64 already (RFC 9580, 6.2). */
function dearmored(name: string, text: string): string {
  const lines = text.split(/\r?\n/).map((line) => line.trim())
  const begin = lines.findIndex((line) => line.startsWith('-----BEGIN PGP'))
  const blank = lines.findIndex((line, at) => at > begin && line === '')
  const end = lines.findIndex((line, at) => at > blank && (line.startsWith('=') || line.startsWith('-----END')))
  const body = blank < 0 || end < 0 ? '' : lines.slice(blank + 1, end).join('')
  if (body === '' || !lines[begin]!.includes('PUBLIC KEY'))
    throw new UsageError(`-${name} expected an armored PGP public key, got another block`, 'gpg --armor --export NAME writes one')
  return body
}
