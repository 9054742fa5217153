/** kv search: where a name (or a value) stands, over all that the caller may see. Values are looked at, never shown. */
import type { Client } from '#client/client.ts'
import { kvPath, type KvPath } from '../../cli/kv-paths.ts'
import { eachOf, readSecret, skippedNote, walk, type Fields, type Skipped } from '../../cli/kv-tree.ts'
import { ApiError } from '#client/errors.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'

const patternCharsMax = 1_000
const foundMax = 1_000

interface Found {
  readonly path: string
  /** What matched: the path itself, a key, or the value of a key. */
  readonly where: 'path' | 'key' | 'value'
  /** '' for the path itself. */
  readonly key: string
}

type Matches = (text: string) => boolean

function matcher({ args, flags }: CommandContext): Matches {
  const [pattern = ''] = args
  if (pattern === '' || pattern.length > patternCharsMax) throw new UsageError(`the pattern expected 1 to ${patternCharsMax} characters`)
  if (!flags.bool('regex')) {
    const wanted = pattern.toLowerCase()
    return (text) => text.toLowerCase().includes(wanted)
  }
  try {
    const wanted = new RegExp(pattern, 'i')
    return (text) => wanted.test(text)
  } catch {
    throw new UsageError('the pattern expected a regular expression, got something that is none')
  }
}

/** All kv engines that the token may see, or what lies at the path that was named. */
async function placesOf(context: CommandContext, client: Client): Promise<readonly KvPath[]> {
  const [, path] = context.args
  if (path !== undefined) return [await kvPath(client, context.flags, path)]
  const mounts = (await client.read('sys/internal/ui/mounts', {}, { wrapTtl: '' }))?.data?.['secret'] ?? {}
  return Object.entries(mounts as Readonly<Record<string, Fields>>)
    .filter(([, mount]) => mount['type'] === 'kv')
    .map(([mount, { options }]) => ({
      mount: mount.replace(/\/+$/, ''),
      key: '',
      version: (options as Fields | null)?.['version'] === '2' ? (2 as const) : (1 as const),
    }))
    .toSorted((a, b) => (a.mount < b.mount ? -1 : 1))
}

const textsOf = (value: unknown): readonly string[] =>
  typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsOf) : [String(value as string)]

function matchesOf(path: string, fields: Fields | null, matches: Matches, values: boolean): readonly Found[] {
  const own: Found[] = matches(path) ? [{ path, where: 'path', key: '' }] : []
  const inside = Object.entries(fields ?? {}).flatMap(([key, value]): Found[] => {
    if (matches(key)) return [{ path, where: 'key', key }]
    return values && textsOf(value).some(matches) ? [{ path, where: 'value', key }] : []
  })
  return [...own, ...inside]
}

async function search(context: CommandContext): Promise<void> {
  const matches = matcher(context)
  const { flags, io } = context
  const limit = flags.int('limit') ?? 100
  if (limit < 1 || limit > foundMax) throw new UsageError(`-limit expected 1 to ${foundMax}, got something else`)
  const client = await context.client()
  const places = await placesOf(context, client)
  if (places.length === 0) throw new RefusedError('no kv engine is known that this token may see')
  const skipped: Skipped = { folders: 0, secrets: 0 }
  const found: Found[] = []
  let looked = 0
  const progress = (): void => {
    if (io.stderrIsTty && looked % 50 === 0) io.err(`\r\u001b[Klooked at ${looked} secrets, found ${found.length}`)
  }
  for (const at of places) {
    const read = async (key: string): Promise<Fields | null> => {
      if (flags.bool('paths-only')) return null
      try {
        return (await readSecret(client, { ...at, key })).fields
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 403) throw error
        skipped.secrets += 1
        return null
      }
    }
    for await (const [key, fields] of eachOf(walk(client, at, skipped), read)) {
      found.push(...matchesOf(`${at.mount}/${key}`, fields, matches, flags.bool('values')))
      looked += 1
      progress()
      if (found.length >= limit) break
    }
    if (found.length >= limit) break
  }
  if (io.stderrIsTty) io.err('\r\u001b[K')
  const note = skippedNote(skipped)
  if (note !== null) context.output.note(note)
  const shown = found.slice(0, limit)
  if (found.length >= limit) context.output.note(`warning: stopped at ${limit}; -limit=${foundMax} shows more`)
  if (shown.length === 0 && context.output.format === 'table') throw new RefusedError(`found nothing in ${looked} secrets`)
  await context.output.table(
    ['Path', 'Where', 'Key'],
    shown.map(({ path, where, key }) => [path, where, key]),
    shown,
  )
}

export const kvSearchCommand: Command = {
  path: ['kv', 'search'],
  sendsSeveral: true,
  synopsis: 'Find secrets by path or key, or by value, over all that you may see',
  args: 'PATTERN [PATH]',
  argsMin: 1,
  argsMax: 2,
  description:
    'Looks at the newest versions, without regard to case; without PATH in every kv engine that the token may see. Values are looked at with -values, and never ' +
    'shown. Each secret that is read stands in the audit.',
  examples: [
    'holdfast kv search password',
    'holdfast kv search -paths-only billing secret/team',
    'holdfast kv search -values -regex "^postgres://.*old-host"',
  ],
  flags: {
    values: { type: 'bool', description: 'Look into values too. What is typed as the pattern can be seen in the list of processes.' },
    'paths-only': { type: 'bool', description: 'Read no secret, look at paths only.' },
    regex: { type: 'bool', description: 'The pattern is a regular expression.' },
    limit: { type: 'int', placeholder: 'N', description: `Stop after so many; 100, at most ${foundMax}.` },
    mount: { type: 'string', placeholder: 'PATH', description: 'Where the engine is mounted; PATH is then below it.' },
  },
  run: search,
}
