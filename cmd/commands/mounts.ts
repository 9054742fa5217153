/** secrets enable, disable, list, tune, move; auth enable, disable, list, tune: the same verbs on two tables. */
import { sleep, systemClock } from '#base/clock.ts'
import { call, firstArg, given, printWritten, readData, trimSlashes } from '../cli/common.ts'
import { shortDuration } from '../cli/table.ts'
import { RefusedError, type Command, type CommandContext, type FlagSpec } from '../cli/types.ts'

interface Table {
  readonly word: 'secrets' | 'auth'
  /** Where the API keeps it. */
  readonly api: 'sys/mounts' | 'sys/auth'
  readonly noun: string
}
const secrets: Table = { word: 'secrets', api: 'sys/mounts', noun: 'secrets engine' }
const auth: Table = { word: 'auth', api: 'sys/auth', noun: 'auth method' }

const text = (description: string, placeholder = 'TEXT'): FlagSpec => ({ type: 'string', description, placeholder })

const tuneFlags: Readonly<Record<string, FlagSpec>> = {
  description: text('What it is for.'),
  'default-lease-ttl': text('Life of its leases when none is asked for.', 'DURATION'),
  'max-lease-ttl': text('Life of its leases at most.', 'DURATION'),
  options: { type: 'map', placeholder: 'KEY=VALUE', description: 'Option of the engine; may be given several times.' },
  version: { type: 'int', description: 'Version of a kv engine: 1 or 2.' },
  'listing-visibility': { type: 'string', values: ['hidden', 'unauth'], description: 'Whether it is shown before login.' },
  'audit-non-hmac-request-keys': { type: 'list', placeholder: 'KEY', description: 'Request key that the audit shows in the clear.' },
  'audit-non-hmac-response-keys': { type: 'list', placeholder: 'KEY', description: 'Response key that the audit shows in the clear.' },
  'passthrough-request-headers': { type: 'list', placeholder: 'NAME', description: 'Header that the engine may see.' },
  'allowed-response-headers': { type: 'list', placeholder: 'NAME', description: 'Header that the engine may answer.' },
}

/** Of login methods only. */
const authFlags: Readonly<Record<string, FlagSpec>> = {
  'token-type': text('Type of its tokens: default-service, default-batch, service or batch.', 'TYPE'),
  'user-lockout-threshold': { type: 'int', description: 'Wrong tries that lock a name.' },
  'user-lockout-duration': text('For how long.', 'DURATION'),
  'user-lockout-counter-reset-duration': text('After so long without one, wrong tries are forgotten.', 'DURATION'),
  'user-lockout-disable': { type: 'bool', description: 'Lock no name.' },
}

const enableFlags: Readonly<Record<string, FlagSpec>> = {
  path: text('Where to mount it; its type when absent.', 'PATH'),
  ...tuneFlags,
  local: { type: 'bool', description: 'Never replicated to other clusters.' },
  'seal-wrap': { type: 'bool', description: 'Wrap its values by the seal besides.' },
}

function configOf(table: Table, { flags }: CommandContext): Record<string, unknown> | undefined {
  const list = (name: string): readonly string[] | undefined => (flags.list(name).length === 0 ? undefined : flags.list(name))
  return given({
    default_lease_ttl: flags.string('default-lease-ttl'),
    max_lease_ttl: flags.string('max-lease-ttl'),
    listing_visibility: flags.string('listing-visibility'),
    audit_non_hmac_request_keys: list('audit-non-hmac-request-keys'),
    audit_non_hmac_response_keys: list('audit-non-hmac-response-keys'),
    passthrough_request_headers: list('passthrough-request-headers'),
    allowed_response_headers: list('allowed-response-headers'),
    ...(table === auth ? { token_type: flags.string('token-type'), user_lockout_config: lockoutOf(flags) } : {}),
  })
}

function lockoutOf(flags: CommandContext['flags']): Record<string, unknown> | undefined {
  const config = given({
    lockout_threshold: flags.int('user-lockout-threshold'),
    lockout_duration: flags.string('user-lockout-duration'),
    lockout_counter_reset_duration: flags.string('user-lockout-counter-reset-duration'),
    lockout_disable: flags.has('user-lockout-disable') ? flags.bool('user-lockout-disable') : undefined,
  })
  return Object.keys(config).length === 0 ? undefined : config
}

function optionsOf({ flags }: CommandContext, implied: Readonly<Record<string, string>> = {}): Record<string, string> | undefined {
  const version = flags.int('version')
  const options = { ...implied, ...flags.map('options'), ...(version === undefined ? {} : { version: String(version) }) }
  return Object.keys(options).length === 0 ? undefined : options
}

const enable =
  (table: Table) =>
  async (context: CommandContext): Promise<void> => {
    const { flags } = context
    const asked = firstArg(context)
    // 'kv-v2' is what people write for kv with version=2; the mount's type is kv, as tools expect to find it.
    const versioned = /^kv-v([12])$/.exec(asked)
    const type = versioned ? 'kv' : asked
    const path = trimSlashes(flags.string('path') ?? asked)
    const body = given({
      type,
      description: flags.string('description'),
      config: configOf(table, context),
      options: optionsOf(context, versioned ? { version: versioned[1] ?? '2' } : {}),
      local: flags.bool('local') || undefined,
      seal_wrap: flags.bool('seal-wrap') || undefined,
    })
    const secret = await call(context, { method: 'POST', path: `${table.api}/${path}`, body })
    await printWritten(context, secret, `Enabled the ${type} ${table.noun} at: ${path}/`)
  }

