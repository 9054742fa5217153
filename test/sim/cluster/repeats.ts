/**
 * Repeated writes of the simulated service, by the algebra that the core uses (core/slots.ts): each client has one slot, and what its
 * last write was answered lies there, written in the same entry as the write itself.
 */
import { judge, type SlotMark, type Ticket, type Verdict } from '#core/slots.ts'
import type { StateView } from '#store/types.ts'
import type { Output } from '#test/support/linearizability/history.ts'
import { decodeValue, encodeValue, keyBytes } from './value.ts'

/** What lies in a slot. */
export interface SlotRecord {
  readonly mark: SlotMark
  readonly output: Output | null
}

export const slotName = (client: string): string => `slot-${client}`

/** @throws ValueRefused */
export function readSlot(client: string, view: StateView): SlotRecord | null {
  const { text } = decodeValue(slotName(client), view.get(keyBytes(slotName(client))))
  return text === null ? null : (JSON.parse(text) as SlotRecord)
}

/** Whether the write of `ticket` is to be carried out. */
export const verdictOn = (record: SlotRecord | null, ticket: Ticket): Verdict => judge(record?.mark ?? null, ticket)

/** The change that goes with the write. `attempt`: 0 where that goes along, since its register tells which attempt the entry belongs to. */
export function slotOp(
  client: string,
  { boot, serial }: Ticket,
  { output, attempt }: { readonly output: Output | null; readonly attempt: number },
): { readonly key: Uint8Array; readonly value: Uint8Array } {
  const name = slotName(client)
  const text = JSON.stringify({ mark: { boot, serial }, output } satisfies SlotRecord)
  return { key: keyBytes(name), value: encodeValue(name, { version: serial, text, attempt }) }
}
