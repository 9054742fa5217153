/** Flags that every command has, the environment behind them, and the token file. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressList, defaultAddress, environmentAuthorities, environmentValue, isTrue, namespaceOf } from '#client/environment.ts'
import type { ClientOptions, TlsOptions } from '#client/types.ts'
import { parseDurationMs } from '#base/duration.ts'
import type { Flags } from './args.ts'
import type { Io } from './io.ts'
import { TokenHelper } from './token-helper.ts'
import { UsageError, type FlagSpec } from './types.ts'

export const outputFormats = ['table', 'json', 'yaml', 'raw'] as const
export type OutputFormat = (typeof outputFormats)[number]

export const outputFlags: Readonly<Record<string, FlagSpec>> = {
  format: {
    type: 'string',
    description: 'How to print the answer (HOLDFAST_FORMAT); raw: in one line, a body that is no JSON as it came.',
    values: outputFormats,
  },
  help: { type: 'bool', description: 'Show this help.' },
  h: { type: 'bool', description: 'Show this help.' },
}

export const connectionFlags: Readonly<Record<string, FlagSpec>> = {
  address: { type: 'string', placeholder: 'URL[,URL...]', description: `Nodes, tried in turn (HOLDFAST_ADDR; default ${defaultAddress}).` },
  token: {
    type: 'string',
    placeholder: 'TOKEN',
    description: 'Token to use; "-" reads it from standard input (HOLDFAST_TOKEN, else ~/.holdfast-token).',
  },
  namespace: { type: 'string', placeholder: 'PATH', description: 'Namespace to work in (HOLDFAST_NAMESPACE).' },
  ns: { type: 'string', placeholder: 'PATH', description: 'Short for -namespace.' },
  'ca-cert': { type: 'string', placeholder: 'FILE', description: 'PEM file of the authority to trust (HOLDFAST_CACERT).' },
  'client-cert': { type: 'string', placeholder: 'FILE', description: 'PEM file of your certificate (HOLDFAST_CLIENT_CERT).' },
  'client-key': { type: 'string', placeholder: 'FILE', description: 'PEM file of its key (HOLDFAST_CLIENT_KEY).' },
  'tls-server-name': { type: 'string', placeholder: 'NAME', description: 'Name to expect in the certificate (HOLDFAST_TLS_SERVER_NAME).' },
  'tls-skip-verify': { type: 'bool', description: 'Accept any certificate: never in earnest (HOLDFAST_SKIP_VERIFY).' },
  'wrap-ttl': { type: 'string', placeholder: 'DURATION', description: 'Ask for the answer wrapped, for so long (HOLDFAST_WRAP_TTL).' },
  timeout: {
    type: 'string',
    placeholder: 'DURATION',
    description: 'Give up after so long, retries included (HOLDFAST_CLIENT_TIMEOUT; default 60s).',
  },
  mfa: {
    type: 'list',
    placeholder: 'METHOD:CODE',
    description: 'A second factor, by the id or name of its method; may be given several times (HOLDFAST_MFA).',
  },
  header: { type: 'map', placeholder: 'NAME=VALUE', description: 'Send this header besides; may be given several times.' },
  'output-policy': { type: 'bool', description: 'Print the policy that the request needs instead of sending it.' },
  'output-curl-string': { type: 'bool', description: 'Print the request as a curl command instead of sending it.' },
}

/** HOLDFAST_<name>, else the peers' variable of that name. Empty counts as unset. */
export const fromEnvironment = (io: Io, name: string): string | undefined => environmentValue(io.env, name)

export function outputFormat(flags: Flags, io: Io): OutputFormat {
  const format = flags.string('format') ?? fromEnvironment(io, 'FORMAT') ?? 'table'
  const known = outputFormats.find((one) => one === format.toLowerCase())
  if (known === undefined) throw new UsageError(`HOLDFAST_FORMAT expected one of ${outputFormats.join(', ')}`)
  return known
}

/** For a refusal of a request that carried no token. */
export const noTokenHint = 'no token was sent: set HOLDFAST_TOKEN, or log in with: holdfast login'

const tokenPath = (io: Io): string => join(io.home, '.holdfast-token')

/** A program that keeps the token elsewhere (a keyring of the desktop): HOLDFAST_TOKEN_HELPER. */
const tokenHelper = (io: Io): TokenHelper | null => {
  const program = fromEnvironment(io, 'TOKEN_HELPER')
  return program === undefined ? null : new TokenHelper(program, io.env)
}

