/**
 * Devices that the API enabled, as they are kept: one record each in the section 'sys/audit', what was told of each that is gone, and a mark that every
 * change replaces, so that a node looks at the rest only when something has changed.
 */
import type { ReadView, Transaction } from '#barrier/types.ts'
import { HoldfastError } from '#base/errors.ts'
import { auditSection, encoded, load } from './records.ts'

const devicesMax = 16
const markPath = 'devices-mark'
const devicePath = (name: string): string => `devices/=${encodeURIComponent(name)}`
const gonePath = (name: string): string => `gone/=${encodeURIComponent(name)}`

export interface StoredDevice {
  /** Of this enabling: the same name enabled again has another. */
  readonly id: string
  readonly type: string
  readonly description: string
  /** As they were given. Some may be secret. */
  readonly options: Readonly<Record<string, string>>
}

/** Who disabled a device: what its last record says on every node. */
export interface Disabling {
  readonly id: string
  readonly requestId: string
  readonly timeMs: number
  readonly displayName: string
  readonly accessor: string | null
  readonly entityId: string | null
  readonly address: string
}

/** Changes with every enabling and disabling; null while there was none. */
export const devicesMark = (view: ReadView): Promise<Uint8Array | null> => view.get(auditSection, markPath)

export async function storedDevices(view: ReadView): Promise<Map<string, StoredDevice>> {
  const found = new Map<string, StoredDevice>()
  for (const part of await view.list(auditSection, 'devices')) {
    const name = decodeURIComponent(part.slice(1))
    const device = await load<StoredDevice>(view, devicePath(name), 'an audit device')
    if (device !== null) found.set(name, device)
  }
  return found
}

export const disablingOf = (view: ReadView, name: string): Promise<Disabling | null> =>
  load(view, gonePath(name), 'the end of an audit device')

/** @throws ERR_BAD_REQUEST: the name is taken, or there are too many. */
export async function storeDevice(transaction: Transaction, name: string, device: StoredDevice): Promise<void> {
  const there = await storedDevices(transaction)
  if (there.has(name)) throw new HoldfastError('ERR_BAD_REQUEST', `path already in use at ${name}/`)
  if (there.size >= devicesMax) throw new HoldfastError('ERR_BAD_REQUEST', `audit devices expected at most ${devicesMax}, got more`)
  transaction.put(auditSection, devicePath(name), encoded(device))
  touchDevices(transaction, device.id)
}

/** False when there is none of that name and id. */
export async function dropDevice(transaction: Transaction, name: string, disabling: Disabling): Promise<boolean> {
  const there = await load<StoredDevice>(transaction, devicePath(name), 'an audit device')
  if (there === null || there.id !== disabling.id) return false
  transaction.delete(auditSection, devicePath(name))
  transaction.put(auditSection, gonePath(name), encoded(disabling))
  touchDevices(transaction, `${disabling.id} gone`)
  return true
}

/** Ids are used once: no two states have the same mark. */
export const touchDevices = (transaction: Transaction, what: string): void => transaction.put(auditSection, markPath, Buffer.from(what))
