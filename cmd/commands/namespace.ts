/** namespace list, create, lookup, patch, delete, lock, unlock: those that lie in the namespace of -namespace. */
import { firstArg, given, printWritten, trimSlashes } from '../cli/common.ts'
import { pgpKeys, pgpKeysFlag } from '../cli/pgp-keys.ts'
import { RefusedError, type Command, type CommandContext, type FlagSpec } from '../cli/types.ts'

const nameOf = (context: CommandContext): string => trimSlashes(firstArg(context))
const pathOf = (context: CommandContext): string => `sys/namespaces/${nameOf(context)}`

const metadataFlag: Readonly<Record<string, FlagSpec>> = {
  'custom-metadata': { type: 'map', placeholder: 'KEY=VALUE', description: 'Kept beside it; may be given several times.' },
}

async function list(context: CommandContext): Promise<void> {
  const client = await context.client()
  const recursive = context.flags.bool('recursive')
  const secret = await (recursive ? client.read('sys/namespaces', { scan: 'true' }) : client.list('sys/namespaces'))
  const keys = secret?.data?.['keys']
  if (!Array.isArray(keys) || keys.length === 0) throw new RefusedError('no namespaces found')
  await context.output.list(keys.map(String))
}

/** The seal that was asked for, as the API takes it; undefined: none. */
function sealOf(context: CommandContext): string | undefined {
  const [shares, threshold] = [context.flags.int('key-shares'), context.flags.int('key-threshold')]
  if (shares === undefined && threshold === undefined) return undefined
  return JSON.stringify({
    seal: { shamir: { shares: shares ?? 5, threshold: threshold ?? 3, pgp_keys: pgpKeys(context, 'pgp-keys') ?? [] } },
  })
}

async function create(context: CommandContext): Promise<void> {
  const metadata = context.flags.map('custom-metadata') ?? {}
  const body = given({ custom_metadata: Object.keys(metadata).length === 0 ? undefined : metadata, seal: sealOf(context) })
  await printWritten(context, await (await context.client()).write(pathOf(context), body), `Made the namespace ${nameOf(context)}/`)
}

async function lookup(context: CommandContext): Promise<void> {
  const secret = await (await context.client()).read(pathOf(context))
  if (secret === null) throw new RefusedError(`no namespace found at ${nameOf(context)}/`)
  await context.output.secret(secret)
}

async function patch(context: CommandContext): Promise<void> {
  const removed = context.flags.list('remove-custom-metadata').map((key) => [key, null] as const)
  const changes = { ...context.flags.map('custom-metadata'), ...Object.fromEntries(removed) }
  if (Object.keys(changes).length === 0)
    throw new RefusedError('nothing to change was named', 'holdfast namespace patch -custom-metadata=KEY=VALUE NAME')
  const secret = await (await context.client()).patch(pathOf(context), { custom_metadata: changes })
  await printWritten(context, secret, `Changed the namespace ${nameOf(context)}/`)
}

async function remove(context: CommandContext): Promise<void> {
  const secret = await (await context.client()).delete(pathOf(context))
  // Nothing was there, which the server says by a warning: a Success below it would say the opposite.
  if (!secret?.data && (secret?.warnings?.length ?? 0) > 0 && context.output.format === 'table') return context.output.warnings(secret)
  await printWritten(context, secret?.data ? null : secret, `Namespace ${nameOf(context)}/ is being deleted, with all that lies in it`)
}

/** Below the namespace of -namespace; that one itself without an argument. */
const lockPath = (context: CommandContext, verb: 'lock' | 'unlock'): string =>
  `sys/namespaces/api-lock/${verb}${context.args.length === 0 ? '' : `/${nameOf(context)}`}`

async function lock(context: CommandContext): Promise<void> {
  await printWritten(context, await (await context.client()).write(lockPath(context, 'lock')), 'Locked the API of the namespace')
}

async function unlock(context: CommandContext): Promise<void> {
  const typed = context.flags.string('unlock-key')
  const key = typed === '-' ? await context.io.readSecret('Unlock key (will be hidden)') : typed
  const secret = await (await context.client()).write(lockPath(context, 'unlock'), key === undefined ? {} : { unlock_key: key })
  await printWritten(context, secret, 'Unlocked the API of the namespace')
}

const one = { args: 'PATH', argsMin: 1, argsMax: 1 } as const
const perhapsOne = { args: '[PATH]', argsMin: 0, argsMax: 1 } as const

export const namespaceCommands: readonly Command[] = [
  {
    path: ['namespace', 'list'],
    synopsis: 'List the namespaces that lie in this one',
    args: '',
    argsMin: 0,
    argsMax: 0,
    flags: { recursive: { type: 'bool', description: 'With those inside them.' } },
    examples: ['holdfast namespace list', 'holdfast namespace list -namespace=team -recursive'],
    run: list,
  },
  {
    path: ['namespace', 'create'],
    synopsis: 'Make a namespace',
    ...one,
    flags: {
      ...metadataFlag,
      'key-shares': {
        type: 'int',
        placeholder: 'N',
        description: 'Give it a seal of its own, with so many shares; they are printed once.',
      },
      'key-threshold': { type: 'int', placeholder: 'N', description: 'How many of them unseal it; 3.' },
      'pgp-keys': pgpKeysFlag('One PGP key a share, which is then printed encrypted.'),
    },
    examples: [
      'holdfast namespace create team',
      'holdfast namespace create -key-shares=5 -key-threshold=3 tenant',
      'holdfast namespace create -custom-metadata=owner=platform team/app',
    ],
    run: create,
  },
  {
    path: ['namespace', 'lookup'],
    synopsis: 'Show a namespace',
    ...one,
    examples: ['holdfast namespace lookup team'],
    run: lookup,
  },
  {
    path: ['namespace', 'patch'],
    synopsis: "Change a namespace's metadata",
    ...one,
    flags: {
      ...metadataFlag,
      'remove-custom-metadata': { type: 'list', placeholder: 'KEY', description: 'Pair to take away; may be given several times.' },
    },
    examples: ['holdfast namespace patch -custom-metadata=owner=ops -remove-custom-metadata=room team'],
    run: patch,
  },
  {
    path: ['namespace', 'delete'],
    synopsis: 'Delete a namespace with all that lies in it; none may lie inside it',
    ...one,
    examples: ['holdfast namespace delete team/app'],
    run: remove,
  },
  {
    path: ['namespace', 'lock'],
    synopsis: 'Lock the API of a namespace, and of those inside it; prints the key that unlocks it',
    ...perhapsOne,
    examples: ['holdfast namespace lock team'],
    run: lock,
  },
  {
    path: ['namespace', 'unlock'],
    synopsis: 'Unlock the API of a namespace',
    ...perhapsOne,
    flags: {
      'unlock-key': {
        type: 'string',
        placeholder: 'KEY',
        description: 'What the lock printed, or - to be asked for it; not needed with sudo.',
      },
    },
    examples: ['holdfast namespace unlock -unlock-key=- team'],
    run: unlock,
  },
]
