/** audit list, enable, disable, hash. */
import { call, firstArg, given, printWritten, readData, secretArg, trimSlashes } from '../../cli/common.ts'
import { valueText } from '../../cli/table.ts'
import { readPairs } from '../../cli/pairs.ts'
import { RefusedError, type Command, type CommandContext } from '../../cli/types.ts'

type Device = Readonly<Record<string, unknown>>

async function list(context: CommandContext): Promise<void> {
  const data = await readData(context, 'sys/audit')
  const devices = Object.entries(data as Readonly<Record<string, Device>>).filter(
    ([path, device]) => path.endsWith('/') && typeof device === 'object',
  )
  if (devices.length === 0 && context.output.format === 'table')
    throw new RefusedError(
      'no audit device is enabled',
      'the configuration declares them: audit "file" "file" { options { file_path = "..." } }',
    )
  const rows = devices.map(([path, device]) => {
    const options = Object.entries((device['options'] ?? {}) as Device).map(([key, value]) => `${key}=${String(value)}`)
    return [
      path,
      String(device['type']),
      valueText(device['description'] || 'n/a'),
      ...(context.flags.bool('detailed') ? [options.join(' ')] : []),
    ]
  })
  await context.output.table(
    ['Path', 'Type', 'Description', ...(context.flags.bool('detailed') ? ['Options'] : [])],
    rows,
    Object.fromEntries(devices),
  )
}

async function enable(context: CommandContext): Promise<void> {
  const type = firstArg(context)
  const path = trimSlashes(context.flags.string('path') ?? type)
  const options = await readPairs(context.args.slice(1), context.io)
  const body = given({ type, description: context.flags.string('description'), options, local: context.flags.bool('local') || undefined })
  await printWritten(
    context,
    await call(context, { method: 'POST', path: `sys/audit/${path}`, body }),
    `Enabled the ${type} audit device at: ${path}/`,
  )
}

async function disable(context: CommandContext): Promise<void> {
  const path = trimSlashes(firstArg(context))
  await printWritten(
    context,
    await call(context, { method: 'DELETE', path: `sys/audit/${path}` }),
    `Disabled audit device (if it existed) at: ${path}/`,
  )
}

async function hash(context: CommandContext): Promise<void> {
  const path = trimSlashes(firstArg(context))
  const input = await secretArg(context, 1, 'Text')
  const secret = await call(context, { method: 'POST', path: `sys/audit-hash/${path}`, body: { input }, idempotent: true })
  const hashed = secret?.data?.['hash'] ?? secret?.['hash']
  await context.output.rows([['hash', hashed]], { hash: hashed })
}

export const deviceCommands: readonly Command[] = [
  {
    path: ['audit', 'list'],
    synopsis: 'List the audit devices',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast audit list -detailed'],
    flags: { detailed: { type: 'bool', description: 'Show their options.' } },
    run: list,
  },
  {
    path: ['audit', 'enable'],
    synopsis: 'Enable an audit device',
    args: 'TYPE [KEY=VALUE ...]',
    argsMin: 1,
    argsMax: Infinity,
    examples: ['holdfast audit enable file file_path=/var/log/holdfast/audit.log'],
    flags: {
      path: { type: 'string', placeholder: 'PATH', description: 'Its name; its type when absent.' },
      description: { type: 'string', placeholder: 'TEXT', description: 'What it is for.' },
      local: { type: 'bool', description: 'Never replicated to other clusters.' },
    },
    run: enable,
  },
  {
    path: ['audit', 'disable'],
    synopsis: 'Disable an audit device',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast audit disable file'],
    run: disable,
  },
  {
    path: ['audit', 'hash'],
    synopsis: 'Show how a text looks in the audit, to search for it there',
    args: 'PATH [TEXT | -]',
    argsMin: 1,
    argsMax: 2,
    examples: ['holdfast audit hash file -'],
    flags: { field: { type: 'string', placeholder: 'NAME', description: 'Print only this field, bare.' } },
    run: hash,
  },
]
