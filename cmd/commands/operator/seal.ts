/** operator init, unseal, seal, step-down, key-status, rotate: a cluster's birth and its keys. */
import { call, fieldFlag, given, printWritten, readData, secretArg } from '../../cli/common.ts'
import type { Row } from '../../cli/output.ts'
import { pgpKey, pgpKeyFlag, pgpKeys, pgpKeysFlag } from '../../cli/pgp-keys.ts'
import { exitCodes, RefusedError, type Command, type CommandContext } from '../../cli/types.ts'
import { printSealStatus } from '../status.ts'

async function initStatus(context: CommandContext): Promise<number> {
  const data = await readData(context, 'sys/init')
  const initialized = data['initialized'] === true
  if (context.output.format === 'table') context.output.say(initialized ? 'The cluster is initialised.' : 'The cluster is not initialised.')
  else await context.output.rows([], { initialized })
  return initialized ? exitCodes.ok : exitCodes.refused
}

async function init(context: CommandContext): Promise<number> {
  const { flags } = context
  if (flags.bool('status')) return await initStatus(context)
  const rootKey = flags.string('root-token-pgp-key')
  // Which of the two kinds of shares there are is the server's configuration; what was asked for is sent as it is, and refused there.
  const asked = flags.int('key-shares') !== undefined || flags.int('key-threshold') !== undefined
  const auto = !asked && (await readData(context, 'sys/seal-status'))['recovery_seal'] === true
  const body = given({
    secret_shares: flags.int('key-shares') ?? (auto ? undefined : 5),
    secret_threshold: flags.int('key-threshold') ?? (auto ? undefined : 3),
    recovery_shares: flags.int('recovery-shares') ?? (auto ? 5 : undefined),
    recovery_threshold: flags.int('recovery-threshold') ?? (auto ? 3 : undefined),
    pgp_keys: pgpKeys(context, 'pgp-keys'),
    recovery_pgp_keys: pgpKeys(context, 'recovery-pgp-keys'),
    root_token_pgp_key: rootKey === undefined ? undefined : pgpKey(context, 'root-token-pgp-key', rootKey),
  })
  const made = await call(context, { method: 'POST', path: 'sys/init', body })
  if (made === null) throw new RefusedError('the server answered no keys')
  if (context.output.format === 'table') printKeys(context, made)
  else {
    const names = {
      keys: 'unseal_keys_hex',
      keys_base64: 'unseal_keys_b64',
      recovery_keys: 'recovery_keys_hex',
      recovery_keys_base64: 'recovery_keys_b64',
    } as const
    const renamed = Object.entries(names).flatMap(([from, to]) => (made[from] === undefined ? [] : [[to, made[from]] as const]))
    await context.output.rows([], {
      ...Object.fromEntries(renamed),
      unseal_shares: body['secret_shares'],
      unseal_threshold: body['secret_threshold'],
      root_token: made['root_token'],
    })
  }
  return exitCodes.ok
}

function printKeys({ output, flags }: CommandContext, made: Readonly<Record<string, unknown>>): void {
  const unseal = (made['keys_base64'] ?? []) as string[]
  const recovery = (made['recovery_keys_base64'] ?? []) as string[]
  for (const [at, key] of unseal.entries()) output.say(`Unseal Key ${at + 1}: ${key}`)
  for (const [at, key] of recovery.entries()) output.say(`Recovery Key ${at + 1}: ${key}`)
  output.say('')
  output.say(`Initial Root Token: ${String(made['root_token'])}`)
  output.say('')
  if (unseal.length > 0) {
    const threshold = flags.int('key-threshold') ?? 3
    if (flags.list('pgp-keys').length > 0)
      output.say('Each key is a PGP message for its holder: base64 --decode, then gpg --decrypt, gives the key.\n')
    output.say(
      unseal.length === 1
        ? 'This key unseals a node. It is shown this once: without it nothing that is stored can be read again.'
        : `${threshold} of these ${unseal.length} keys unseal a node. They are shown this once: give them to different people.\n` +
            'Without enough of them nothing that is stored can be read again.',
    )
    output.say('')
    output.say(`Next, for each node${threshold === 1 ? '' : ` ${threshold} times`}: holdfast operator unseal -address=URL`)
  } else output.say('The seal opens the nodes by itself; recovery keys authorise, and are shown this once.')
}

async function unseal(context: CommandContext): Promise<number> {
  const reset = context.flags.bool('reset')
  const body = reset
    ? { reset: true }
    : given({ key: await secretArg(context, 0, 'Unseal key'), migrate: context.flags.bool('migrate') || undefined })
  // Giving the same share twice counts once.
  const seal = await call(context, { method: 'POST', path: 'sys/unseal', body, idempotent: true })
  await printSealStatus(context, seal ?? {})
  return exitCodes.ok
}

