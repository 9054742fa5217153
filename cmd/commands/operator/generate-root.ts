/** operator generate-root: a root token by the consent of those who hold shares. */
import { call, given, secretArg } from '../../cli/common.ts'
import type { Row } from '../../cli/output.ts'
import { pgpKey, pgpKeyFlag } from '../../cli/pgp-keys.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'

type Data = Readonly<Record<string, unknown>>

const attempt = 'sys/generate-root/attempt'
const padCharsDefault = 26

async function generateRoot(context: CommandContext): Promise<void> {
  const { flags } = context
  const decode = flags.string('decode')
  const asked = (['init', 'cancel', 'status', 'generate-otp'] as const).filter((action) => flags.bool(action))
  if (asked.length + (decode === undefined ? 0 : 1) > 1)
    throw new UsageError('expected one of -init, -cancel, -status, -decode, -generate-otp, got several')
  if (decode !== undefined) return printToken(context, await decoded(context, decode))
  switch (asked[0]) {
    case 'generate-otp':
      return context.output.say(await makePad(await padChars(context)))
    case 'init':
      return init(context)
    case 'cancel': {
      const nonce = flags.string('nonce')
      await call(context, { method: 'DELETE', path: attempt, ...(nonce === undefined ? {} : { query: { nonce } }) })
      return context.output.say('Success! The generation is cancelled.')
    }
    case 'status':
      return printStatus(context, await status(context))
    case undefined:
      return giveKey(context)
  }
}

async function status(context: CommandContext): Promise<Data> {
  return (await call(context, { method: 'GET', path: attempt })) ?? {}
}

async function padChars(context: CommandContext): Promise<number> {
  const chars = (await status(context))['otp_length']
  return typeof chars === 'number' && chars > 0 && chars <= 256 ? chars : padCharsDefault
}

async function makePad(chars: number): Promise<string> {
  const { randomBase62, systemRandom } = await import('#base/random.ts')
  return randomBase62(systemRandom, chars)
}

async function init(context: CommandContext): Promise<void> {
  const key = context.flags.string('pgp-key')
  const otp = context.flags.string('otp')
  if (key !== undefined && otp !== undefined) throw new UsageError('expected -otp or -pgp-key, got both')
  const body = given({ otp, pgp_key: key === undefined ? undefined : pgpKey(context, 'pgp-key', key) })
  const begun = (await call(context, { method: 'POST', path: attempt, body })) ?? {}
  await printStatus(context, begun)
  if (begun['otp']) context.output.say('\nThe OTP is shown this once: with it, and no other, the token can be decoded.')
  context.output.say('\nNext, each holder of a key: holdfast operator generate-root -nonce=NONCE')
}

async function giveKey(context: CommandContext): Promise<void> {
  let nonce = context.flags.string('nonce')
  if (nonce === undefined) {
    const now = await status(context)
    if (now['started'] !== true)
      throw new RefusedError('no root generation is in progress', 'begin one: holdfast operator generate-root -init')
    nonce = String(now['nonce'])
    context.io.err(`Operation nonce: ${nonce}\n`)
  }
  const key = await secretArg(context, 0, 'Unseal or recovery key')
  await printStatus(context, (await call(context, { method: 'POST', path: 'sys/generate-root/update', body: { nonce, key } })) ?? {})
}

/** Here, not by the server: neither token nor pad need leave this machine. */
async function decoded(context: CommandContext, encoded: string): Promise<string> {
  const otp = context.flags.string('otp') ?? (await context.io.readSecret('OTP (will be hidden)'))
  const bytes = Buffer.from(encoded, 'base64')
  const pad = Buffer.from(otp)
  if (bytes.length === 0 || bytes.length !== pad.length)
    throw new UsageError(
      `-otp expected the ${bytes.length} characters of the encoded token, got ${pad.length}`,
      'is it the OTP that -init showed?',
    )
  return Buffer.from(bytes.map((byte, at) => byte ^ pad[at]!)).toString()
}

async function printToken({ output }: CommandContext, token: string): Promise<void> {
  if (output.format === 'table') output.say(token)
  else await output.rows([], { token })
}

async function printStatus({ output }: CommandContext, data: Data): Promise<void> {
  const optional = (label: string, value: unknown): Row[] => (value === undefined || value === '' ? [] : [[label, value]])
  const rows: Row[] = [
    ...optional('Nonce', data['nonce']),
    ['Started', data['started']],
    ['Progress', `${String(data['progress'])}/${String(data['required'])}`],
    ['Complete', data['complete']],
    ...optional('PGP Fingerprint', data['pgp_fingerprint']),
    ...optional('OTP', data['otp']),
    ['OTP Length', data['otp_length']],
    ...optional('Encoded Token', data['encoded_token']),
  ]
  await output.rows(rows, data)
}

const flag = (description: string) => ({ type: 'bool', description }) as const

export const generateRootCommand: Command = {
  path: ['operator', 'generate-root'],
  synopsis: 'Make a root token by the consent of key holders',
  args: '[KEY | -]',
  argsMin: 0,
  argsMax: 1,
  description:
    'For when there is no root token. -init begins, under an OTP that is made and shown, or for a PGP key; then each holder of an unseal key (with an auto seal: recovery key) gives it, until there ' +
    'are enough. The token comes out encoded: -decode takes the OTP off, on this machine. It needs a token that may use sys/generate-root, or a listener that opens it.',
  examples: [
    'holdfast operator generate-root -init',
    'holdfast operator generate-root -nonce=NONCE',
    'holdfast operator generate-root -decode=ENCODED -otp=OTP',
    'holdfast operator generate-root -init -pgp-key=me.pgp',
  ],
  flags: {
    init: flag('Begin.'),
    cancel: flag('Give it up.'),
    status: flag('Show how far it is.'),
    'generate-otp': flag('Print an OTP for -init -otp, and do nothing else.'),
    otp: { type: 'string', description: 'With -init: use this one. With -decode: take this one off; asked for when absent.' },
    'pgp-key': pgpKeyFlag('With -init: encrypt the token for its holder instead.'),
    decode: { type: 'string', placeholder: 'TOKEN', description: 'Decode what the last key answered.' },
    nonce: { type: 'string', description: 'Which attempt the key is for; read from the server when absent.' },
  },
  run: generateRoot,
}
