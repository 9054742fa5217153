/** kv history: the versions of a secret, newest first, and which keys each one changed. */
import { firstArg } from '../../cli/common.ts'
import { apiPath, kvPath, mountFlag, nothingAt, requireVersion2, type KvPath } from '../../cli/kv-paths.ts'
import { changesOf, readSecret, type Fields } from '../../cli/kv-tree.ts'
import { UsageError, type Command, type CommandContext } from '../../cli/types.ts'

const shownMax = 100

interface Entry {
  readonly version: number
  readonly created_time: string
  readonly state: 'current' | 'kept' | 'deleted' | 'destroyed'
  /** '+key' came, '-key' went, '~key' changed; null where one of the two versions is gone. */
  readonly changes: readonly string[] | null
}

const signs = { added: '+', removed: '-', changed: '~' } as const

function stateOf(info: Fields, current: boolean, nowMs: number): Entry['state'] {
  if (info['destroyed'] === true) return 'destroyed'
  const deletion = String((info['deletion_time'] ?? '') as string)
  if (deletion !== '' && Date.parse(deletion) <= nowMs) return 'deleted'
  return current ? 'current' : 'kept'
}

async function entriesOf(context: CommandContext, at: KvPath, limit: number): Promise<readonly Entry[]> {
  const client = await context.client()
  const metadata = (await client.read(apiPath(at, 'metadata'), {}, { wrapTtl: '' }))?.data
  if (!metadata) throw nothingAt(at, `nothing found at ${apiPath(at, 'metadata')}`)
  const infos = Object.entries((metadata['versions'] ?? {}) as Readonly<Record<string, Fields>>)
    .map(([number, info]) => ({ version: Number(number), info }))
    .toSorted((a, b) => b.version - a.version)
  const shown = infos.slice(0, limit)
  const nowMs = client.tools.clock.nowMs()
  const fields = new Map<number, Fields | null>()
  // One more than is shown: the last one's changes are against it.
  for (const { version } of infos.slice(0, limit + 1)) fields.set(version, (await readSecret(client, at, version)).fields)
  return shown.map(({ version, info }) => {
    const [before, after] = [fields.get(version - 1), fields.get(version)]
    const first = version === 1
    const known = after !== null && after !== undefined && (first || (before !== null && before !== undefined))
    return {
      version,
      created_time: String(info['created_time'] as string),
      state: stateOf(info, version === infos[0]?.version, nowMs),
      changes: known ? changesOf(first ? null : (before ?? null), after).map(({ kind, key }) => `${signs[kind]}${key}`) : null,
    }
  })
}

export const kvHistoryCommand: Command = {
  path: ['kv', 'history'],
  sendsSeveral: true,
  synopsis: 'Show the versions of a secret and what each one changed',
  args: 'PATH',
  argsMin: 1,
  argsMax: 1,
  description: 'Names of keys only: + came, - went, ~ changed. To see values: kv diff -show-values; to go back: kv rollback.',
  examples: ['holdfast kv history secret/app', 'holdfast kv history -limit=3 -format=json secret/app'],
  flags: { ...mountFlag, limit: { type: 'int', placeholder: 'N', description: `How many, the newest first; 10, at most ${shownMax}.` } },
  run: async (context) => {
    const limit = context.flags.int('limit') ?? 10
    if (limit < 1 || limit > shownMax) throw new UsageError(`-limit expected 1 to ${shownMax}, got something else`)
    const at = await kvPath(await context.client(), context.flags, firstArg(context))
    requireVersion2(at)
    const entries = await entriesOf(context, at, limit)
    const rows = entries.map(({ version, created_time, state, changes }) => [
      String(version),
      created_time.replace(/\.\d+Z$/, 'Z'),
      state,
      changes === null ? 'unknown' : changes.length === 0 ? 'none' : changes.join(' '),
    ])
    await context.output.table(['Version', 'Created', 'State', 'Changes'], rows, entries)
  },
}
