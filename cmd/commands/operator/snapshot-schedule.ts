/** operator raft snapshot schedule: backups that the cluster makes by itself. */
import { call, fieldFlag, firstArg, given, printWritten, readData } from '../../cli/common.ts'
import { readPairs } from '../../cli/pairs.ts'
import { sizeText } from '../../cli/progress.ts'
import { simpleCommand } from '../../cli/simple.ts'
import { RefusedError, type Command, type CommandContext } from '../../cli/types.ts'

const config = 'sys/storage/raft/snapshot-auto/config'
const statusPath = 'sys/storage/raft/snapshot-auto/status'
const prefix = 'operator raft snapshot schedule'

async function write(context: CommandContext): Promise<void> {
  const { flags } = context
  const named = given({
    interval: flags.string('interval'),
    retain: flags.int('retain'),
    storage_type: flags.string('storage'),
    path_prefix: flags.string('path-prefix'),
  })
  const body = { ...named, ...(await readPairs(context.args.slice(1), context.io)) }
  const path = `${config}/${firstArg(context)}`
  await printWritten(context, await call(context, { method: 'POST', path, body }), `Wrote the schedule ${firstArg(context)}.`)
}

type Status = Readonly<Record<string, unknown>>
const shown = (value: unknown): string => (value === null || value === undefined || value === '' ? '-' : String(value as string | number))

/** Exits with 2 where the newest try of one has failed. */
async function status(context: CommandContext): Promise<void> {
  const [name] = context.args
  const client = await context.client()
  const infos: Readonly<Record<string, Status>> =
    name === undefined
      ? (((await client.list(statusPath))?.data?.['key_info'] ?? {}) as Readonly<Record<string, Status>>)
      : { [name]: await readData(context, `${statusPath}/${name}`) }
  const rows = Object.entries(infos).map(([each, info]) => [
    each,
    shown(info['state']),
    shown(info['last_snapshot_end']),
    info['last_snapshot_end'] === null ? '-' : sizeText(Number(info['last_snapshot_bytes'])),
    shown(info['next_snapshot_start']),
    shown(info['consecutive_errors']),
  ])
  if (rows.length === 0)
    throw new RefusedError('no schedule is there', `holdfast ${prefix} write daily -interval=24h -retain=7 -storage=local`)
  await context.output.table(['Name', 'State', 'Last', 'Size', 'Next', 'Errors'], rows, infos)
  const failed = Object.entries(infos).filter(([, info]) => Number(info['consecutive_errors']) > 0)
  if (failed.length === 0) return
  throw new RefusedError(failed.map(([each, info]) => `${each} failed: ${shown(info['last_snapshot_error'])}`).join('; '))
}

export const snapshotScheduleCommands: readonly Command[] = [
  simpleCommand({
    name: `${prefix} list`,
    synopsis: 'List the schedules',
    method: 'LIST',
    api: config,
    examples: [`holdfast ${prefix} list`],
  }),
  simpleCommand({
    name: `${prefix} read`,
    synopsis: 'Show a schedule',
    args: 'NAME',
    method: 'GET',
    api: `${config}/{NAME}`,
    examples: [`holdfast ${prefix} read daily`],
  }),
  {
    path: [...prefix.split(' '), 'write'],
    synopsis: 'Make or change a schedule',
    args: 'NAME [KEY=VALUE ...]',
    argsMin: 1,
    argsMax: Infinity,
    description:
      'A new one needs -interval and -storage; a change leaves what it does not say as it was. Local files lie below snapshot_folder of the configuration, on whichever node leads. A bucket takes aws_s3_bucket, aws_s3_region and more as pairs: ' +
      `holdfast path-help ${config}/x`,
    examples: [
      `holdfast ${prefix} write daily -interval=24h -retain=7 -storage=local`,
      `holdfast ${prefix} write daily -retain=14`,
      `holdfast ${prefix} write hourly -interval=1h -retain=48 -storage=aws-s3 aws_s3_bucket=backups aws_s3_region=eu-central-1`,
    ],
    flags: {
      ...fieldFlag,
      interval: { type: 'string', placeholder: 'DURATION', description: 'Time between two; at least 10s.' },
      retain: { type: 'int', placeholder: 'N', description: 'How many are kept.' },
      storage: { type: 'string', values: ['local', 'aws-s3'], description: 'Where they are kept.' },
      'path-prefix': {
        type: 'string',
        placeholder: 'PATH',
        description: 'Folder below snapshot_folder, or what keys in the bucket begin with.',
      },
    },
    run: write,
  },
  {
    path: [...prefix.split(' '), 'status'],
    synopsis: 'Show how the schedules do: the last snapshot, the next, and what failed',
    args: '[NAME]',
    argsMin: 0,
    argsMax: 1,
    description: 'Exits with 2 when the newest try of one has failed.',
    examples: [`holdfast ${prefix} status`],
    run: status,
  },
  simpleCommand({
    name: `${prefix} delete`,
    synopsis: 'Delete a schedule; what it has saved stays',
    args: 'NAME',
    method: 'DELETE',
    api: `${config}/{NAME}`,
    examples: [`holdfast ${prefix} delete daily`],
    done: 'Deleted the schedule (if it existed). What it has saved stays where it is.',
  }),
]
