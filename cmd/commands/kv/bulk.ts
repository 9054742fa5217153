/** kv import and kv export: secrets from and to .env, JSON and YAML. */
import { closeSync, fchmodSync, fsyncSync, openSync, writeFileSync } from 'node:fs'
import type { Client } from '#client/client.ts'
import { bulkFormats, formatOfName, formatSecrets, parseSecrets, type BulkFormat } from '../../cli/bulk-formats.ts'
import { paintOf } from '../../cli/colors.ts'
import { apiPath, kvPath, mountFlag, nothingAt, type KvPath } from '../../cli/kv-paths.ts'
import { changesOf, eachOf, readSecret, secretsBelow, skippedNote, type Change, type Fields, type Skipped } from '../../cli/kv-tree.ts'
import { printable } from '../../cli/table.ts'
import { UsageError, type Command, type CommandContext } from '../../cli/types.ts'

interface Step {
  readonly at: KvPath
  readonly fields: Fields
  /** What is there now; 0: nothing, or an engine without versions. */
  readonly version: number
  readonly fresh: boolean
  readonly changes: readonly Change[]
}

function formatOf(context: CommandContext, flag: string, name: string): BulkFormat {
  const asked = bulkFormats.find((one) => one === context.flags.string(flag))
  const format = asked ?? formatOfName(name)
  if (format !== null) return format
  throw new UsageError(`the name says no format`, `-${flag}=${bulkFormats.join('|')}`)
}

async function planOf(context: CommandContext, client: Client): Promise<readonly Step[]> {
  const [source = '', path = ''] = context.args
  const format = formatOf(context, 'from', source)
  const text = source === '-' ? await context.io.readStdin() : context.io.readFile(source)
  const secrets = await parseSecrets(text, format)
  const base = await kvPath(client, context.flags, path)
  if (base.key === '' && secrets.has('')) throw new UsageError(`one secret expected a path below ${base.mount}/, got none`)
  const merge = context.flags.bool('merge')
  const steps: Step[] = []
  const inputs = async function* () {
    yield* secrets
  }
  const read = async ([name, given]: readonly [string, Fields]): Promise<Step> => {
    const at = { ...base, key: [base.key, name].filter((part) => part !== '').join('/') }
    const now = await readSecret(client, at)
    const fields = merge ? { ...now.fields, ...given } : given
    return { at, fields, version: now.version, fresh: now.fields === null, changes: changesOf(now.fields, fields) }
  }
  for await (const [, step] of eachOf(inputs(), read)) steps.push(step)
  return steps
}

const signs = { added: '+', removed: '-', changed: '~' } as const
const verbOf = ({ fresh, changes }: Step): 'create' | 'update' | 'same' => (fresh ? 'create' : changes.length === 0 ? 'same' : 'update')

async function printPlan(context: CommandContext, steps: readonly Step[]): Promise<void> {
  const rows = steps.map((step) => ({
    path: `${step.at.mount}/${step.at.key}`,
    action: verbOf(step),
    changes: step.changes.map(({ kind, key }) => `${signs[kind]}${key}`),
  }))
  if (context.output.format !== 'table') return await context.output.rows([], rows)
  const paint = paintOf(context.io)
  const colors = { create: 'green', update: 'yellow', same: 'dim' } as const
  for (const { path, action, changes } of rows)
    context.output.text(`${paint(colors[action], action.padEnd(6))}  ${printable(path)}  ${printable(changes.join(' '))}`.trimEnd() + '\n')
}

async function importSecrets(context: CommandContext): Promise<void> {
  const client = await context.client()
  const steps = await planOf(context, client)
  const todo = steps.filter((step) => verbOf(step) !== 'same')
  await printPlan(context, steps)
  const dry = context.flags.bool('dry-run')
  if (dry) return context.output.note(`dry run: ${todo.length} of ${steps.length} secret(s) would be written`)
  let written = 0
  for (const { at, fields, version } of todo) {
    // On condition that what was compared is what is there: nobody's write in between is lost.
    const body = at.version === 2 ? { data: fields, options: { cas: version } } : fields
    try {
      await client.write(apiPath(at, 'data'), body)
    } catch (error) {
      context.output.note(`stopped after ${written} of ${todo.length}; the same command again writes the rest`)
      throw error
    }
    written += 1
    if (context.io.stderrIsTty) context.io.err(`\r\u001b[Kwrote ${written} of ${todo.length}`)
  }
  if (context.io.stderrIsTty) context.io.err('\r\u001b[K')
  context.output.say(`Success! Wrote ${written} secret(s), ${steps.length - written} were the same already.`)
}

