/** wrapping wrap, lookup, rewrap; `unwrap` is a command of its own. */
import { call, fieldFlag, secretArg } from '../cli/common.ts'
import { readPairs } from '../cli/pairs.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../cli/types.ts'

async function wrap(context: CommandContext): Promise<void> {
  const client = await context.client()
  const { wrapTtl } = client.options
  if (wrapTtl === undefined)
    throw new UsageError('wrapping wrap expected -wrap-ttl, got none', 'for how long may it be opened? -wrap-ttl=10m')
  const secret = await call(context, { method: 'POST', path: 'sys/wrapping/wrap', body: await readPairs(context.args, context.io) })
  if (secret === null) throw new RefusedError('the server answered no token')
  await context.output.secret(secret)
}

const byToken =
  (verb: 'lookup' | 'rewrap') =>
  async (context: CommandContext): Promise<void> => {
    const token = await secretArg(context, 0, 'Wrapping token')
    const secret = await call(context, { method: 'POST', path: `sys/wrapping/${verb}`, body: { token }, wrapTtl: '' })
    if (secret === null) throw new RefusedError('the server answered nothing of the token')
    await context.output.secret(secret)
  }

const token = { args: '[TOKEN | -]', argsMin: 0, argsMax: 1, flags: fieldFlag } as const

export const wrappingCommands: readonly Command[] = [
  {
    path: ['wrapping', 'wrap'],
    synopsis: 'Wrap data for somebody: a token that opens it, once',
    args: 'KEY=VALUE ... | @FILE | -',
    argsMin: 1,
    argsMax: Infinity,
    examples: ['holdfast wrapping wrap -wrap-ttl=10m -field=wrapping_token password=-'],
    flags: fieldFlag,
    run: wrap,
  },
  {
    ...token,
    path: ['wrapping', 'lookup'],
    synopsis: 'Show what a wrapping token is for, without opening it',
    examples: ['holdfast wrapping lookup - < token-file'],
    run: byToken('lookup'),
  },
  {
    ...token,
    path: ['wrapping', 'rewrap'],
    synopsis: 'The same content under a new token; the old one is spent',
    examples: ['holdfast wrapping rewrap - < token-file'],
    run: byToken('rewrap'),
  },
]
