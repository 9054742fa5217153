/** `storage/raft/snapshot-auto`: schedules of snapshots, under the field's names. */
import { formatDuration, parseDurationMs } from '#base/duration.ts'
import { HoldfastError } from '#base/errors.ts'
import { formatRfc3339 } from '#base/rfc3339.ts'
import { scopeOf, transactionOf } from '#core/scope.ts'
import type { HandlerContext, PathDef } from '#core/types.ts'
import { folderBelow } from '#snapshots/folder.ts'
import {
  nextStartMs,
  readRun,
  readSchedule,
  removeSchedule,
  scheduleLimits,
  scheduleNames,
  writeSchedule,
  type LocalTarget,
  type RunRecord,
  type S3Target,
  type Schedule,
} from '#snapshots/schedule.ts'
import { answer, field, inPath, optional, path, reads, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'

const fields = {
  name: inPath('Its name.', 'nightly'),
  // No field has a default here: what a change leaves out stays as it was, and a default could not be told from what was said.
  interval: field('string', 'Time between snapshots, at least 10s: they begin at its multiples since 1970. A new schedule needs it.'),
  retain: field('int', 'How many are kept; 1 unless said.'),
  path_prefix: field('string', 'Folder below snapshot_folder of the configuration (local), or what keys begin with (aws-s3).'),
  file_prefix: field('string', 'What file names begin with; holdfast-snapshot unless said.'),
  storage_type: field('string', 'Where they are kept. A new schedule needs it.', { enum: ['local', 'aws-s3'] }),
  local_max_space: field('int', 'Bytes that all files of the schedule may take; 0, as unless said: no limit.'),
  aws_s3_bucket: field('string', 'Name of the bucket.'),
  aws_s3_region: field('string', 'Its region.'),
  aws_s3_endpoint: field('string', "URL of the service, where it is another than AWS's own."),
  aws_s3_disable_tls: field('bool', 'Accepted; give an endpoint that begins with http:// instead.', { deprecated: true }),
  aws_s3_force_path_style: field('bool', 'Names the bucket in the path, as most services other than AWS need.'),
  aws_access_key_id: field('string', "Absent: the AWS client's own search on the node that leads. Never answered.", { sensitive: true }),
  aws_secret_access_key: field('string', 'Never answered.', { sensitive: true }),
  aws_session_token: field('string', 'Never answered.', { sensitive: true }),
  aws_s3_enable_kms: field('bool', 'The bucket encrypts under a key of KMS.'),
  aws_s3_kms_key: field('string', "That key; absent: the account's default."),
}

export function scheduleOfSnapshotPaths({ snapshotFolder }: SystemServices): PathDef[] {
  const flags = { rootNamespaceOnly: true }
  const named = { ...flags, fields: { name: fields.name } }
  return [
    path(
      'storage/raft/snapshot-auto/config',
      'Schedules of snapshots.',
      { ...flags, sudo: true },
      { list: reads('List', async (context) => answer({ keys: await scheduleNames(scopeOf(context).view) })) },
    ),
    path(
      'storage/raft/snapshot-auto/config/:name',
      'One schedule.',
      { ...flags, sudo: true, fields },
      {
        read: reads('Read', async (context) => {
          const schedule = await readSchedule(scopeOf(context).view, text(context, 'name'))
          return schedule && answer(scheduleAnswer(schedule))
        }),
        update: writes(
          'Make, or change what is said of it',
          async (context) => {
            await writeSchedule(transactionOf(context), await scheduleFrom(context, snapshotFolder))
            return null
          },
          { interval: '24h', retain: 7, storage_type: 'local' },
        ),
        delete: writes('Delete', async (context) => (removeSchedule(transactionOf(context), text(context, 'name')), null)),
      },
      'Run by the leader. A change leaves what it does not say as it was; of another storage type, bucket and credentials have to be said anew. What a schedule has saved stays where it is when it is deleted.',
    ),
    path('storage/raft/snapshot-auto/status', 'How all schedules do.', flags, {
      list: reads('List', async (context) => {
        const { view } = scopeOf(context)
        const names = await scheduleNames(view)
        const infos = await Promise.all(names.map(async (name) => [name, await statusOf(context, name, context.nowMs)] as const))
        return answer({ keys: names, key_info: Object.fromEntries(infos) })
      }),
    }),
    path('storage/raft/snapshot-auto/status/:name', 'How one schedule does.', named, {
      read: reads('Read', async (context) => {
        const status = await statusOf(context, text(context, 'name'), context.nowMs)
        return status && answer(status)
      }),
    }),
  ]
}

function refuse(what: string, expected: string, hint?: string): never {
  throw new HoldfastError('ERR_BAD_REQUEST', `${what} expected ${expected}, got something else`, hint === undefined ? {} : { hint })
}

type Unversioned = Omit<Schedule, 'version'>

/** What is not said stays as it was: nobody who changes an interval means `retain` to fall to 1, and all but one file to go with the next run. */
async function scheduleFrom(context: HandlerContext, snapshotFolder: string | null): Promise<Unversioned> {
  const name = text(context, 'name')
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) refuse('name', '1 to 64 letters, digits, - or _')
  const before = await readSchedule(transactionOf(context), name)
  const retain = optional<number>(context, 'retain') ?? before?.retain ?? 1
  const { retainMax } = scheduleLimits
  if (retain < 1 || retain > retainMax) refuse('retain', `1 to ${retainMax}`)
  const filePrefix = optional<string>(context, 'file_prefix') ?? before?.filePrefix ?? 'holdfast-snapshot'
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/.test(filePrefix))
    refuse('file_prefix', '1 to 64 letters, digits, . _ or -, the first no . or -')
  const pathPrefix = optional<string>(context, 'path_prefix') ?? before?.pathPrefix ?? ''
  if (pathPrefix.length > 512 || /[\0\r\n]/.test(pathPrefix)) refuse('path_prefix', 'at most 512 characters of one line')
  const kind = needed(optional<string>(context, 'storage_type') ?? before?.target.kind, 'storage_type')
  const target =
    kind === 'local'
      ? localTarget(context, before?.target ?? null, snapshotFolder, pathPrefix)
      : s3TargetFrom(context, before?.target.kind === 'aws-s3' ? before.target : null)
  return { name, intervalMs: intervalFrom(context, before), retain, pathPrefix, filePrefix, target }
}

