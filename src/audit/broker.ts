/**
 * Records to devices: each device hashes under its own salt and keeps its own chain; a record counts when one device has it.
 * Devices work side by side: a slow or hanging one costs the others nothing.
 */
import type { Clock } from '#base/clock.ts'
import { HoldfastError } from '#base/errors.ts'
import type { Logger } from '#base/logger.ts'
import type { RandomSource } from '#base/random.ts'
import { randomUuid } from '#base/random.ts'
import { FormatMemo, formatRecord, plainFormat } from './format.ts'
import { createValueHasher, deriveKey, saltLabel } from './hashing.ts'
import type { ValueHasher } from './hashing.ts'
import { Lane } from './lane.ts'
import type { LaneStatus } from './lane.ts'
import type { AuditBroker, AuditRecord, AuditSink, DeviceFormat, HeaderRules, LaneHead, NonHmacKeys } from './types.ts'

const writeMsDefault = 5_000
const devicesMax = 16
const nothingToDo = Promise.resolve()
/** One warning a device in so long: a device that is away fails with every request. */
const warnEveryMs = 10_000

export interface AuditDevice {
  /** Its path below sys/audit, without slashes at the ends: 'file'. Salts depend on it, so that all nodes hash alike. */
  readonly name: string
  readonly sink: AuditSink
  /** Default: everything hashed, no prefix. */
  readonly format?: DeviceFormat
}

export interface BrokerOptions {
  readonly nodeId: string
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Logger
  readonly devices?: readonly AuditDevice[]
  /** How long a device may take for one write; default 5,000. */
  readonly writeMsMax?: number
}

export interface ManagedAuditBroker extends AuditBroker {
  /** Adds a device. @throws ERR_BAD_REQUEST: the name is taken, or there are 16. Owns the sink from then on. */
  enable(device: AuditDevice): void
  /** Writes what waits, closes the device, forgets it. Nothing happens for a name that is not there. */
  disable(name: string): Promise<void>
  /** A record that one device must take, not any. @throws ERR_AUDIT; ERR_BAD_REQUEST: no such device. */
  recordTo(name: string, record: AuditRecord): Promise<void>
  /** Where each device's lane stands. One that hangs, fails or wrote nothing is left out. */
  heads(): Promise<readonly LaneHead[]>
  /** `listener` hears that a file was rotated away: its end should be anchored soon. At most one. */
  onRotated(listener: () => void): void
  has(name: string): boolean
  /** Which request headers records hold from now on. */
  setHeaders(rules: HeaderRules): void
  /** What a device would write for a value: for sys/audit-hash. @throws ERR_BAD_REQUEST (no such device), ERR_SEALED. */
  hashValue(name: string, value: string): string
  status(): Readonly<Record<string, LaneStatus>>
}

interface Device {
  readonly lane: Lane
  readonly format: DeviceFormat
  hasher: ValueHasher
  memo: FormatMemo
  warnedMs: number
}

