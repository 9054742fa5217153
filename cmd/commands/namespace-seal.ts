/** namespace seal, unseal, seal-status, rotate, key-status, rekey, delete-sealed: the keys of namespaces. All are asked for from the namespace around. */
import { firstArg, given, printWritten, readData, secretArg, trimSlashes } from '../cli/common.ts'
import { pgpKeys, pgpKeysFlag } from '../cli/pgp-keys.ts'
import { RefusedError, type Command, type CommandContext, type FlagSpec } from '../cli/types.ts'

const nameOf = (context: CommandContext): string => trimSlashes(firstArg(context))
const pathOf = (context: CommandContext, verb: string): string => `sys/namespaces/${nameOf(context)}/${verb}`

async function write(context: CommandContext, verb: string, done: string, body: Readonly<Record<string, unknown>> = {}): Promise<void> {
  await printWritten(context, await (await context.client()).write(pathOf(context, verb), body), done)
}

async function show(context: CommandContext, verb: string): Promise<void> {
  const data = await readData(context, pathOf(context, verb))
  await context.output.rows(Object.entries(data), data)
}

async function unseal(context: CommandContext): Promise<void> {
  const reset = context.flags.bool('reset')
  const key = reset ? undefined : await secretArg(context, 1, 'Unseal key')
  await write(context, 'unseal', 'The shares given so far are forgotten', given({ key, reset: reset || undefined }))
}

async function rekey(context: CommandContext): Promise<void> {
  const { flags } = context
  const nonce = flags.string('nonce')
  const client = await context.client()
  if (flags.bool('cancel')) {
    await client.delete(pathOf(context, 'rekey/init'))
    return context.output.say('Success! The present shares stay')
  }
  if (flags.bool('init')) {
    const body = given({
      secret_shares: flags.int('key-shares') ?? 5,
      secret_threshold: flags.int('key-threshold') ?? 3,
      pgp_keys: pgpKeys(context, 'pgp-keys'),
      require_verification: flags.bool('verify') || undefined,
    })
    return await write(context, 'rekey/init', 'A rekey has begun', body)
  }
  if (nonce === undefined) return await show(context, 'rekey/init')
  const key = await secretArg(context, 1, flags.bool('verify') ? 'New key' : 'Present key')
  await write(context, flags.bool('verify') ? 'rekey/verify' : 'rekey/update', 'The share is taken', { nonce, key })
}

async function deleteSealed(context: CommandContext): Promise<void> {
  if (!context.flags.bool('yes'))
    throw new RefusedError('nothing is destroyed without -yes', `holdfast namespace delete-sealed -yes ${nameOf(context)}`)
  const path = `${pathOf(context, 'delete-sealed')}${context.flags.bool('force') ? '?force=true' : ''}`
  await (await context.client()).delete(path)
  context.output.say(`Success! The keys of ${nameOf(context)}/ are gone, and what they sealed is being deleted`)
}

const one = { args: 'PATH', argsMin: 1, argsMax: 1 } as const
const withShare = { args: 'PATH [SHARE]', argsMin: 1, argsMax: 2 } as const
const shareFlags: Readonly<Record<string, FlagSpec>> = {
  'key-shares': { type: 'int', placeholder: 'N', description: 'Into how many shares the key is split; 5.' },
  'key-threshold': { type: 'int', placeholder: 'N', description: 'How many of them are needed; 3.' },
  'pgp-keys': pgpKeysFlag('One PGP key a share, which is then printed encrypted.'),
}

export const namespaceSealCommands: readonly Command[] = [
  {
    path: ['namespace', 'seal'],
    synopsis: 'Seal a namespace that has a seal of its own, on all nodes, with those inside it',
    ...one,
    examples: ['holdfast namespace seal team'],
    run: (context) => write(context, 'seal', `Namespace ${nameOf(context)}/ is sealed`),
  },
  {
    path: ['namespace', 'unseal'],
    synopsis: 'Give a share to unseal a namespace, on all nodes',
    ...withShare,
    flags: { reset: { type: 'bool', description: 'Forget the shares given so far.' } },
    examples: ['holdfast namespace unseal team', 'holdfast namespace unseal -reset team'],
    run: unseal,
  },
  {
    path: ['namespace', 'seal-status'],
    synopsis: 'Show whether a namespace is sealed, and how far unsealing is',
    ...one,
    examples: ['holdfast namespace seal-status team'],
    run: (context) => show(context, 'seal-status'),
  },
  {
    path: ['namespace', 'rotate'],
    synopsis: "Add a key to a namespace's keyring; nothing is rewritten",
    ...one,
    examples: ['holdfast namespace rotate team'],
    run: (context) => write(context, 'rotate', `The keyring of ${nameOf(context)}/ has a new key`),
  },
  {
    path: ['namespace', 'key-status'],
    synopsis: "Show the key that seals a namespace's values now",
    ...one,
    examples: ['holdfast namespace key-status team'],
    run: (context) => show(context, 'key-status'),
  },
  {
    path: ['namespace', 'rekey'],
    synopsis: 'Replace the shares of a namespace; without a flag, show how far that is',
    ...withShare,
    flags: {
      ...shareFlags,
      init: { type: 'bool', description: 'Begin.' },
      nonce: { type: 'string', placeholder: 'NONCE', description: 'What the beginning printed; a share is given with it.' },
      verify: { type: 'bool', description: 'With -init: new shares hold once they were given back. With -nonce: give one back.' },
      cancel: { type: 'bool', description: 'End it; the present shares stay.' },
    },
    examples: [
      'holdfast namespace rekey -init -key-shares=3 -key-threshold=2 team',
      'holdfast namespace rekey -nonce=NONCE team',
      'holdfast namespace rekey -cancel team',
    ],
    run: rekey,
  },
  {
    path: ['namespace', 'delete-sealed'],
    synopsis: 'Destroy a sealed namespace: its keys go at once, and nothing brings back what they sealed',
    ...one,
    flags: {
      force: { type: 'bool', description: 'With all namespaces inside it.' },
      yes: { type: 'bool', description: 'It is meant.' },
    },
    examples: ['holdfast namespace delete-sealed -yes team'],
    run: deleteSealed,
  },
]
