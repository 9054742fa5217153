/** Where a kv path leads: which mount it is under and which version that has, asked of the server. */
import type { Client } from '#client/client.ts'
import { accepted } from '#client/answer.ts'
import type { Flags } from './args.ts'
import { noTokenHint } from './settings.ts'
import { RefusedError, UsageError, type FlagSpec } from './types.ts'

export const mountFlag: Readonly<Record<string, FlagSpec>> = {
  mount: { type: 'string', placeholder: 'PATH', description: 'Where the engine is mounted; the argument is then the path below it.' },
}

export interface KvPath {
  /** Without slashes at its ends. */
  readonly mount: string
  /** Below the mount, without a leading slash. */
  readonly key: string
  readonly version: 1 | 2
}

/** What the preflight asks, with the path behind it. */
export const mountQuestion = 'sys/internal/ui/mounts/'

const trim = (path: string): string => path.replace(/^\/+|\/+$/g, '')

/** @throws RefusedError when the server does not tell; UsageError for an empty path. */
export async function kvPath(client: Client, flags: Flags, argument: string): Promise<KvPath> {
  const mountAsked = flags.string('mount')
  const asked = trim(mountAsked ?? argument)
  if (asked === '') throw new UsageError('expected a path, got an empty one')
  const mounted = await preflight(client, asked)
  const key = mountAsked === undefined ? trim(argument).slice(mounted.mount.length) : argument
  return { ...mounted, key: trim(key) }
}

async function preflight(client: Client, path: string): Promise<Omit<KvPath, 'key'>> {
  // Never wrapped, whatever -wrap-ttl asks of the command's own request.
  const asked = { method: 'GET' as const, path: `${mountQuestion}${path}`, wrapTtl: '' }
  const answer = await client.raw(asked)
  // A server that has no such route is an old one, which knew version 1 only.
  if (answer.status === 404) return { mount: path.split('/')[0] ?? '', version: 1 }
  if (answer.status === 403) {
    throw new RefusedError(
      `no kv engine is known to be mounted at ${path}, or the token may not see it (403)`,
      client.options.token === undefined
        ? noTokenHint
        : `is the token good (holdfast token lookup)? See what is mounted: holdfast secrets list; to mount one: holdfast secrets enable -path=${path.split('/')[0] ?? ''} -version=2 kv`,
    )
  }
  const data = accepted(answer, { method: 'GET', url: asked.path })?.data
  const options = (data?.['options'] ?? {}) as Readonly<Record<string, unknown>>
  const mount = typeof data?.['path'] === 'string' ? trim(data['path']) : (path.split('/')[0] ?? '')
  const versioned = options['version'] === '2' || options['version'] === 2 || data?.['type'] === 'kv-v2'
  return { mount, version: versioned ? 2 : 1 }
}

/** The API's path: version 2 puts `kind` between mount and key. */
export function apiPath(at: KvPath, kind: 'data' | 'metadata' | 'detailed-metadata' | 'delete' | 'undelete' | 'destroy'): string {
  return at.version === 2 ? `${at.mount}/${kind}/${at.key}` : `${at.mount}/${at.key}`
}

/** A word of the API's paths that somebody put into the argument, as in `kv get secret/data/app`. */
const apiWord = /^(?:data|metadata|detailed-metadata|delete|undelete|destroy)\//

/** That there is nothing, and what to look at: the most usual cause is a path of the API, which has a word that these commands put in by themselves. */
export function nothingAt(at: KvPath, message: string): RefusedError {
  const rest = at.key.replace(apiWord, '')
  return new RefusedError(message, at.version === 2 && rest !== at.key ? withoutWord(at, rest) : whereToLook(at))
}

const withoutWord = ({ mount, key }: KvPath, rest: string): string =>
  `kv commands take the path without ${key.slice(0, key.length - rest.length)}, which they put in themselves: ${mount}/${rest}`

const whereToLook = ({ mount, key }: KvPath): string =>
  key === ''
    ? `nothing is stored there yet: holdfast kv put ${mount}/NAME FIELD=VALUE`
    : `see what there is: holdfast kv list ${mount}/${key.split('/').slice(0, -1).join('/')}`

/** A kv command for a hint: the argument means what it meant in the command that gives it. */
export function kvCommand(words: string, flags: Flags, argument: string): string {
  const mount = flags.string('mount')
  return [`holdfast kv ${words}`, ...(mount === undefined ? [] : [`-mount=${mount}`]), argument].join(' ')
}

/** What shows a secret's versions. */
export const historyCommand = (flags: Flags, argument: string): string => kvCommand('history', flags, argument)

/** For what version 1 does not have. */
export function requireVersion2(at: KvPath): void {
  if (at.version === 2) return
  throw new RefusedError(
    `the engine at ${at.mount}/ has version 1, which keeps no versions of its secrets`,
    `holdfast kv enable-versioning ${at.mount}`,
  )
}
