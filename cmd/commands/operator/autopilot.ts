/** operator raft autopilot: state, get-config, set-config. */
import { given, printWritten, call, readData } from '../../cli/common.ts'
import type { Row } from '../../cli/output.ts'
import { UsageError, type Command, type CommandContext } from '../../cli/types.ts'

type Data = Readonly<Record<string, unknown>>

const configPath = 'sys/storage/raft/autopilot/configuration'

async function state(context: CommandContext): Promise<void> {
  const data = await readData(context, 'sys/storage/raft/autopilot/state')
  const servers = Object.entries((data['servers'] ?? {}) as Readonly<Record<string, Data>>)
  const top: Row[] = (['healthy', 'failure_tolerance', 'leader', 'voters', 'non_voters'] as const).flatMap((key): Row[] =>
    data[key] === undefined ? [] : [[key, data[key]]],
  )
  const sections = servers.map(([id, server]) => [`Node ${id}`, Object.entries(server)] as const)
  await context.output.sections([['Autopilot', top], ...sections], data)
}

async function getConfig(context: CommandContext): Promise<void> {
  const data = await readData(context, configPath)
  await context.output.rows(Object.entries(data), data)
}

async function setConfig(context: CommandContext): Promise<void> {
  const { flags } = context
  const number = (flag: string): number | undefined => {
    const text = flags.string(flag)
    if (text === undefined) return undefined
    if (!/^\d{1,9}$/.test(text)) throw new UsageError(`-${flag} expected a whole number, got '${text}'`)
    return Number(text)
  }
  const cleanup = flags.string('cleanup-dead-servers')
  if (cleanup !== undefined && cleanup !== 'true' && cleanup !== 'false')
    throw new UsageError(`-cleanup-dead-servers expected true or false, got '${cleanup}'`)
  const body = given({
    cleanup_dead_servers: cleanup === undefined ? undefined : cleanup === 'true',
    last_contact_threshold: flags.string('last-contact-threshold'),
    dead_server_last_contact_threshold: flags.string('dead-server-last-contact-threshold'),
    max_trailing_logs: number('max-trailing-logs'),
    min_quorum: number('min-quorum'),
  })
  if (Object.keys(body).length === 0) throw new UsageError('expected at least one setting to change, got none')
  await printWritten(context, await call(context, { method: 'POST', path: configPath, body }), 'Autopilot is configured.')
}

const setting = (placeholder: string, description: string) => ({ type: 'string', placeholder, description }) as const

export const autopilotCommands: readonly Command[] = [
  {
    path: ['operator', 'raft', 'autopilot', 'state'],
    synopsis: 'Show the health of the members as the leader sees it',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast operator raft autopilot state'],
    run: state,
  },
  {
    path: ['operator', 'raft', 'autopilot', 'get-config'],
    synopsis: 'Show when a member counts as unhealthy or dead',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast operator raft autopilot get-config'],
    run: getConfig,
  },
  {
    path: ['operator', 'raft', 'autopilot', 'set-config'],
    synopsis: 'Change when a member counts as unhealthy or dead',
    args: '',
    argsMin: 0,
    argsMax: 0,
    description:
      'A member that is dead is removed by itself, one at a time, as long as -min-quorum voters remain and those that are heard are a majority. It can come back only as a new node.',
    examples: ['holdfast operator raft autopilot set-config -dead-server-last-contact-threshold=72h -min-quorum=3'],
    flags: {
      'cleanup-dead-servers': setting('true|false', 'Whether dead members are removed.'),
      'last-contact-threshold': setting('DURATION', 'Silence after which a member is not healthy.'),
      'dead-server-last-contact-threshold': setting('DURATION', 'Silence after which it is dead.'),
      'max-trailing-logs': setting('N', 'Entries that a healthy member may be behind.'),
      'min-quorum': setting('N', 'Voters that must remain after a removal.'),
    },
    run: setConfig,
  },
]
