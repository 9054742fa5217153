/** A device's sink and format from its settings. */
import type { Writable } from 'node:stream'
import { readFileSync } from 'node:fs'
import type { Clock } from '#base/clock.ts'
import type { Logger } from '#base/logger.ts'
import type { AuditSink, DeviceFormat } from '../types.ts'
import { archiveOf } from './archive.ts'
import { openFileSink } from './file.ts'
import { httpSink, socketSink, syslogSink, type PeerDeps } from './peers.ts'
import type { DeviceSettings, FileSettings } from './settings.ts'

export interface SinkDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly nodeId: string
  readonly host: string
  readonly processId: number
  /** Where the stdout device writes; shared with whatever else does. */
  readonly stdout: Writable
  /** As FileSinkOptions. */
  readonly noFollow?: boolean
}

/** @throws what the file system says, ERR_CONFIG for an address or a header that is none. */
export async function openSink(device: DeviceSettings, deps: SinkDeps): Promise<{ sink: AuditSink; format: DeviceFormat }> {
  return { sink: await sinkOf(device, deps), format: formatOf(device) }
}

function formatOf({ options }: DeviceSettings): DeviceFormat {
  return {
    logRaw: options.log_raw,
    hmacAccessor: options.hmac_accessor,
    elideLists: options.elide_list_responses,
    prefix: options.prefix ?? '',
  }
}

async function sinkOf(device: DeviceSettings, deps: SinkDeps): Promise<AuditSink> {
  const { type } = device
  if (type === 'stdout') return stdoutSink(deps.stdout)
  if (type === 'file') return device.options.file_path === 'stdout' ? stdoutSink(deps.stdout) : fileSink(device.options, deps)
  const { tls_ca_cert_file: caFile } = device.options
  const peer: PeerDeps = { ...deps, ca: caFile === null ? null : readFileSync(caFile, 'utf8') }
  if (type === 'socket') return socketSink(device.options, peer)
  return type === 'syslog' ? syslogSink(device.options, peer) : httpSink(device.options, peer)
}

async function fileSink(options: FileSettings, { clock, log, nodeId, noFollow = false }: SinkDeps): Promise<AuditSink> {
  const archive = archiveOf(options, nodeId, clock)
  return openFileSink({
    path: options.file_path,
    fsync: options.fsync,
    noFollow,
    onExposed: ({ uid, mode }) =>
      log.warn(
        { file: options.file_path, owner: uid, mode: mode.toString(8) },
        'an audit file belongs to another user, or others may read it, and could not be closed to them: move it away and send SIGHUP, or change its owner',
      ),
    clock,
    ...(options.rotate_bytes === 0 ? {} : { rotateBytes: options.rotate_bytes }),
    ...(options.rotate_duration === null ? {} : { rotateMs: options.rotate_duration }),
    shelf: {
      compress: options.compress,
      ...(options.keep === null ? {} : { keepMs: options.keep }),
      ...(archive === null ? {} : { archive }),
      onError: (error) =>
        log.warn({ file: options.file_path, reason: (error as Error).name }, 'rotated audit files could not be tidied: it is tried again'),
    },
  })
}

/** For whoever collects the output of processes. Not closed: it is not ours. */
function stdoutSink(stdout: Writable): AuditSink {
  return {
    type: 'stdout',
    write: ({ bytes }) =>
      new Promise((resolve, reject) => {
        // A copy: what waits in the stream may be asked for after this was given up.
        stdout.write(Buffer.from(bytes), (error) => (error ? reject(error) : resolve()))
      }),
    reopen: async () => {},
    close: async () => {},
  }
}
