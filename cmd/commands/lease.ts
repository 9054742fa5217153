/** lease lookup, renew, revoke. */
import { call, fieldFlag, firstArg, given, printWritten, trimSlashes } from '../cli/common.ts'
import { UsageError, type Command, type CommandContext } from '../cli/types.ts'

async function lookup(context: CommandContext): Promise<void> {
  const id = trimSlashes(firstArg(context))
  if (context.flags.bool('prefix')) {
    const secret = await (await context.client()).list(`sys/leases/lookup/${id}`)
    await context.output.list((secret?.data?.['keys'] ?? []) as string[])
    return
  }
  await context.output.secret(
    (await call(context, { method: 'POST', path: 'sys/leases/lookup', body: { lease_id: id }, idempotent: true })) ?? {},
  )
}

async function renew(context: CommandContext): Promise<void> {
  const body = given({ lease_id: trimSlashes(firstArg(context)), increment: context.flags.string('increment') })
  await printWritten(context, await call(context, { method: 'POST', path: 'sys/leases/renew', body }), 'Renewed the lease.')
}

async function revoke(context: CommandContext): Promise<void> {
  const id = trimSlashes(firstArg(context))
  const { flags } = context
  const [prefix, force, sync] = [flags.bool('prefix'), flags.bool('force'), flags.bool('sync')]
  if (force && !prefix) throw new UsageError('-force expected -prefix beside it', 'what it does can not be undone: say so with both')
  const route = prefix ? `sys/leases/${force ? 'revoke-force' : 'revoke-prefix'}/${id}` : 'sys/leases/revoke'
  const body = prefix ? { sync } : { lease_id: id, sync }
  const done = sync ? 'Revoked' : 'Ended, and being taken back'
  await printWritten(
    context,
    await call(context, { method: 'POST', path: route, body, idempotent: true }),
    `${done} (if it existed): ${prefix ? `all leases below ${id}` : id}`,
  )
}

export const leaseCommands: readonly Command[] = [
  {
    path: ['lease', 'lookup'],
    synopsis: 'Show what a lease is, or the leases below a path',
    args: 'LEASE_ID | PREFIX',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast lease lookup database/creds/app/LEASE', 'holdfast lease lookup -prefix database/creds'],
    flags: { ...fieldFlag, prefix: { type: 'bool', description: 'List what lies below the argument, a level at a time; needs sudo.' } },
    run: lookup,
  },
  {
    path: ['lease', 'renew'],
    synopsis: 'Prolong a lease',
    args: 'LEASE_ID',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast lease renew database/creds/app/LEASE', 'holdfast lease renew -increment=1h database/creds/app/LEASE'],
    flags: {
      ...fieldFlag,
      increment: { type: 'string', placeholder: 'DURATION', description: 'By how much, from now; the server may allow less.' },
    },
    run: renew,
  },
  {
    path: ['lease', 'revoke'],
    synopsis: 'End a lease, or all below a path',
    args: 'LEASE_ID | PREFIX',
    argsMin: 1,
    argsMax: 1,
    description:
      'It is good no more from the answer on. What it stands for is taken back by its engine soon after, with -sync before the answer.',
    examples: [
      'holdfast lease revoke database/creds/app/LEASE',
      'holdfast lease revoke -prefix -sync database/creds/app',
      'holdfast lease revoke -prefix -force database',
    ],
    flags: {
      prefix: { type: 'bool', description: 'All leases below the argument, tokens too; needs sudo.' },
      force: {
        type: 'bool',
        description: 'With -prefix: off the books even where it can not be taken back. It may stay in use, for ever.',
      },
      sync: { type: 'bool', description: 'Wait until it is taken back.' },
    },
    run: revoke,
  },
]