/** A broker without a key yet: until `setKey`, values are hashed under a key of this boot that nobody learns. */
export function createAuditBroker(options: BrokerOptions): ManagedAuditBroker {
  const bootKey = options.random.bytes(32)
  const devices = new Map<string, Device>()
  let key: Uint8Array | null = null
  let rotated = (): void => {}
  let headers: HeaderRules = new Map()

  const hasherOf = (name: string): ValueHasher => createValueHasher(deriveKey(key ?? bootKey, saltLabel(name)))

  function enable({ name, sink, format = plainFormat }: AuditDevice): void {
    if (devices.has(name)) throw new HoldfastError('ERR_BAD_REQUEST', `path already in use at ${name}/`)
    if (devices.size >= devicesMax) throw new HoldfastError('ERR_BAD_REQUEST', `audit devices expected at most ${devicesMax}, got more`)
    const lane = new Lane({
      name,
      sink,
      nodeId: options.nodeId,
      newBoot: () => randomUuid(options.random),
      clock: options.clock,
      writeMsMax: options.writeMsMax ?? writeMsDefault,
      onRotated: () => rotated(),
      onFailure: (error) => warn(device, error),
    })
    lane.setKey(key)
    const device: Device = { lane, format, hasher: hasherOf(name), memo: new FormatMemo(), warnedMs: Number.NEGATIVE_INFINITY }
    devices.set(name, device)
  }

  function warn(device: Device, error: unknown): void {
    const nowMs = options.clock.monotonicMs()
    if (nowMs - device.warnedMs < warnEveryMs) return
    device.warnedMs = nowMs
    const { message: reason, cause } = error instanceof Error ? error : new Error('unknown')
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    options.log.warn({ device: device.lane.name, reason, code, failures: device.lane.status().failures }, 'an audit device failed')
  }

  function append(device: Device, record: AuditRecord, nonHmac: NonHmacKeys, done: () => void, refused: (cause: unknown) => void): void {
    let text: string
    try {
      const { hasher, memo, format } = device
      text = format.prefix + formatRecord(record, nonHmac, hasher, memo, format, headers)
    } catch (cause) {
      refused(cause)
      return
    }
    device.lane.append(text, done, refused)
  }

  /** `done` is called when one of them has it, `refused` when none takes it. One promise a record is enough: this is on the way of every request. */
  function appendToAny(record: AuditRecord, nonHmac: NonHmacKeys, done: () => void, refused: (error: HoldfastError) => void): void {
    const causes: unknown[] = []
    const all = [...devices.values()]
    const refusedByOne = (cause: unknown): void => {
      if (causes.push(cause) < all.length) return
      refused(
        new HoldfastError('ERR_AUDIT', 'internal error', {
          cause: causes.length === 1 ? cause : new AggregateError(causes),
          hint: 'no audit device took the record: see the log of this node',
        }),
      )
    }
    for (const device of all) append(device, record, nonHmac, done, refusedByOne)
  }

  for (const device of options.devices ?? []) enable(device)

  return {
    record: (record, nonHmac) =>
      devices.size === 0 ? nothingToDo : new Promise((resolve, reject) => appendToAny(record, nonHmac, resolve, reject)),

    setKey(next) {
      for (const { lane } of devices.values()) lane.setKey(null)
      key?.fill(0)
      key = next === null ? null : Uint8Array.from(next)
      for (const [name, device] of devices) {
        device.lane.setKey(key)
        device.hasher = hasherOf(name)
        device.memo = new FormatMemo()
      }
    },

    enable,
    async disable(name) {
      const device = devices.get(name)
      devices.delete(name)
      await device?.lane.close()
    },
    async recordTo(name, record) {
      const device = devices.get(name)
      if (!device) throw new HoldfastError('ERR_BAD_REQUEST', `unknown audit backend ${JSON.stringify(name)}`)
      await new Promise<void>((resolve, reject) => append(device, record, { request: [], response: [] }, resolve, reject))
    },
    async heads() {
      const found = await Promise.allSettled([...devices.values()].map(({ lane }) => lane.head()))
      return found.flatMap((result) => (result.status === 'fulfilled' && result.value !== null ? [result.value] : []))
    },
    onRotated(listener) {
      rotated = listener
    },
    has: (name) => devices.has(name),
    setHeaders(rules) {
      headers = rules
      for (const device of devices.values()) device.memo = new FormatMemo()
    },
    hashValue(name, value) {
      const device = devices.get(name)
      if (!device) throw new HoldfastError('ERR_BAD_REQUEST', `unknown audit backend ${JSON.stringify(name)}`)
      if (key === null) throw new HoldfastError('ERR_SEALED', 'Vault is sealed')
      return device.hasher.hash(value)
    },
    status: () => Object.fromEntries([...devices].map(([name, { lane }]) => [name, lane.status()])),
    async reopen() {
      await Promise.all([...devices.values()].map((device) => device.lane.reopen()))
    },
    async close() {
      const open = [...devices.values()]
      devices.clear()
      const closed = await Promise.allSettled(open.map((device) => device.lane.close()))
      closed.forEach((result, i) => {
        if (result.status === 'rejected') warn(open[i]!, result.reason)
      })
    },
  }
}
