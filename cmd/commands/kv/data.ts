/** kv put, get, patch, list, delete, rollback: the secrets themselves, on both versions of the engine. */
import { accepted } from '#client/answer.ts'
import type { Secret } from '#client/types.ts'
import { fieldFlag, firstArg, given, printWritten } from '../../cli/common.ts'
import { apiPath, historyCommand, kvCommand, kvPath, mountFlag, nothingAt, requireVersion2, type KvPath } from '../../cli/kv-paths.ts'
import { skippedNote, walk, type Skipped } from '../../cli/kv-tree.ts'
import type { Row } from '../../cli/output.ts'
import { heading } from '../../cli/table.ts'
import { readPairs } from '../../cli/pairs.ts'
import { exitCodes, RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'

type Data = Readonly<Record<string, unknown>>
const asData = (value: unknown): Data => (typeof value === 'object' && value !== null ? (value as Data) : {})

const metadataRows = (metadata: Data): Row[] =>
  Object.keys(metadata)
    .toSorted()
    .map((key) => [key, key === 'deletion_time' && metadata[key] === '' ? 'n/a' : metadata[key]])

const locate = async (context: CommandContext): Promise<KvPath> => await kvPath(await context.client(), context.flags, firstArg(context))

/** The new version's metadata below the path that it was written to. */
async function printVersion(context: CommandContext, at: KvPath, secret: Secret | null): Promise<void> {
  context.output.warnings(secret)
  if (at.version === 1 || secret === null || secret.wrap_info)
    return await printWritten(context, secret, `Data written to: ${apiPath(at, 'data')}`)
  if (context.output.format === 'table' && context.flags.string('field') === undefined) printPath(context, at)
  await context.output.sections([['Metadata', metadataRows(secret.data ?? {})]], secret)
}

function printPath(context: CommandContext, at: KvPath): void {
  const path = apiPath(at, 'data')
  context.output.say(heading('Secret Path', path).trimEnd())
  context.output.say(path)
  context.output.say('')
}

/** For the reads that a write needs: only its own answer is wrapped. */
const plain = { wrapTtl: '' } as const

const casOptions = (context: CommandContext): Data | undefined => {
  const cas = context.flags.int('cas')
  return cas === undefined || cas < 0 ? undefined : { cas }
}

async function put(context: CommandContext): Promise<void> {
  const data = await readPairs(context.args.slice(1), context.io)
  const at = await locate(context)
  const options = casOptions(context)
  if (options !== undefined) requireVersion2(at)
  const body = at.version === 2 ? given({ data, options: options ?? {} }) : data
  await printVersion(context, at, await (await context.client()).write(apiPath(at, 'data'), body))
}

async function get(context: CommandContext): Promise<number> {
  const at = await locate(context)
  const version = context.flags.int('version')
  const path = apiPath(at, 'data')
  const secret = await (await context.client()).read(path, version === undefined || at.version === 1 ? {} : { version: String(version) })
  if (secret === null && version !== undefined && at.version === 2)
    throw new RefusedError(
      `no version ${version} found at ${path}`,
      `see its versions: ${historyCommand(context.flags, firstArg(context))}`,
    )
  if (secret === null) throw nothingAt(at, `no value found at ${path}`)
  context.output.warnings(secret)
  if (at.version === 1 || secret.wrap_info) await context.output.secret({ ...secret, warnings: null })
  else return await printVersioned(context, at, secret)
  return exitCodes.ok
}

/** @returns 2 for a version that is deleted or destroyed: its metadata is shown, but there is no value. */
async function printVersioned(context: CommandContext, at: KvPath, secret: Secret): Promise<number> {
  const data = secret.data?.['data']
  const metadata = metadataRows(asData(secret.data?.['metadata']))
  const gone = data === null || data === undefined
  if (gone && context.flags.string('field') !== undefined)
    throw new RefusedError(
      `no value found at ${apiPath(at, 'data')}: deleted or destroyed`,
      `see its versions: ${historyCommand(context.flags, firstArg(context))}`,
    )
  if (context.output.format === 'table' && context.flags.string('field') === undefined) printPath(context, at)
  const rows = Object.entries(asData(data)).toSorted(([a], [b]) => (a < b ? -1 : 1))
  await context.output.sections([['Metadata', metadata], ...(gone ? [] : [['Data', rows] as const])], secret)
  if (!gone) return exitCodes.ok
  throw gonePerhapsForGood(context, at, asData(secret.data?.['metadata']))
}

/** A deleted version comes back; of a destroyed one there is nothing left, and a hint at `undelete` would raise hopes. */
function gonePerhapsForGood(context: CommandContext, at: KvPath, { version, destroyed }: Data): RefusedError {
  const argument = firstArg(context)
  if (destroyed === true)
    return new RefusedError(
      `no value at ${apiPath(at, 'data')}: version ${String(version)} is destroyed, which nothing takes back`,
      `see which are left: ${historyCommand(context.flags, argument)}`,
    )
  return new RefusedError(
    `no value at ${apiPath(at, 'data')}: version ${String(version)} is deleted`,
    `it comes back by: ${kvCommand(`undelete -versions=${String(version)}`, context.flags, argument)}`,
  )
}

/** Reads, merges here, and writes back on condition that nobody wrote in between. */
async function readThenWrite(context: CommandContext, at: KvPath, patch: Data): Promise<Secret | null> {
  const client = await context.client()
  const path = apiPath(at, 'data')
  const current = await client.read(path, {}, plain)
  const data = current?.data?.['data']
  if (data === null || data === undefined)
    throw new RefusedError(`no value found at ${path}`, 'patch changes an existing secret; put makes a new one')
  const merged = { ...asData(data), ...patch }
  const metadata = asData(current?.data?.['metadata'])
  return await client.write(path, { data: merged, options: casOptions(context) ?? { cas: metadata['version'] } })
}

async function patch(context: CommandContext): Promise<void> {
  const data = await readPairs(context.args.slice(1), context.io)
  const method = context.flags.string('method')
  const at = await locate(context)
  // Version 1 has no condition to write on: of two at once one would be lost, and both told that all went well.
  requireVersion2(at)
  const removed = context.flags.list('remove-data')
  if (method === 'rw') {
    if (removed.length > 0) throw new UsageError('-remove-data needs -method=patch')
    return await printVersion(context, at, await readThenWrite(context, at, data))
  }
  const client = await context.client()
  const path = apiPath(at, 'data')
  const whole = { ...data, ...Object.fromEntries(removed.map((key) => [key, null])) }
  const answer = await client.raw({ method: 'PATCH', path, body: given({ data: whole, options: casOptions(context) }) })
  if (answer.status === 404) throw new RefusedError(`no value found at ${path}`, 'patch changes an existing secret; put makes a new one')
  if (answer.status === 403 && method === undefined) {
    context.output.note('warning: the token may not patch; reading and writing back instead')
    return await printVersion(context, at, await readThenWrite(context, at, data))
  }
  await printVersion(context, at, accepted(answer, { method: 'PATCH', url: path }))
}

async function list(context: CommandContext): Promise<void> {
  const detailed = context.flags.bool('detailed')
  if (detailed && context.flags.bool('recursive'))
    throw new UsageError(
      'expected -detailed or -recursive, got both',
      'holdfast list -detailed -recursive MOUNT/detailed-metadata/PATH does both at once',
    )
  const at = await locate(context)
  if (detailed) requireVersion2(at)
  if (context.flags.bool('recursive')) return await listAll(context, at)
  const path = `${apiPath(at, detailed ? 'detailed-metadata' : 'metadata').replace(/\/+$/, '')}/`
  const secret = await (await context.client()).list(path)
  const keys = secret?.data?.['keys']
  if (!Array.isArray(keys)) {
    if (context.output.format !== 'table') context.output.text('{}\n')
    throw nothingAt(at, `nothing found at ${path}`)
  }
  context.output.warnings(secret)
  if (detailed) await context.output.details(keys.map(String), secret?.data ?? {})
  else await context.output.list(keys.map(String))
}

/** Folder by folder, which needs no more than list does. */
async function listAll(context: CommandContext, at: KvPath): Promise<void> {
  const skipped: Skipped = { folders: 0, secrets: 0 }
  const keys = await Array.fromAsync(walk(await context.client(), at, skipped))
  const note = skippedNote(skipped)
  if (note !== null) context.output.note(note)
  if (keys.length === 0) throw nothingAt(at, `no secret found below ${at.mount}/${at.key}`)
  const below = at.key === '' ? 0 : at.key.length + 1
  await context.output.list(keys.map((key) => key.slice(below)))
}

/** Versions from -versions=1,2 or given several times. */
export function versionsOf(context: CommandContext): readonly string[] {
  const versions = context.flags
    .list('versions')
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
  if (versions.some((text) => !/^\d+$/.test(text))) throw new UsageError('-versions expected whole numbers, such as -versions=1,2')
  return versions
}

async function remove(context: CommandContext): Promise<void> {
  const versions = versionsOf(context)
  const at = await locate(context)
  const client = await context.client()
  if (versions.length > 0) requireVersion2(at)
  const path = versions.length > 0 ? apiPath(at, 'delete') : apiPath(at, 'data')
  await printWritten(
    context,
    versions.length > 0 ? await client.write(path, { versions }) : await client.delete(path),
    `Data deleted (if it existed) at: ${path}`,
  )
}

async function rollback(context: CommandContext): Promise<void> {
  const version = context.flags.int('version') ?? 0
  if (version < 1)
    throw new UsageError(
      'rollback expected -version=N, got none',
      `see which there are: ${historyCommand(context.flags, firstArg(context))}`,
    )
  const at = await locate(context)
  requireVersion2(at)
  const client = await context.client()
  const path = apiPath(at, 'data')
  const current = asData((await client.read(path, {}, plain))?.data?.['metadata'])
  const old = (await client.read(path, { version: String(version) }, plain))?.data?.['data']
  if (current['version'] === undefined) throw nothingAt(at, `no value found at ${path}`)
  if (old === null || old === undefined)
    throw new RefusedError(
      `version ${version} of ${path} is deleted, destroyed or was never there`,
      `see: holdfast kv metadata get ${firstArg(context)}`,
    )
  // On condition that the newest is still the one that was looked at: a write in between is not silently undone.
  await printVersion(context, at, await client.write(path, { data: old, options: { cas: current['version'] } }))
}

const cas = {
  type: 'int',
  placeholder: 'VERSION',
  description: 'Write only if this is the current version; 0: only if there is none.',
} as const
const pairs = 'PATH KEY=VALUE ... | @FILE | -'

export const kvDataCommands: readonly Command[] = [
  {
    path: ['kv', 'put'],
    synopsis: 'Write a secret (a new version of it)',
    args: pairs,
    argsMin: 2,
    argsMax: Infinity,
    description:
      'KEY=@FILE takes a value from a file, KEY=- from standard input: what is typed as a value can be seen in the list of processes.',
    examples: ['holdfast kv put secret/app user=app password=-', 'holdfast kv put -mount=secret -cas=0 app @app.json'],
    flags: { ...mountFlag, ...fieldFlag, cas },
    run: put,
  },
  {
    path: ['kv', 'get'],
    synopsis: 'Read a secret',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast kv get secret/app', 'holdfast kv get -mount=secret -version=2 -field=password app'],
    flags: { ...mountFlag, ...fieldFlag, version: { type: 'int', description: 'Which version; the newest when absent.' } },
    run: get,
  },
  {
    path: ['kv', 'patch'],
    synopsis: 'Change some keys of a secret and keep the others',
    args: 'PATH [KEY=VALUE ... | @FILE | -]',
    argsMin: 1,
    argsMax: Infinity,
    examples: ['holdfast kv patch secret/app password=-', 'holdfast kv patch -remove-data=old secret/app'],
    flags: {
      ...mountFlag,
      ...fieldFlag,
      cas,
      method: { type: 'string', values: ['patch', 'rw'], description: 'patch: the server merges; rw: read, merge, write back.' },
      'remove-data': { type: 'list', placeholder: 'KEY', description: 'Key to remove; may be given several times.' },
    },
    run: patch,
  },
  {
    path: ['kv', 'list'],
    synopsis: 'List secrets and folders',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast kv list secret/', 'holdfast kv list -recursive -mount=secret team', 'holdfast kv list -detailed secret/team'],
    flags: {
      ...mountFlag,
      recursive: { type: 'bool', description: 'All secrets in folders within folders.' },
      detailed: {
        type: 'bool',
        description: 'With versions, times and settings of each secret; a policy must allow list on detailed-metadata.',
      },
    },
    run: list,
  },
  {
    path: ['kv', 'delete'],
    synopsis: 'Delete the newest version, or some; they can be undeleted',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast kv delete secret/app', 'holdfast kv delete -versions=1,2 secret/app'],
    flags: { ...mountFlag, versions: { type: 'list', placeholder: 'N[,N...]', description: 'Which versions.' } },
    run: remove,
  },
  {
    path: ['kv', 'rollback'],
    sendsSeveral: true,
    synopsis: 'Write an older version again, as the newest',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast kv rollback -version=3 secret/app'],
    flags: { ...mountFlag, ...fieldFlag, version: { type: 'int', description: 'Which version.' } },
    run: rollback,
  },
]
