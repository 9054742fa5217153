/** token create, lookup, renew, revoke, capabilities. */
import { call, fieldFlag, given, printWritten, readData, secretArg, trimSlashes } from '../cli/common.ts'
import type { Row } from '../cli/output.ts'
import { RefusedError, UsageError, type Command, type CommandContext, type FlagSpec } from '../cli/types.ts'

const accessorFlag: Readonly<Record<string, FlagSpec>> = {
  accessor: { type: 'bool', description: 'The argument is an accessor, not a token.' },
}

async function create(context: CommandContext): Promise<void> {
  const { flags } = context
  const role = flags.string('role')
  const path = role !== undefined ? `auth/token/create/${role}` : flags.bool('orphan') ? 'auth/token/create-orphan' : 'auth/token/create'
  const body = given({
    id: flags.string('id'),
    display_name: flags.string('display-name'),
    ttl: flags.string('ttl'),
    period: flags.string('period'),
    explicit_max_ttl: flags.string('explicit-max-ttl'),
    renewable: flags.has('renewable') ? flags.bool('renewable') : undefined,
    no_default_policy: flags.bool('no-default-policy') || undefined,
    num_uses: flags.int('use-limit'),
    policies: flags.list('policy').length === 0 ? undefined : flags.list('policy').flatMap((policy) => policy.split(',')),
    meta: flags.map('metadata'),
    type: flags.string('type'),
    entity_alias: flags.string('entity-alias'),
  })
  const secret = await call(context, { method: 'POST', path, body })
  if (secret === null) throw new RefusedError('the server answered no token')
  await context.output.secret(secret)
}

async function lookup(context: CommandContext): Promise<void> {
  if (context.args.length === 0 && !context.flags.bool('accessor')) {
    const data = await readData(context, 'auth/token/lookup-self')
    return await context.output.secret({ data })
  }
  const accessor = context.flags.bool('accessor')
  const value = accessor ? (context.args[0] ?? '') : await secretArg(context, 0, 'Token')
  if (value === '') throw new UsageError('token lookup -accessor expected an accessor, got none')
  const path = accessor ? 'auth/token/lookup-accessor' : 'auth/token/lookup'
  const secret = await call(context, { method: 'POST', path, body: accessor ? { accessor: value } : { token: value }, idempotent: true })
  await context.output.secret(secret ?? {})
}

async function renew(context: CommandContext): Promise<void> {
  const increment = context.flags.string('increment')
  const accessor = context.flags.bool('accessor')
  if (context.args.length === 0 && accessor) throw new UsageError('token renew -accessor expected an accessor, got none')
  const self = context.args.length === 0
  const target = self ? {} : accessor ? { accessor: context.args[0] } : { token: await secretArg(context, 0, 'Token') }
  const path = self ? 'auth/token/renew-self' : accessor ? 'auth/token/renew-accessor' : 'auth/token/renew'
  const secret = await call(context, { method: 'POST', path, body: given({ ...target, increment }) })
  await printWritten(context, secret, 'Renewed the token.')
}

async function revoke(context: CommandContext): Promise<void> {
  const { flags } = context
  const self = flags.bool('self')
  const accessor = flags.bool('accessor')
  const mode = flags.string('mode')
  if (self && (context.args.length > 0 || accessor)) throw new UsageError('token revoke -self expected no argument')
  if (accessor && context.args.length === 0) throw new UsageError('token revoke -accessor expected an accessor, got none')
  if (mode === 'orphan' && (self || accessor)) throw new UsageError('-mode=orphan expected a token, not -self or -accessor')
  const body = self ? {} : accessor ? { accessor: context.args[0] } : { token: await secretArg(context, 0, 'Token') }
  const path = self ? 'revoke-self' : accessor ? 'revoke-accessor' : mode === 'orphan' ? 'revoke-orphan' : 'revoke'
  await printWritten(
    context,
    await call(context, { method: 'POST', path: `auth/token/${path}`, body, idempotent: true }),
    'Revoked token (if it existed)',
  )
}

