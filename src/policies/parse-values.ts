/** Values of a policy's keys, each refused at its place when it is not what the key takes. */
import { parseDurationSeconds } from '#base/duration.ts'
import { refuseAt, toPlain } from '#base/hcl.ts'
import type { HclItem, HclNode, HclObject, HclPlace } from '#base/hcl.ts'
import { nearest } from '#base/suggest.ts'

export const code = 'ERR_POLICY_SYNTAX'

/** Called with what is wrong, to go on; absent: the first fault is thrown. */
export type Report = (error: unknown) => void

export interface Text extends HclPlace {
  readonly value: string
}

export const quoted = (text: string): string => JSON.stringify(text.length > 128 ? `${text.slice(0, 128)}...` : text)

/** Runs `read`; what it throws goes to `report` if there is one. */
export function attempt(report: Report | undefined, read: () => void): void {
  if (!report) return read()
  try {
    read()
  } catch (error) {
    report(error)
  }
}

/** Reads each key of `body` by its entry of `readers`, once. A key without an entry is refused as no `what`, with the nearest that is one. */
export function readKeys<T>(
  target: T,
  body: HclObject,
  readers: Readonly<Record<string, (target: T, item: HclItem, report?: Report) => void>>,
  what: string,
  report?: Report,
): void {
  const seen = new Set<string>()
  for (const item of body.items) {
    attempt(report, () => {
      if (seen.has(item.key)) refuseAt(item, `${quoted(item.key)} once`, 'it a second time', code)
      seen.add(item.key)
      const read = Object.hasOwn(readers, item.key) ? readers[item.key] : undefined
      if (read) read(target, item, report)
      else refuseAt(item, what, quoted(item.key), code, hintFor(item.key, Object.keys(readers)))
    })
  }
}

/** What may have been meant, or all that there is. */
export function hintFor(word: string, known: readonly string[]): string {
  const near = nearest(word, known)
  return near === null ? known.join(', ') : `did you mean ${quoted(near)}?`
}

/** The value of `key = value`; a label between them is a mistake. */
export function valueOf(item: HclItem): HclNode {
  if (item.labels.length > 0) refuseAt(item, `'=' after ${quoted(item.key)}`, 'a label', code)
  return item.value
}

export function objectOf(item: HclItem): HclObject {
  const value = valueOf(item)
  return value.kind === 'object' ? value : refuseAt(value, `an object for ${quoted(item.key)}`, `a ${value.kind}`, code)
}

export function textOf(item: HclItem): Text {
  const value = valueOf(item)
  return value.kind === 'string' ? value : refuseAt(value, `a string for ${quoted(item.key)}`, `a ${value.kind}`, code)
}

export const stringOf = (item: HclItem): string => textOf(item).value

export function stringsOf(item: HclItem): Text[] {
  const value = valueOf(item)
  if (value.kind !== 'list') return refuseAt(value, `a list of strings for ${quoted(item.key)}`, `a ${value.kind}`, code)
  return value.elements.map((element) =>
    element.kind === 'string' ? element : refuseAt(element, `a string in ${quoted(item.key)}`, `a ${element.kind}`, code),
  )
}

/** Names lower-cased; a value that is not a list is a list of one. */
export function parametersOf(item: HclItem): Readonly<Record<string, readonly unknown[]>> {
  const lists: Record<string, readonly unknown[]> = Object.create(null)
  for (const entry of objectOf(item).items) {
    const name = entry.key.toLowerCase()
    if (name in lists) refuseAt(entry, `parameter ${quoted(entry.key)} once`, 'it a second time', code)
    const plain = toPlain(valueOf(entry))
    lists[name] = Array.isArray(plain) ? plain : [plain]
  }
  return lists
}

export function durationOf(item: HclItem): number {
  const value = valueOf(item)
  try {
    return parseDurationSeconds(value.kind === 'string' || value.kind === 'number' ? value.value : null)
  } catch {
    return refuseAt(
      value,
      `a duration for ${quoted(item.key)}`,
      `a ${value.kind} that is none`,
      code,
      'write seconds or "90s", "30m", "24h"',
    )
  }
}

export function limitOf(item: HclItem): number {
  const value = valueOf(item)
  if (value.kind === 'number' && Number.isSafeInteger(value.value) && value.value >= 0) return value.value
  return refuseAt(value, `a whole number >= 0 for ${quoted(item.key)}`, `a ${value.kind} that is none`, code)
}

/** RFC 3339, or seconds since the epoch. */
export function timeOf(item: HclItem): number {
  const value = valueOf(item)
  const seconds = value.kind === 'number' ? value.value : value.kind === 'string' && /^\d+$/.test(value.value) ? Number(value.value) : null
  if (seconds !== null && seconds >= 0 && seconds < 8.64e12) return seconds * 1_000
  const text = value.kind === 'string' ? value.value : ''
  const timeMs = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[-+]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(timeMs)) {
    refuseAt(value, `an RFC 3339 time for ${quoted(item.key)}`, `a ${value.kind} that is none`, code, '2026-12-31T23:59:59Z')
  }
  return timeMs
}
