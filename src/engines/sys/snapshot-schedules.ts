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
  interval: field('string', 'Time between snapshots, at least 10s: they begin at its multiples since 1970.', {
    required: true,
    example: '24h',
  }),
  retain: field('int', 'How many are kept.', { default: 1 }),
  path_prefix: field('string', 'Folder below snapshot_folder of the configuration (local), or what keys begin with (aws-s3).', {
    default: '',
  }),
  file_prefix: field('string', 'What file names begin with.', { default: 'holdfast-snapshot' }),
  storage_type: field('string', 'Where they are kept.', { required: true, enum: ['local', 'aws-s3'], example: 'local' }),
  local_max_space: field('int', 'Bytes that all files of the schedule may take; 0: no limit.', { default: 0 }),
  aws_s3_bucket: field('string', 'Name of the bucket.'),
  aws_s3_region: field('string', 'Its region.'),
  aws_s3_endpoint: field('string', "URL of the service, where it is another than AWS's own."),
  aws_s3_disable_tls: field('bool', 'Accepted; give an endpoint that begins with http:// instead.', { deprecated: true }),
  aws_s3_force_path_style: field('bool', 'Names the bucket in the path, as most services other than AWS need.', { default: false }),
  aws_access_key_id: field('string', "Absent: the AWS client's own search on the node that leads. Never answered.", { sensitive: true }),
  aws_secret_access_key: field('string', 'Never answered.', { sensitive: true }),
  aws_session_token: field('string', 'Never answered.', { sensitive: true }),
  aws_s3_enable_kms: field('bool', 'The bucket encrypts under a key of KMS.', { default: false }),
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
        update: writes('Write', async (context) => {
          await writeSchedule(transactionOf(context), await scheduleFrom(context, snapshotFolder))
          return null
        }),
        delete: writes('Delete', async (context) => (removeSchedule(transactionOf(context), text(context, 'name')), null)),
      },
      'Run by the leader. What it has saved stays where it is when the schedule is deleted.',
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

/** What is not said stays as it was; of another storage type, nothing does. */
async function scheduleFrom(context: HandlerContext, snapshotFolder: string | null): Promise<Omit<Schedule, 'version'>> {
  const name = text(context, 'name')
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) refuse('name', '1 to 64 letters, digits, - or _')
  const { intervalMsMin, intervalMsMax, retainMax } = scheduleLimits
  const interval = text(context, 'interval')
  const intervalMs = /^\d+$/.test(interval) ? Number(interval) * 1_000 : parseDurationMs(interval, { what: 'interval' })
  if (!Number.isSafeInteger(intervalMs) || intervalMs < intervalMsMin || intervalMs > intervalMsMax)
    refuse('interval', `${formatDuration(intervalMsMin / 1_000)} to ${formatDuration(intervalMsMax / 1_000)}`)
  const retain = optional<number>(context, 'retain') ?? 1
  if (retain < 1 || retain > retainMax) refuse('retain', `1 to ${retainMax}`)
  const filePrefix = text(context, 'file_prefix')
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/.test(filePrefix))
    refuse('file_prefix', '1 to 64 letters, digits, . _ or -, the first no . or -')
  const pathPrefix = text(context, 'path_prefix')
  if (pathPrefix.length > 512 || /[\0\r\n]/.test(pathPrefix)) refuse('path_prefix', 'at most 512 characters of one line')
  const target =
    text(context, 'storage_type') === 'local' ? localTarget(context, snapshotFolder, pathPrefix) : await s3TargetFrom(context, name)
  return { name, intervalMs, retain, pathPrefix, filePrefix, target }
}

function localTarget(context: HandlerContext, root: string | null, pathPrefix: string): LocalTarget {
  folderBelow(root, pathPrefix)
  const bytesMax = optional<number>(context, 'local_max_space') ?? 0
  if (bytesMax < 0) refuse('local_max_space', '0 or more bytes')
  return { kind: 'local', bytesMax }
}

async function s3TargetFrom(context: HandlerContext, name: string): Promise<S3Target> {
  const bucket = text(context, 'aws_s3_bucket')
  const region = text(context, 'aws_s3_region')
  const endpoint = text(context, 'aws_s3_endpoint')
  if (!/^[A-Za-z0-9._-]{1,255}$/.test(bucket)) refuse('aws_s3_bucket', 'the name of a bucket')
  if (!/^[a-z0-9-]{2,40}$/.test(region)) refuse('aws_s3_region', 'a region such as eu-central-1')
  if (endpoint !== '' && !(URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol))) refuse('aws_s3_endpoint', 'a URL')
  return {
    kind: 'aws-s3',
    bucket,
    region,
    endpoint: endpoint || null,
    forcePathStyle: optional<boolean>(context, 'aws_s3_force_path_style') === true,
    credentials: await credentialsFrom(context, name),
    kmsKey: optional<boolean>(context, 'aws_s3_enable_kms') === true ? text(context, 'aws_s3_kms_key') : null,
  }
}

/** Nobody can read them back to send them again with a new interval: left out, they stay; both empty, they go. */
async function credentialsFrom(context: HandlerContext, name: string): Promise<S3Target['credentials']> {
  const id = optional<string>(context, 'aws_access_key_id')
  const secret = optional<string>(context, 'aws_secret_access_key')
  if (id === undefined && secret === undefined) {
    const before = await readSchedule(transactionOf(context), name)
    return before?.target.kind === 'aws-s3' ? before.target.credentials : null
  }
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
