/** kv metadata get, put, patch, delete: settings and versions of one secret. */
import { accepted } from '#client/answer.ts'
import { fieldFlag, firstArg, given, printWritten } from '../../cli/common.ts'
import { apiPath, kvPath, mountFlag, nothingAt, requireVersion2, type KvPath } from '../../cli/kv-paths.ts'
import type { Row } from '../../cli/output.ts'
import { RefusedError, type Command, type CommandContext, type FlagSpec } from '../../cli/types.ts'

type Data = Readonly<Record<string, unknown>>

async function locate(context: CommandContext): Promise<KvPath> {
  const at = await kvPath(await context.client(), context.flags, firstArg(context))
  requireVersion2(at)
  return at
}

const rowsOf = (data: Data): Row[] =>
  Object.entries(data).map(([key, value]) => [key, key === 'deletion_time' && value === '' ? 'n/a' : value])

async function get(context: CommandContext): Promise<void> {
  const at = await locate(context)
  const path = apiPath(at, 'metadata')
  const secret = await (await context.client()).read(path)
  if (!secret?.data) throw nothingAt(at, `no value found at ${path}`)
  const { versions, ...settings } = secret.data
  const numbered = Object.entries((versions ?? {}) as Readonly<Record<string, Data>>).toSorted(([a], [b]) => Number(a) - Number(b))
  const sections = numbered.map(([number, version]) => [`Version ${number}`, rowsOf(version)] as const)
  // Settings last in the list for -field: a version's own created_time must not hide the key's.
  if (context.flags.string('field') !== undefined) return await context.output.rows(rowsOf(secret.data), secret)
  await context.output.sections([['Metadata', rowsOf(settings)], ...sections], secret)
}

function bodyOf(context: CommandContext, patching: boolean): Record<string, unknown> {
  const { flags } = context
  const removed = patching ? flags.list('remove-custom-metadata').map((key) => [key, null] as const) : []
  const custom = flags.map('custom-metadata')
  return given({
    max_versions: flags.int('max-versions'),
    cas_required: flags.has('cas-required') ? flags.bool('cas-required') : undefined,
    delete_version_after: flags.string('delete-version-after'),
    custom_metadata: custom === undefined && removed.length === 0 ? undefined : { ...custom, ...Object.fromEntries(removed) },
  })
}

async function put(context: CommandContext): Promise<void> {
  const path = apiPath(await locate(context), 'metadata')
  await printWritten(context, await (await context.client()).write(path, bodyOf(context, false)), `Data written to: ${path}`)
}

async function patch(context: CommandContext): Promise<void> {
  const path = apiPath(await locate(context), 'metadata')
  const answer = await (await context.client()).raw({ method: 'PATCH', path, body: bodyOf(context, true) })
  if (answer.status === 404) throw new RefusedError(`no value found at ${path}`, 'put makes new metadata; patch changes what exists')
  await printWritten(context, accepted(answer, { method: 'PATCH', url: path }), `Data written to: ${path}`)
}

async function remove(context: CommandContext): Promise<void> {
  const path = apiPath(await locate(context), 'metadata')
  await printWritten(context, await (await context.client()).delete(path), `Data deleted (if it existed) at: ${path}`)
}

const settings: Readonly<Record<string, FlagSpec>> = {
  ...mountFlag,
  'max-versions': { type: 'int', description: 'Versions to keep; 0: as the mount says.' },
  'cas-required': { type: 'bool', description: 'Whether every write must carry -cas.' },
  'delete-version-after': { type: 'string', placeholder: 'DURATION', description: 'Delete each new version after this time.' },
  'custom-metadata': { type: 'map', placeholder: 'KEY=VALUE', description: 'A string of your own; may be given several times.' },
}

const command = (
  verb: string,
  synopsis: string,
  flags: Readonly<Record<string, FlagSpec>>,
  examples: string[],
  run: Command['run'],
): Command => ({
  path: ['kv', 'metadata', verb],
  synopsis,
  args: 'PATH',
  argsMin: 1,
  argsMax: 1,
  flags,
  examples,
  run,
})

export const kvMetadataCommands: readonly Command[] = [
  command('get', 'Show settings and versions of a secret', { ...mountFlag, ...fieldFlag }, ['holdfast kv metadata get secret/app'], get),
  command(
    'put',
    'Set the settings of a secret',
    settings,
    ['holdfast kv metadata put -max-versions=5 -custom-metadata=owner=ann secret/app'],
    put,
  ),
  command(
    'patch',
    'Change some settings of a secret',
    { ...settings, 'remove-custom-metadata': { type: 'list', placeholder: 'KEY', description: 'Key of custom metadata to remove.' } },
    ['holdfast kv metadata patch -remove-custom-metadata=owner secret/app'],
    patch,
  ),
  command('delete', 'Delete a secret with all its versions, for good', mountFlag, ['holdfast kv metadata delete secret/app'], remove),
]