function needed<T>(value: T | undefined, name: string): T {
  if (value !== undefined) return value
  throw new HoldfastError('ERR_BAD_REQUEST', `missing required field "${name}"`, { hint: 'a new schedule needs interval and storage_type' })
}

function intervalFrom(context: HandlerContext, before: Schedule | null): number {
  const given = optional<string>(context, 'interval')
  if (given === undefined) return needed(before?.intervalMs, 'interval')
  const { intervalMsMin, intervalMsMax } = scheduleLimits
  const intervalMs = parseDurationMs(given, { what: 'interval' })
  if (!Number.isSafeInteger(intervalMs) || intervalMs < intervalMsMin || intervalMs > intervalMsMax)
    refuse('interval', `${formatDuration(intervalMsMin / 1_000)} to ${formatDuration(intervalMsMax / 1_000)}`)
  return intervalMs
}

function localTarget(context: HandlerContext, before: Schedule['target'] | null, root: string | null, pathPrefix: string): LocalTarget {
  folderBelow(root, pathPrefix)
  const bytesMax = optional<number>(context, 'local_max_space') ?? (before?.kind === 'local' ? before.bytesMax : 0)
  if (bytesMax < 0) refuse('local_max_space', '0 or more bytes')
  return { kind: 'local', bytesMax }
}

