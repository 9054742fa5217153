/** operator rekey: other unseal keys, or recovery keys, in the place of those that stand. */
import { call, given, secretArg } from '../../cli/common.ts'
import type { Row } from '../../cli/output.ts'
import { pgpKeys, pgpKeysFlag } from '../../cli/pgp-keys.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'

type Data = Readonly<Record<string, unknown>>

const actions = ['init', 'cancel', 'status', 'backup-retrieve', 'backup-delete'] as const

function prefixOf({ flags }: CommandContext): string {
  const target = flags.string('target') ?? 'barrier'
  if (target === 'barrier') return 'sys/rekey'
  if (target === 'recovery') return 'sys/rekey-recovery-key'
  throw new UsageError(`-target expected barrier or recovery, got '${target}'`)
}

async function rekey(context: CommandContext): Promise<void> {
  const { flags } = context
  const asked = actions.filter((action) => flags.bool(action))
  if (asked.length > 1) throw new UsageError(`expected one of -${actions.join(', -')}, got -${asked.join(' and -')}`)
  const prefix = prefixOf(context)
  switch (asked[0]) {
    case 'init':
      return init(context, prefix)
    case 'cancel':
      return cancel(context, prefix)
    case 'status':
      return printStatus(context, await read(context, statusPath(context, prefix)))
    case 'backup-retrieve':
      return backup(context, prefix)
    case 'backup-delete': {
      await call(context, { method: 'DELETE', path: `${prefix}/backup` })
      return context.output.say('Success! The kept copy is deleted.')
    }
    case undefined:
      return giveKey(context, prefix)
  }
}

const statusPath = ({ flags }: CommandContext, prefix: string): string => `${prefix}/${flags.bool('verify') ? 'verify' : 'init'}`

async function read(context: CommandContext, path: string): Promise<Data> {
  const answer = await call(context, { method: 'GET', path })
  if (answer === null) throw new RefusedError('the server answered nothing')
  return answer
}

async function init(context: CommandContext, prefix: string): Promise<void> {
  const { flags } = context
  // An auto seal keeps its key itself, and hands out no shares of it.
  const alone = prefix === 'sys/rekey' && (await read(context, 'sys/seal-status'))['recovery_seal'] === true
  const body = given({
    secret_shares: flags.int('key-shares') ?? (alone ? 1 : 5),
    secret_threshold: flags.int('key-threshold') ?? (alone ? 1 : 3),
    pgp_keys: pgpKeys(context, 'pgp-keys'),
    backup: flags.bool('backup') || undefined,
    require_verification: flags.bool('verify') || undefined,
  })
  const status = await call(context, { method: 'POST', path: `${prefix}/init`, body })
  if (status?.['complete'] === true) return printKeys(context, status)
  await printStatus(context, status ?? {})
  if (alone) return
  if (!flags.bool('verify'))
    context.output.say(
      '\nThe present keys are void with the last one given. If its answer were lost, nobody would have the new ones: -verify waits until they were typed in.',
    )
  context.output.say(
    '\nNext, each holder of a present key: holdfast operator rekey -nonce=NONCE' + (prefix === 'sys/rekey' ? '' : ' -target=recovery'),
  )
}

async function cancel(context: CommandContext, prefix: string): Promise<void> {
  const nonce = context.flags.string('nonce')
  const query = nonce === undefined ? {} : { query: { nonce } }
  const again = context.flags.bool('verify')
  await call(context, { method: 'DELETE', path: statusPath(context, prefix), ...query })
  context.output.say(
    again
      ? 'Success! The new keys given back are forgotten; verification begins anew.'
      : 'Success! The rekey is cancelled; the present keys stay.',
  )
}

async function giveKey(context: CommandContext, prefix: string): Promise<void> {
  const verify = context.flags.bool('verify')
  let nonce = context.flags.string('nonce')
  if (nonce === undefined) {
    const status = await read(context, statusPath(context, prefix))
    if (status['started'] !== true)
      throw new RefusedError(
        verify ? 'no rekey verification is in progress' : 'no rekey is in progress',
        'begin one: holdfast operator rekey -init',
      )
    nonce = String(status['nonce'])
    // Who holds a key should know which attempt it is for.
    context.io.err(`Operation nonce: ${nonce}\n`)
  }
  const key = await secretArg(context, 0, verify ? 'New key' : 'Present key')
  const answer = await call(context, { method: 'POST', path: `${prefix}/${verify ? 'verify' : 'update'}`, body: { nonce, key } })
  if (answer?.['complete'] !== true) return printStatus(context, answer ?? {})
  if (verify) {
    if (context.output.format !== 'table') return context.output.rows([], answer)
    return context.output.say('Success! The new keys are verified and hold; those of before are void.')
  }
  await printKeys(context, answer)
}

