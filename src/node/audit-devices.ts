/**
 * This node's audit devices: those of its configuration, and those that the API enabled, which every node has. The apply feed says that something may have
 * changed; a device that can't be opened here is tried again, and the log says so.
 */
import { lstat, realpath } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, resolve, sep } from 'node:path'
import type { ManagedAuditBroker } from '#audit/broker.ts'
import { devicesMark, disablingOf, dropDevice, storeDevice, storedDevices, type Disabling, type StoredDevice } from '#audit/device-store.ts'
import { auditedHeaders } from '#audit/header-store.ts'
import { openSink, type SinkDeps } from '#audit/sinks/open.ts'
import type { DeviceSettings } from '#audit/sinks/settings.ts'
import type { AuditRecord, AuditSink, DeviceFormat } from '#audit/types.ts'
import type { Barrier, ReadView } from '#barrier/types.ts'
import type { Clock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import { randomUuid, type RandomSource } from '#base/random.ts'
import type { KeyTable } from '#config/key.ts'
import { auditOptionKeys, type AuditType } from '#config/keys.ts'
import { readAuditOptions } from '#config/load.ts'
import type { AuditConfig, ServerConfig } from '#config/types.ts'
import type { AuditAsked, AuditDevice } from '#engines/sys/types.ts'

const retryMs = 10_000
const optionsMax = 64

export interface AuditDevicesOptions {
  readonly config: Pick<
    ServerConfig,
    'audit' | 'unsafe_allow_api_audit_creation' | 'audit_api_folder' | 'allow_audit_log_prefixing' | 'unsafe_allow_audit_log_raw'
  >
  readonly nodeId: string
  readonly audit: ManagedAuditBroker
  readonly barrier: Pick<Barrier, 'transact' | 'read'>
  /** Anchors what the lanes hold, before one of them ends. Never rejects. */
  readonly anchor: () => Promise<void>
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
}

const sinkDeps = (nodeId: string, clock: Clock, log: Logger): SinkDeps => ({
  clock,
  log,
  nodeId,
  host: hostname(),
  processId: process.pid,
  stdout: process.stdout,
})

/** Opens the configuration's. @throws ERR_CONFIG: a server that may not record what it does must not do it. */
export async function openConfigured(
  devices: readonly AuditConfig[],
  nodeId: string,
  clock: Clock,
  log: Logger,
): Promise<{ name: string; sink: AuditSink; format: DeviceFormat }[]> {
  const opened = []
  for (const device of devices) {
    const found = await openSink(device satisfies DeviceSettings, sinkDeps(nodeId, clock, log)).catch((error: NodeJS.ErrnoException) => {
      if (isHoldfastError(error)) throw error
      const what = device.type === 'file' ? ` for ${device.options.file_path}` : ''
      throw new HoldfastError('ERR_CONFIG', `audit.${device.name} expected a file that can be written, got ${error.code}${what}`, {
        cause: error,
        hint: 'a server that may not record what it does must not do it',
      })
    })
    opened.push({ name: device.name, ...found })
  }
  return opened
}

export class AuditDevices {
  readonly #options: AuditDevicesOptions
  /** Of the API, open here: the id of each enabling. */
  readonly #open = new Map<string, string>()
  readonly #told = new Set<string>()
  #mark: Uint8Array | null = null
  #failedMs: number | null = null
  #refreshing: Promise<void> = Promise.resolve()

  constructor(options: AuditDevicesOptions) {
    this.#options = options
  }

  /** As `sys/audit` lists them, without what is secret. */
  async list(view: ReadView): Promise<readonly AuditDevice[]> {
    const configured = this.#options.config.audit.map(({ name, type, description, options }): AuditDevice => ({
      path: name,
      type,
      description,
      options: shownOptions(type, options),
    }))
    const stored = [...(await storedDevices(view))].map(([name, { type, description, options }]): AuditDevice => ({
      path: name,
      type,
      description,
      options: shownOptions(type, options),
    }))
    return [...configured, ...stored.filter(({ path }) => !configured.some((one) => one.path === path))]
  }

  /** On the leader. @throws ERR_BAD_REQUEST, and as Barrier.transact. */
  async enable(name: string, type: string, description: string, options: Readonly<Record<string, string>>): Promise<void> {
    const { config, random, barrier } = this.#options
    if (!config.unsafe_allow_api_audit_creation) {
      throw new HoldfastError('ERR_BAD_REQUEST', 'cannot enable or disable audit devices through the API', {
        hint: 'declare the device in the configuration (audit "file" "name" { ... }), or set unsafe_allow_api_audit_creation = true on every node',
      })
    }
    if (!/^\w[\w./-]{0,127}$/.test(name) || name.split('/').some((part) => part === '' || part.startsWith('.')))
      throw new HoldfastError('ERR_BAD_REQUEST', 'audit device path expected letters, digits, _ . - and / within, got another')
    if (Object.keys(options).length > optionsMax)
      throw new HoldfastError('ERR_BAD_REQUEST', `expected at most ${optionsMax} options, got more`)
    if (config.audit.some((device) => device.name === name)) throw new HoldfastError('ERR_BAD_REQUEST', `path already in use at ${name}/`)
    const device: StoredDevice = { id: randomUuid(random), type, description, options }
    // What can't be opened here is refused, rather than logged by every node for ever.
    const { sink } = await this.#sinkOf(device)
    await sink.close()
    await barrier.transact((transaction) => storeDevice(transaction, name, device))
    await this.#look()
  }

  /** On the leader. Nothing happens for a name that is not there. @throws ERR_BAD_REQUEST for one of the configuration; ERR_AUDIT. */
  async disable(name: string, asked: AuditAsked): Promise<void> {
    const { config, barrier, audit, log, clock } = this.#options
    if (config.audit.some((device) => device.name === name)) {
      throw new HoldfastError(
        'ERR_BAD_REQUEST',
        `audit device ${JSON.stringify(name)} expected to be one of the API, got one of the configuration`,
        {
          hint: 'take it out of the configuration and restart the nodes',
        },
      )
    }
    const device = await barrier.read({ kind: 'linearizable' }, async (view) => (await storedDevices(view)).get(name) ?? null)
    if (device === null) return
    const disabling: Disabling = { ...asked, id: device.id, timeMs: clock.nowMs() }
    // Who did it must be on record before it is done: in the device itself, or where that is what is broken, in another.
    const last = lastRecord(name, disabling)
    await audit.recordTo(name, last).catch(async () => {
      log.warn({ device: name }, 'an audit device that is being disabled did not take its last record: another has to')
      await audit.record(last, { request: [], response: [] })
    })
    this.#told.add(device.id)
    await barrier.transact((transaction) => dropDevice(transaction, name, disabling))
    await this.#look()
  }

  /** Takes in what has changed in `view`. Never rejects. */
  refresh(view: ReadView): Promise<void> {
    this.#refreshing = this.#refreshing.then(() => this.#refresh(view)).catch((error: unknown) => this.#report('devices', error))
    return this.#refreshing
  }

  /** Something may have changed. Never rejects. */
  async notice(): Promise<void> {
    try {
      await this.#look()
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_SEALED')) this.#report('devices', error)
    }
  }

  #look(): Promise<void> {
    return this.#options.barrier.read({ kind: 'stale' }, (view) => this.refresh(view))
  }

  async #refresh(view: ReadView): Promise<void> {
    const { clock } = this.#options
    const mark = await devicesMark(view)
    const again = this.#failedMs !== null && clock.monotonicMs() - this.#failedMs > retryMs
    if (!again && (mark === this.#mark || (mark !== null && this.#mark !== null && Buffer.compare(mark, this.#mark) === 0))) return
    const stored = await storedDevices(view)
    this.#failedMs = null
    this.#options.audit.setHeaders(await auditedHeaders(view))
    for (const [name, id] of this.#open) if (stored.get(name)?.id !== id) await this.#end(view, name, id)
    for (const [name, device] of stored) if (!this.#open.has(name)) await this.#begin(name, device)
    this.#mark = mark === null ? null : Uint8Array.from(mark)
  }

  async #begin(name: string, device: StoredDevice): Promise<void> {
    const { audit, log } = this.#options
    try {
      const { sink, format } = await this.#sinkOf(device)
      audit.enable({ name, sink, format })
      this.#open.set(name, device.id)
      log.info({ device: name, type: device.type }, 'an audit device was enabled')
    } catch (error) {
      this.#failedMs = this.#options.clock.monotonicMs()
      this.#report(name, error)
    }
  }

  /** Its last record, an anchor behind that, and the end. */
  async #end(view: ReadView, name: string, id: string): Promise<void> {
    const { audit, anchor, log } = this.#options
    this.#open.delete(name)
    const disabling = await disablingOf(view, name)
    if (!this.#told.delete(id) && disabling !== null) {
      await audit.recordTo(name, lastRecord(name, disabling)).catch((error: unknown) => this.#report(name, error))
    }
    await anchor()
    await audit.disable(name).catch((error: unknown) => this.#report(name, error))
    log.info({ device: name, by: disabling?.displayName }, 'an audit device was disabled')
  }

  #report(device: string, error: unknown): void {
    const code = isHoldfastError(error) ? error.code : ((error as NodeJS.ErrnoException).code ?? undefined)
    this.#options.log.error({ device, code }, 'an audit device could not be enabled or ended here')
  }

  /** @throws ERR_BAD_REQUEST. */
  async #sinkOf({ type, options }: StoredDevice): Promise<{ sink: AuditSink; format: DeviceFormat }> {
    const { config, nodeId, clock, log } = this.#options
    const settings = readAuditOptions(type, options, config)
    if (settings.type === 'file') await checkFolder(settings.options.file_path, config.audit_api_folder)
    return openSink(settings, { ...sinkDeps(nodeId, clock, log), noFollow: true }).catch((error: NodeJS.ErrnoException) => {
      if (isHoldfastError(error)) throw new HoldfastError('ERR_BAD_REQUEST', error.message, { cause: error })
      throw new HoldfastError('ERR_BAD_REQUEST', `audit device expected to be opened, got ${error.code ?? 'an error'}`, { cause: error })
    })
  }
}