async function keyStatus(context: CommandContext): Promise<void> {
  const data = await readData(context, 'sys/key-status')
  const rows: Row[] = [
    ['Key Term', data['term']],
    ['Install Time', data['install_time']],
    ['Encryption Count', data['encryptions']],
  ]
  await context.output.rows(rows, data)
}

async function rotate(context: CommandContext): Promise<void> {
  if (context.flags.bool('root')) {
    await call(context, { method: 'POST', path: 'sys/rotate/root', body: {} })
    return context.output.say('Success! The root key is another one; the seal opens it.')
  }
  await call(context, { method: 'POST', path: 'sys/rotate', body: {} })
  context.output.say('Success! The keyring has a new term; new writes use it.')
  context.output.say('')
  try {
    await keyStatus(context)
  } catch (error) {
    // Who may rotate need not be one who may look: it is done all the same.
    context.output.note(`note: the new term is not shown: ${(error as Error).message}`)
  }
}

const done =
  (path: string, words: string) =>
  async (context: CommandContext): Promise<void> => {
    await printWritten(context, await call(context, { method: 'POST', path, body: {} }), words)
  }

const count = (description: string) => ({ type: 'int', description }) as const

export const sealCommands: readonly Command[] = [
  {
    path: ['operator', 'init'],
    sendsSeveral: true,
    synopsis: 'Initialise a new cluster: makes its keys and its first token',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: [
      'holdfast operator init',
      'holdfast operator init -key-shares=1 -key-threshold=1 -format=json',
      'holdfast operator init -key-shares=3 -key-threshold=2 -pgp-keys=ann.pgp,ben.pgp,eve.asc -root-token-pgp-key=ann.pgp',
      'holdfast operator init -status',
    ],
    flags: {
      'key-shares': count('Shares of the unseal key; 5 when absent.'),
      'key-threshold': count('How many of them unseal; 3 when absent.'),
      'recovery-shares': count('Shares of the recovery key, with an auto seal.'),
      'recovery-threshold': count('How many of them are needed.'),
      'pgp-keys': pgpKeysFlag('Encrypt each share for its holder; as many as shares.'),
      'recovery-pgp-keys': pgpKeysFlag('Encrypt each recovery share for its holder.'),
      'root-token-pgp-key': pgpKeyFlag('Encrypt the first token.'),
      status: { type: 'bool', description: 'Only tell whether it is initialised: exit code 0 yes, 2 no.' },
    },
    run: init,
  },
  {
    path: ['operator', 'unseal'],
    synopsis: 'Give one unseal key to a node',
    args: '[KEY | -]',
    argsMin: 0,
    argsMax: 1,
    description:
      'Without an argument the key is asked for and not shown. Run it once for each key that is needed, against the node to unseal.',
    examples: ['holdfast operator unseal', 'holdfast operator unseal - < my-key', 'holdfast operator unseal -reset'],
    flags: {
      ...fieldFlag,
      reset: { type: 'bool', description: 'Forget the keys given so far.' },
      migrate: { type: 'bool', description: 'Take part in a migration of the seal.' },
    },
    run: unseal,
  },
  {
    path: ['operator', 'seal'],
    synopsis: 'Seal a node',
    args: '',
    argsMin: 0,
    argsMax: 0,
    description:
      'The node forgets its keys at once. Then it replaces its process, so that nothing of what it served is left in memory (unless its ' +
      'configuration has seal_replaces_process = false): for a second or two it may not answer. With an auto seal it stays sealed until recovery ' +
      'keys are given to it, or it restarts.',
    examples: ['holdfast operator seal'],
    run: done('sys/seal', 'The node is sealed. Its process is replaced: for a second or two it may not answer.'),
  },
  {
    path: ['operator', 'step-down'],
    synopsis: 'Make the leader hand leadership to another node',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast operator step-down'],
    run: done('sys/step-down', 'The leader has stepped down.'),
  },
  {
    path: ['operator', 'key-status'],
    synopsis: "Show the keyring's newest term",
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast operator key-status'],
    flags: fieldFlag,
    run: keyStatus,
  },
  {
    path: ['operator', 'rotate'],
    sendsSeveral: true,
    synopsis: 'Give the keyring a new term',
    args: '',
    argsMin: 0,
    argsMax: 0,
    description: 'Nothing is rewritten: what is stored stays readable by the terms of before.',
    examples: ['holdfast operator rotate', 'holdfast operator rotate -root'],
    flags: { root: { type: 'bool', description: 'Replace the root key instead; with an auto seal only (with shares: operator rekey).' } },
    run: rotate,
  },
]