async function capabilities(context: CommandContext): Promise<void> {
  const [first = '', second] = context.args
  const path = trimSlashes(second ?? first)
  const accessor = context.flags.bool('accessor')
  if (accessor && second === undefined) throw new UsageError('token capabilities -accessor expected an accessor and a path')
  const route = second === undefined ? 'sys/capabilities-self' : accessor ? 'sys/capabilities-accessor' : 'sys/capabilities'
  const target =
    second === undefined
      ? {}
      : accessor
        ? { accessor: first }
        : { token: first === '-' ? await context.io.readSecret('Token (will be hidden)') : first }
  const secret = await call(context, { method: 'POST', path: route, body: { ...target, paths: [path] }, idempotent: true })
  const found = (secret?.data?.[path] ?? secret?.data?.['capabilities'] ?? secret?.['capabilities']) as string[] | undefined
  if (!Array.isArray(found)) throw new RefusedError('the server answered no capabilities')
  const sorted = found.toSorted()
  if (context.output.format === 'table') context.output.say(sorted.join(', '))
  else await context.output.rows([['capabilities', sorted] satisfies Row], sorted)
}

const text = (description: string, placeholder: string): FlagSpec => ({ type: 'string', description, placeholder })

export const tokenCommands: readonly Command[] = [
  {
    path: ['token', 'create'],
    synopsis: 'Make a token, a child of yours',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast token create -policy=team -ttl=8h', 'holdfast token create -orphan -period=24h -display-name=ci -field=token'],
    flags: {
      ...fieldFlag,
      policy: { type: 'list', placeholder: 'NAME', description: 'Policy of the token; may be given several times.' },
      ttl: text('How long it lives.', 'DURATION'),
      'explicit-max-ttl': text('How long at most, renewals included.', 'DURATION'),
      period: text('Renewable for ever, each time for so long.', 'DURATION'),
      renewable: { type: 'bool', description: 'Whether it can be renewed; true when absent.' },
      'use-limit': { type: 'int', description: 'How many requests it is good for; 0: any number.' },
      orphan: { type: 'bool', description: 'It does not end with your token.' },
      'no-default-policy': { type: 'bool', description: 'Without the policy "default".' },
      'display-name': text('Name in the audit.', 'NAME'),
      metadata: { type: 'map', placeholder: 'KEY=VALUE', description: 'Shown in the audit; may be given several times.' },
      type: { type: 'string', values: ['service', 'batch'], description: 'Kind of token.' },
      role: text('Role of the token store to make it by.', 'NAME'),
      'entity-alias': text('Alias of the entity it belongs to.', 'NAME'),
      id: text('Its value, chosen by you: dangerous.', 'TOKEN'),
    },
    run: create,
  },
  {
    path: ['token', 'lookup'],
    synopsis: 'Show what a token is and may',
    args: '[TOKEN | ACCESSOR | -]',
    argsMin: 0,
    argsMax: 1,
    description: 'Without an argument: the token that you use.',
    examples: ['holdfast token lookup', 'holdfast token lookup - < token-file', 'holdfast token lookup -accessor ACCESSOR'],
    flags: { ...fieldFlag, ...accessorFlag },
    run: lookup,
  },
  {
    path: ['token', 'renew'],
    synopsis: "Extend a token's life",
    args: '[TOKEN | ACCESSOR | -]',
    argsMin: 0,
    argsMax: 1,
    examples: ['holdfast token renew', 'holdfast token renew -increment=1h -accessor ACCESSOR'],
    flags: {
      ...fieldFlag,
      ...accessorFlag,
      increment: text('By how much; the server may allow less.', 'DURATION'),
      i: text('Short for -increment.', 'DURATION'),
    },
    run: async (context) => {
      const short = context.flags.string('i')
      if (short !== undefined) context.flags.add('increment', short)
      await renew(context)
    },
  },
  {
    path: ['token', 'revoke'],
    synopsis: 'End a token, and its children',
    args: '[TOKEN | ACCESSOR | -]',
    argsMin: 0,
    argsMax: 1,
    examples: ['holdfast token revoke -self', 'holdfast token revoke - < token-file', 'holdfast token revoke -accessor ACCESSOR'],
    flags: {
      ...accessorFlag,
      self: { type: 'bool', description: 'The token that you use.' },
      mode: { type: 'string', values: ['orphan'], description: 'orphan: leave its children alive.' },
    },
    run: revoke,
  },
  {
    path: ['token', 'capabilities'],
    synopsis: 'Show what a token may do at a path',
    args: '[TOKEN | ACCESSOR | -] PATH',
    argsMin: 1,
    argsMax: 2,
    examples: ['holdfast token capabilities secret/data/app', 'holdfast token capabilities - secret/data/app < token-file'],
    flags: accessorFlag,
    run: capabilities,
  },
]