export function storeToken(io: Io, token: string): void {
  const helper = tokenHelper(io)
  if (helper !== null) return helper.store(token)
  const path = tokenPath(io)
  // Written beside and renamed: never half a token, and never readable by others, not for a moment. What a crash left there may have another mode.
  rmSync(`${path}.new`, { force: true })
  writeFileSync(`${path}.new`, token, { mode: 0o600, flag: 'wx' })
  renameSync(`${path}.new`, path)
}

/** Where a login keeps its token, in words. */
export const tokenKeeperName = (io: Io): string => (tokenHelper(io) === null ? 'in ~/.holdfast-token' : 'by the token helper')

export function forgetToken(io: Io): void {
  const helper = tokenHelper(io)
  if (helper !== null) return helper.erase()
  rmSync(tokenPath(io), { force: true })
}

/** The token that a login kept. @throws RefusedError when the helper fails. */
function storedToken(io: Io): string | undefined {
  const helper = tokenHelper(io)
  if (helper !== null) return helper.get()
  try {
    return readFileSync(tokenPath(io), 'utf8').trim() || undefined
  } catch {
    return undefined // No file: not logged in.
  }
}

function tlsOptions(flags: Flags, io: Io): TlsOptions {
  const file = (flag: string, name: string): string | undefined => {
    const path = flags.string(flag) ?? fromEnvironment(io, name)
    return path === undefined ? undefined : io.readFile(path)
  }
  const ca = flags.has('ca-cert') ? file('ca-cert', 'CACERT') : environmentAuthorities(io.env, (path) => io.readFile(path))
  const cert = file('client-cert', 'CLIENT_CERT')
  const key = file('client-key', 'CLIENT_KEY')
  const serverName = flags.string('tls-server-name') ?? fromEnvironment(io, 'TLS_SERVER_NAME')
  const skip = flags.has('tls-skip-verify') ? flags.bool('tls-skip-verify') : isTrue(fromEnvironment(io, 'SKIP_VERIFY'))
  return {
    skipVerify: skip,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { serverName }),
  }
}

/** As the header has them; null: none. @throws UsageError, never with what was given: a code is in it. */
function secondFactors(flags: Flags, io: Io): string | null {
  const given = flags.list('mfa')
  const codes = given.length > 0 ? given : (fromEnvironment(io, 'MFA') ?? '').split(',').filter((code) => code !== '')
  if (codes.some((code) => !/^[^:,]+:[^:,]+$/.test(code))) throw new UsageError('-mfa expected METHOD:CODE, got something else')
  return codes.length === 0 ? null : codes.join(',')
}

/** What the client is to be made with. Reads files and, for `-token=-`, standard input. @throws UsageError. */
export async function clientOptions(flags: Flags, io: Io): Promise<ClientOptions> {
  const addresses = addressList(flags.string('address') ?? fromEnvironment(io, 'ADDR') ?? defaultAddress)
  if (addresses.length === 0) throw new UsageError('-address expected at least one URL, got none')
  const given = flags.string('token')
  const token = (given === '-' ? await io.readSecret('Token (will be hidden)') : given) ?? fromEnvironment(io, 'TOKEN') ?? storedToken(io)
  const namespace = namespaceOf(flags.string('namespace') ?? flags.string('ns') ?? fromEnvironment(io, 'NAMESPACE'))
  const wrapTtl = flags.string('wrap-ttl') ?? fromEnvironment(io, 'WRAP_TTL')
  const timeout = flags.string('timeout') ?? fromEnvironment(io, 'CLIENT_TIMEOUT')
  const retries = fromEnvironment(io, 'MAX_RETRIES')
  const codes = secondFactors(flags, io)
  const headers = { ...flags.map('header'), ...(codes === null ? {} : { 'X-Vault-MFA': codes }) }
  return {
    addresses,
    // What is read is printed, compared and written back: a number of 20 digits must come through.
    exactNumbers: true,
    tls: tlsOptions(flags, io),
    ...(token === undefined ? {} : { token }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(wrapTtl === undefined ? {} : { wrapTtl }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(timeout === undefined ? {} : { timeoutMs: parseDurationMs(timeout, { what: 'timeout' }) }),
    ...(retries === undefined || !/^\d{1,2}$/.test(retries) ? {} : { retriesMax: Number(retries) }),
  }
}