async function exportSecrets(context: CommandContext): Promise<void> {
  const client = await context.client()
  const [path = ''] = context.args
  const target = context.flags.string('output') ?? '-'
  // -format is what every other command takes: whoever types it here means it.
  const printed = context.output.format === 'yaml' ? 'yaml' : 'json'
  const format = context.flags.string('to') === undefined && target === '-' ? printed : formatOf(context, 'to', target)
  const at = await kvPath(client, context.flags, path)
  const own = at.key === '' ? null : (await readSecret(client, at)).fields
  const secrets = new Map<string, Fields>()
  if (own !== null) secrets.set(at.key, own)
  else {
    const skipped: Skipped = { folders: 0, secrets: 0 }
    const prefix = at.key === '' ? 0 : at.key.length + 1
    for await (const [key, { fields }] of secretsBelow(client, at, skipped)) if (fields !== null) secrets.set(key.slice(prefix), fields)
    const note = skippedNote(skipped)
    if (note !== null) context.output.note(note)
  }
  if (secrets.size === 0) throw nothingAt(at, `no secret found at ${at.mount}/${at.key}`)
  const text = await formatSecrets(secrets, format, own !== null)
  if (target === '-') return context.output.text(text)
  writePrivate(target, text, context.flags.bool('force'))
  context.output.say(`Success! Wrote ${secrets.size} secret(s) in the clear to ${target}, readable by you alone.`)
}

/** Never readable by others, not for a moment. @throws UsageError where something stands already. */
function writePrivate(path: string, text: string, force: boolean): void {
  let file: number
  try {
    file = openSync(path, force ? 'w' : 'wx', 0o600)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new UsageError(`expected to write ${path}, got ${code ?? 'an error'}`, code === 'EEXIST' ? '-force replaces it' : undefined)
  }
  try {
    // A file that was there keeps its mode: one that others may read must not be theirs to read from now on.
    fchmodSync(file, 0o600)
    writeFileSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

export const kvBulkCommands: readonly Command[] = [
  {
    path: ['kv', 'import'],
    sendsSeveral: true,
    synopsis: 'Write secrets from a .env, JSON or YAML file',
    args: 'FILE|- PATH',
    argsMin: 2,
    argsMax: 2,
    description:
      'A file whose values are all objects holds several secrets: each key is a path below PATH. Any other file is one secret, at PATH. Shows what it does by names of ' +
      'keys; what is the same already is not written, and a secret that somebody changes meanwhile is not overwritten.',
    examples: [
      'holdfast kv import -dry-run .env secret/app',
      'holdfast kv import -merge app.yaml secret/app',
      'holdfast kv export secret/old | holdfast kv import -from=json - secret/new',
    ],
    flags: {
      ...mountFlag,
      from: { type: 'string', values: bulkFormats, description: "Format; the name's ending says it otherwise." },
      'dry-run': { type: 'bool', description: 'Show what would be written, and write nothing.' },
      merge: { type: 'bool', description: 'Keep keys that the file does not have.' },
    },
    run: importSecrets,
  },
  {
    path: ['kv', 'export'],
    sendsSeveral: true,
    synopsis: 'Print a secret, or all below a folder, as .env, JSON or YAML',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    description: 'In the clear. Several secrets are an object by path; as .env their keys stand together. kv import reads it back.',
    examples: ['holdfast kv export -to=env secret/app', 'holdfast kv export -output=team.yaml secret/team'],
    flags: {
      ...mountFlag,
      to: { type: 'string', values: bulkFormats, description: "Format; json, what -format says, or as the output's name says." },
      output: { type: 'string', placeholder: 'FILE', description: 'Write it there, readable by you alone.' },
      force: { type: 'bool', description: 'Replace the file if it is there.' },
    },
    run: exportSecrets,
  },
]