function s3TargetFrom(context: HandlerContext, before: S3Target | null): S3Target {
  const bucket = optional<string>(context, 'aws_s3_bucket') ?? before?.bucket ?? ''
  const region = optional<string>(context, 'aws_s3_region') ?? before?.region ?? ''
  const endpoint = optional<string>(context, 'aws_s3_endpoint') ?? before?.endpoint ?? ''
  if (!/^[A-Za-z0-9._-]{1,255}$/.test(bucket)) refuse('aws_s3_bucket', 'the name of a bucket')
  if (!/^[a-z0-9-]{2,40}$/.test(region)) refuse('aws_s3_region', 'a region such as eu-central-1')
  if (endpoint !== '' && !(URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol))) refuse('aws_s3_endpoint', 'a URL')
  const byKms = optional<boolean>(context, 'aws_s3_enable_kms') ?? (before?.kmsKey ?? null) !== null
  return {
    kind: 'aws-s3',
    bucket,
    region,
    endpoint: endpoint || null,
    forcePathStyle: optional<boolean>(context, 'aws_s3_force_path_style') ?? before?.forcePathStyle ?? false,
    credentials: credentialsFrom(context, before),
    kmsKey: byKms ? (optional<string>(context, 'aws_s3_kms_key') ?? before?.kmsKey ?? '') : null,
  }
}

/** Nobody can read them back to send them again: left out, they stay; both empty, they go. */
function credentialsFrom(context: HandlerContext, before: S3Target | null): S3Target['credentials'] {
  const id = optional<string>(context, 'aws_access_key_id')
  const secret = optional<string>(context, 'aws_secret_access_key')
  if (id === undefined && secret === undefined) return before?.credentials ?? null
  if ((id ?? '') === '' && (secret ?? '') === '') return null
  if ((id ?? '') === '' || (secret ?? '') === '') refuse('aws_access_key_id and aws_secret_access_key', 'to be given together')
  return { accessKeyId: id ?? '', secretAccessKey: secret ?? '', sessionToken: text(context, 'aws_session_token') || null }
}

function scheduleAnswer({ intervalMs, retain, pathPrefix, filePrefix, target }: Schedule): Record<string, unknown> {
  const common = { interval: intervalMs / 1_000, retain, path_prefix: pathPrefix, file_prefix: filePrefix, storage_type: target.kind }
  if (target.kind === 'local') return { ...common, local_max_space: target.bytesMax }
  return {
    ...common,
    aws_s3_bucket: target.bucket,
    aws_s3_region: target.region,
    aws_s3_endpoint: target.endpoint ?? '',
    aws_s3_force_path_style: target.forcePathStyle,
    aws_s3_enable_kms: target.kmsKey !== null,
    aws_s3_kms_key: target.kmsKey ?? '',
    credentials: target.credentials === null ? 'searched for on the node that leads' : 'given',
  }
}

async function statusOf(context: HandlerContext, name: string, nowMs: number): Promise<Record<string, unknown> | null> {
  const { view } = scopeOf(context)
  const schedule = await readSchedule(view, name)
  return schedule && statusAnswer(schedule, await readRun(view, name), nowMs)
}

function statusAnswer(schedule: Schedule, run: RunRecord | null, nowMs: number): Record<string, unknown> {
  const time = (ms: number | undefined): string | null => (ms === undefined ? null : formatRfc3339(ms))
  const success = run?.lastSuccess ?? null
  return {
    state: run?.phase ?? 'not run yet',
    node: run?.node ?? null,
    consecutive_errors: run?.failures ?? 0,
    snapshot_start: run?.phase === 'running' ? time(run.startedMs) : null,
    last_snapshot_start: time(success?.startedMs),
    last_snapshot_end: time(success?.endedMs),
    last_snapshot_url: success?.url ?? '',
    last_snapshot_bytes: success?.bytes ?? 0,
    last_snapshot_index: success?.index ?? 0,
    last_snapshot_error: run?.lastError?.message ?? '',
    last_error_time: time(run?.lastError?.atMs),
    next_snapshot_start: time(nextStartMs(schedule, run, nowMs)),
  }
}
