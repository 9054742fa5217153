/** read, write, list, delete, patch, unwrap, path-help: any path of the API. */
import { accepted } from '#client/answer.ts'
import { call, enveloped, fieldFlag, firstArg, printWritten, secretArg } from '../cli/common.ts'
import { readPairs } from '../cli/pairs.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../cli/types.ts'

const queryOf = (data: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Array.isArray(value) ? value.join(',') : String(value)]))

async function read(context: CommandContext): Promise<void> {
  const client = await context.client()
  const query = queryOf(await readPairs(context.args.slice(1), context.io))
  if (context.output.format === 'raw' && context.flags.string('field') === undefined) return await readRaw(context, query)
  const secret = await client.read(firstArg(context), query)
  if (secret === null) throw new RefusedError(`nothing found at ${firstArg(context)}`)
  await context.output.secret(enveloped(secret))
}

/** The body as it came: metrics, certificates and lists of revoked ones are no JSON. */
async function readRaw(context: CommandContext, query: Readonly<Record<string, string>>): Promise<void> {
  const path = firstArg(context)
  const answer = await (await context.client()).raw({ method: 'GET', path, query })
  if (answer.status >= 300) accepted(answer, { method: 'GET', url: path })
  context.output.text(answer.text)
}

async function write(context: CommandContext): Promise<void> {
  const words = context.args.slice(1)
  if (words.length === 0 && !context.flags.bool('force')) {
    throw new UsageError(
      'expected data to write, got none',
      'give key=value pairs, "-" for JSON on standard input, or -force to write nothing',
    )
  }
  const secret = await (await context.client()).write(firstArg(context), await readPairs(words, context.io))
  await printWritten(context, secret, `Data written to: ${firstArg(context)}`)
}

async function patch(context: CommandContext): Promise<void> {
  const secret = await (await context.client()).patch(firstArg(context), await readPairs(context.args.slice(1), context.io))
  await printWritten(context, secret, `Data written to: ${firstArg(context)}`)
}

async function list(context: CommandContext): Promise<void> {
  const { flags } = context
  const [after, limit] = [flags.string('after'), flags.int('limit')]
  const page = { ...(after === undefined ? {} : { after }), ...(limit === undefined ? {} : { limit: String(limit) }) }
  const client = await context.client()
  const secret = flags.bool('recursive')
    ? await client.read(`${firstArg(context).replace(/\/+$/, '')}/`, { ...page, scan: 'true' })
    : await client.list(firstArg(context), page)
  const keys = secret?.data?.['keys']
  if (secret === null || !Array.isArray(keys)) {
    if (context.output.format !== 'table') context.output.text('{}\n')
    throw new RefusedError(`nothing found at ${firstArg(context)}`)
  }
  context.output.warnings(secret)
  if (flags.bool('detailed')) await context.output.details(keys.map(String), secret.data ?? {})
  else await context.output.list(keys.map(String))
}

async function remove(context: CommandContext): Promise<void> {
  const data = await readPairs(context.args.slice(1), context.io)
  const query = queryOf(data)
  const secret = await call(context, { method: 'DELETE', path: firstArg(context), query })
  await printWritten(context, secret, `Data deleted (if it existed) at: ${firstArg(context)}`)
}

async function unwrap(context: CommandContext): Promise<void> {
  const token = context.args.length === 0 ? undefined : await secretArg(context, 0, 'Wrapping token')
  const request = { method: 'POST', path: 'sys/wrapping/unwrap', body: {} } as const
  const secret = await call(context, token === undefined ? request : { ...request, token })
  if (secret === null) throw new RefusedError('the wrapping token held nothing')
  await context.output.secret(secret)
}

async function pathHelp(context: CommandContext): Promise<void> {
  const answer = await call(context, { method: 'GET', path: firstArg(context), query: { help: '1' } })
  const data = answer?.data ?? answer
  const help = data?.['help']
  if (data === null || data === undefined || typeof help !== 'string') throw new RefusedError(`no help for ${firstArg(context)}`)
  if (context.output.format === 'table') context.output.text(`${help.trimEnd()}\n`)
  else await context.output.rows([], data)
}

const force = {
  force: { type: 'bool', description: 'Write although no data is given.' },
  f: { type: 'bool', description: 'Short for -force.' },
} as const

export const genericCommands: readonly Command[] = [
  {
    path: ['read'],
    synopsis: 'Read data from any path',
    args: 'PATH [KEY=VALUE ...]',
    argsMin: 1,
    argsMax: Infinity,
    description: 'Pairs become parameters of the query.',
    examples: ['holdfast read sys/mounts', 'holdfast read -field=password database/creds/app'],
    flags: fieldFlag,
    run: read,
  },
  {
    path: ['write'],
    synopsis: 'Write data to any path',
    args: 'PATH [KEY=VALUE ... | @FILE | -]',
    argsMin: 1,
    argsMax: Infinity,
    description: 'KEY=@FILE takes a value from a file, KEY=- from standard input; a lone - is a JSON object on standard input.',
    examples: [
      'holdfast write cubbyhole/note text=hello',
      'holdfast write auth/userpass/users/ann password=- policies=team',
      'holdfast write -force sys/rotate',
    ],
    flags: { ...fieldFlag, ...force },
    run: async (context) => {
      if (context.flags.has('f')) context.flags.add('force', 'true')
      await write(context)
    },
  },
  {
    path: ['list'],
    synopsis: 'List what is below a path',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: [
      'holdfast list sys/policies/acl',
      'holdfast list -recursive secret/metadata/team',
      'holdfast list -limit=100 -after=m identity/entity/name',
      'holdfast list -detailed secret/detailed-metadata/team',
    ],
    flags: {
      recursive: { type: 'bool', description: 'With what is in folders (SCAN); a policy must allow scan.' },
      detailed: { type: 'bool', description: 'With what the server says of each entry, where it says something (key_info).' },
      after: { type: 'string', placeholder: 'KEY', description: 'Only what stands behind this key.' },
      limit: { type: 'int', placeholder: 'N', description: 'So many at most.' },
    },
    run: list,
  },
  {
    path: ['delete'],
    synopsis: 'Delete data at any path',
    args: 'PATH [KEY=VALUE ...]',
    argsMin: 1,
    argsMax: Infinity,
    examples: ['holdfast delete cubbyhole/note'],
    run: remove,
  },
  {
    path: ['patch'],
    synopsis: 'Change part of the data at any path (JSON merge patch)',
    args: 'PATH KEY=VALUE ... | @FILE | -',
    argsMin: 2,
    argsMax: Infinity,
    examples: [
      'holdfast patch pki/roles/web max_ttl=72h',
      `echo '{"custom_metadata":{"owner":null}}' | holdfast patch secret/metadata/app -`,
    ],
    flags: fieldFlag,
    run: patch,
  },
  {
    path: ['unwrap'],
    synopsis: 'Unwrap a wrapped answer, once',
    args: '[TOKEN | -]',
    argsMin: 0,
    argsMax: 1,
    description: 'Without an argument the token that you are logged in with is the wrapping token.',
    examples: ['holdfast unwrap -', 'holdfast unwrap -field=password s.wrappingtoken'],
    flags: fieldFlag,
    run: unwrap,
  },
  {
    path: ['path-help'],
    synopsis: 'Show what can be done at a path',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast path-help secret/data/x', 'holdfast path-help sys/mounts/x'],
    run: pathHelp,
  },
]