/** A file that the API names lies below the folder that the configuration allows, whatever links are on the way. @throws ERR_BAD_REQUEST. */
async function checkFolder(path: string, folder: string | null): Promise<void> {
  const refuse = (got: string): never => {
    throw new HoldfastError('ERR_BAD_REQUEST', `file_path expected a path below audit_api_folder, got ${got}`, {
      hint: 'the folder is named in the configuration of every node',
    })
  }
  if (folder === null) return refuse('no such folder configured')
  if (path === 'stdout') return
  const root = await realpath(folder).catch(() => refuse('a folder that is not there'))
  const full = resolve(path)
  const parent = await realpath(dirname(full)).catch(() => refuse('a folder that is not there'))
  if (parent !== root && !parent.startsWith(root + sep)) refuse('one outside')
  const there = await lstat(join(parent, full.slice(dirname(full).length + 1))).catch(() => null)
  if (there !== null && !there.isFile()) refuse('what is no regular file')
}

const lastRecord = (name: string, { requestId, timeMs, displayName, accessor, entityId, address }: Disabling): AuditRecord => ({
  type: 'disabled',
  time: new Date(timeMs).toISOString(),
  auth: { display_name: displayName, ...(accessor === null ? {} : { accessor }), ...(entityId === null ? {} : { entity_id: entityId }) },
  request: { id: requestId, operation: 'delete', namespace: { id: 'root' }, path: `sys/audit/${name}`, remote_address: address },
})

/** What was set, without what is secret. */
function shownOptions(type: string, options: object): Record<string, string> {
  const table: KeyTable = Object.hasOwn(auditOptionKeys, type) ? auditOptionKeys[type as AuditType] : {}
  const shown: Record<string, string> = {}
  for (const [key, value] of Object.entries(options as Readonly<Record<string, unknown>>)) {
    const def = table[key]
    if (def === undefined || key === 'token' || key === 'headers' || value === def.default) continue
    shown[key] = String(value as string | number | boolean)
  }
  return shown
}