async function printKeys({ output, flags }: CommandContext, made: Data): Promise<void> {
  if (output.format !== 'table') return output.rows([], made)
  const keys = (made['keys_base64'] ?? []) as readonly string[]
  const fingerprints = (made['pgp_fingerprints'] ?? []) as readonly string[]
  for (const [at, key] of keys.entries())
    output.say(`Key ${at + 1}${fingerprints[at] === undefined ? '' : ` fingerprint: ${fingerprints[at]}; value`}: ${key}`)
  if (keys.length > 0) output.say('')
  output.say(`Operation nonce: ${String(made['nonce'])}`)
  for (const warning of (made['warnings'] ?? []) as readonly string[]) output.say(`\nWARNING: ${warning}`)
  if (made['verification_required'] === true) {
    output.say(`Verification nonce: ${String(made['verification_nonce'])}`)
    const target = flags.string('target') === 'recovery' ? ' -target=recovery' : ''
    output.say(
      `\nThe present keys still hold. Give back the new ones: holdfast operator rekey -verify${target} -nonce=${String(made['verification_nonce'])}`,
    )
  } else if (keys.length > 0) output.say('\nThese keys hold from now on, and are shown this once; those of before are void.')
  else output.say('\nThe root key is replaced; this seal hands out no keys.')
}

const shown = (value: unknown): string => (typeof value === 'number' ? String(value) : '0')

async function printStatus(context: CommandContext, status: Data): Promise<void> {
  const started = status['started'] === true
  const fingerprints = status['pgp_fingerprints']
  const rows: Row[] = [
    ['Started', started],
    ...(started ? ([['Nonce', status['nonce']]] as Row[]) : []),
    ['Rekey Progress', `${shown(status['progress'])}/${shown(status['required'] ?? status['t'])}`],
    ...(started
      ? ([
          ['New Shares', status['n']],
          ['New Threshold', status['t']],
        ] as Row[])
      : []),
    ...(status['verification_required'] === true ? ([['Verification Required', true]] as Row[]) : []),
    ...(status['verification_nonce'] === undefined ? [] : ([['Verification Nonce', status['verification_nonce']]] as Row[])),
    ...(Array.isArray(fingerprints) ? ([['PGP Fingerprints', fingerprints.join(', ')]] as Row[]) : []),
  ]
  await context.output.rows(rows, status)
}

async function backup(context: CommandContext, prefix: string): Promise<void> {
  const answer = await call(context, { method: 'GET', path: `${prefix}/backup` })
  if (answer === null) throw new RefusedError('the server answered no keys')
  await context.output.secret(answer)
}

const flag = (description: string) => ({ type: 'bool', description }) as const

export const rekeyCommand: Command = {
  path: ['operator', 'rekey'],
  synopsis: 'Replace the unseal keys, or the recovery keys',
  args: '[KEY | -]',
  argsMin: 0,
  argsMax: 1,
  description:
    'Begin with -init; then each holder of a present key gives it, with the nonce that the beginning showed, until there are enough: the new keys are printed. With -init -verify the present ' +
    'keys hold until enough of the new ones were given back by -verify. A rekey ends when another node leads; the present keys stay then.',
  examples: [
    'holdfast operator rekey -init -key-shares=5 -key-threshold=3 -verify',
    'holdfast operator rekey -nonce=NONCE',
    'holdfast operator rekey -verify -nonce=VERIFICATION_NONCE',
    'holdfast operator rekey -init -pgp-keys=ann.pgp,ben.pgp,eve.asc -key-shares=3 -key-threshold=2 -backup',
    'holdfast operator rekey -target=recovery -status',
  ],
  flags: {
    init: flag('Begin.'),
    cancel: flag('Give it up; with -verify only forget the new keys given back.'),
    status: flag('Show how far it is.'),
    verify: flag('With -init: require verification. Without: give back a new key.'),
    target: { type: 'string', placeholder: 'barrier|recovery', description: 'Unseal keys (barrier, when absent) or recovery keys.' },
    nonce: { type: 'string', description: 'Which attempt the key is for; read from the server when absent.' },
    'key-shares': { type: 'int', description: 'New shares; 5 when absent.' },
    'key-threshold': { type: 'int', description: 'How many of them are needed; 3 when absent.' },
    'pgp-keys': pgpKeysFlag('Encrypt each new key for its holder; as many as shares.'),
    backup: flag('Keep the encrypted keys in the cluster as well.'),
    'backup-retrieve': flag('Fetch the kept keys.'),
    'backup-delete': flag('Delete the kept keys.'),
  },
  run: rekey,
}