const disable =
  (table: Table) =>
  async (context: CommandContext): Promise<void> => {
    const path = trimSlashes(firstArg(context))
    const secret = await call(context, { method: 'DELETE', path: `${table.api}/${path}` })
    await printWritten(context, secret, `Disabled the ${table.noun} (if it existed) at: ${path}/`)
  }

const tune =
  (table: Table) =>
  async (context: CommandContext): Promise<void> => {
    const path = trimSlashes(firstArg(context))
    const body = given({ description: context.flags.string('description'), options: optionsOf(context), ...configOf(table, context) })
    const secret = await call(context, { method: 'POST', path: `${table.api}/${path}/tune`, body })
    await printWritten(context, secret, `Tuned the ${table.noun} at: ${path}/`)
  }

type Mount = Readonly<Record<string, unknown>>
const shown = (value: unknown): string =>
  value === undefined || value === null || value === ''
    ? 'n/a'
    : typeof value === 'object'
      ? JSON.stringify(value)
      : String(value as string)
const ttl = (mount: Mount, name: string): string => {
  const seconds = Number((mount['config'] as Mount | undefined)?.[name] ?? 0)
  return seconds === 0 ? 'system' : shortDuration(seconds)
}

const list =
  (table: Table) =>
  async (context: CommandContext): Promise<void> => {
    const data = await readData(context, table.api)
    const mounts = Object.entries(data as Readonly<Record<string, Mount>>)
      .filter(([path, mount]) => path.endsWith('/') && typeof mount === 'object')
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
    const detailed = context.flags.bool('detailed')
    const header = detailed
      ? ['Path', 'Type', 'Accessor', 'Default TTL', 'Max TTL', 'Options', 'Local', 'UUID', 'Description']
      : ['Path', 'Type', 'Accessor', 'Description']
    const rows = mounts.map(([path, mount]) => {
      const [type, accessor, description] = [shown(mount['type']), shown(mount['accessor']), shown(mount['description'])]
      if (!detailed) return [path, type, accessor, description]
      const ttls = [ttl(mount, 'default_lease_ttl'), ttl(mount, 'max_lease_ttl')]
      return [path, type, accessor, ...ttls, shown(mount['options']), shown(mount['local']), shown(mount['uuid']), description]
    })
    await context.output.table(header, rows, Object.fromEntries(mounts))
  }

const commandsOf = (table: Table, type: string, path: string): Command[] => [
  {
    path: [table.word, 'enable'],
    synopsis: `Mount a ${table.noun}`,
    args: 'TYPE',
    argsMin: 1,
    argsMax: 1,
    examples: [
      table.word === 'secrets' ? 'holdfast secrets enable -path=secret -version=2 kv' : 'holdfast auth enable -path=people userpass',
    ],
    flags: table.word === 'auth' ? { ...enableFlags, ...authFlags } : enableFlags,
    run: enable(table),
  },
  {
    path: [table.word, 'disable'],
    synopsis: `Unmount a ${table.noun}: all that it holds is deleted`,
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: [`holdfast ${table.word} disable ${path}`],
    run: disable(table),
  },
  {
    path: [table.word, 'list'],
    synopsis: `List the mounted ${table.noun}s`,
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: [`holdfast ${table.word} list -detailed`],
    flags: { detailed: { type: 'bool', description: 'Show more of each.' } },
    run: list(table),
  },
  {
    path: [table.word, 'tune'],
    synopsis: `Change how a ${table.noun} is mounted`,
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: [`holdfast ${table.word} tune -max-lease-ttl=24h ${type}`],
    flags: table.word === 'auth' ? { ...tuneFlags, ...authFlags } : tuneFlags,
    run: tune(table),
  },
]

const movePollMs = 500

/** What the mount has lent is taken back first: waited for, until somebody presses Ctrl-C. @throws RefusedError when it was not moved. */
async function moved(context: CommandContext, id: string): Promise<void> {
  if (id === '' || (await context.client()).options.wrapTtl !== undefined) return
  for (let waited = 0; ; waited += 1) {
    const data = await readData(context, `sys/remount/status/${id}`)
    const { status, reason } = (data['migration_info'] ?? {}) as { readonly status?: string; readonly reason?: string }
    if (status === 'failure') throw new RefusedError(`the mount was not moved: ${reason ?? 'no reason was told'}`)
    if (status !== 'in-progress') return
    if (waited === 0) context.output.note(`taking back what it has lent; holdfast read sys/remount/status/${id} tells how far it is`)
    await sleep(systemClock, movePollMs)
  }
}

/** Login methods are moved by the same route, as auth/PATH. */
const moveOf = (table: Table, example: string): Command => ({
  path: [table.word, 'move'],
  synopsis: `Mount a ${table.noun} at another path, with all that it holds`,
  args: 'FROM TO',
  argsMin: 2,
  argsMax: 2,
  examples: [`holdfast ${table.word} move ${example}`],
  run: async (context) => {
    const [from = '', to = ''] = context.args.map(trimSlashes)
    const full = (path: string): string => (table === auth ? `auth/${path}` : path)
    const secret = await call(context, { method: 'POST', path: 'sys/remount', body: { from: full(from), to: full(to) } })
    const id = secret?.data?.['migration_id']
    await moved(context, typeof id === 'string' ? id : '')
    if (context.output.format === 'table') context.output.say(`Success! Moved the ${table.noun} ${from}/ to: ${to}/`)
    else await context.output.secret(secret ?? {})
  },
})

export const mountCommands: readonly Command[] = [
  ...commandsOf(secrets, 'secret', 'secret'),
  moveOf(secrets, 'secret archive'),
  ...commandsOf(auth, 'userpass', 'userpass'),
  moveOf(auth, 'userpass people'),
]
