/** `conditions { ... }` of a rule. */
import { parseCidr } from '#base/cidr.ts'
import { refuseAt } from '#base/hcl.ts'
import type { HclItem } from '#base/hcl.ts'
import { isTimezone, weekdayNames } from './conditions.ts'
import { code, durationOf, hintFor, objectOf, quoted, readKeys, stringsOf, textOf, type Report } from './parse-values.ts'
import type { RuleConditions, Weekday } from './types.ts'

const sourceCidrsMax = 256

type Draft = { -readonly [K in keyof RuleConditions]: RuleConditions[K] }

const readers: Readonly<Record<string, (draft: Draft, item: HclItem) => void>> = {
  time: (draft, item) => (draft.time = rangeOf(item)),
  weekdays: (draft, item) => (draft.weekdays = weekdaysOf(item)),
  timezone: (draft, item) => (draft.timezone = timezoneOf(item)),
  source_cidrs: (draft, item) => (draft.sourceCidrs = cidrsOf(item)),
  max_token_ttl: (draft, item) => {
    draft.maxTokenTtlSeconds = durationOf(item)
    if (draft.maxTokenTtlSeconds === 0) refuseAt(item.value, 'a duration above 0 for "max_token_ttl"', '0', code)
  },
}

export function conditionsOf(item: HclItem, report?: Report): RuleConditions {
  const draft: Draft = { time: null, weekdays: [], timezone: 'UTC', sourceCidrs: [], maxTokenTtlSeconds: 0 }
  const body = objectOf(item)
  // An empty block, or a zone alone, looks like a protection and is none.
  if (body.items.every(({ key }) => key === 'timezone')) {
    refuseAt(item, 'at least one of time, weekdays, source_cidrs, max_token_ttl in "conditions"', 'none', code)
  }
  readKeys(draft, body, readers, 'a key that conditions can have', report)
  return draft
}

function rangeOf(item: HclItem): { from: number; to: number } {
  const text = textOf(item)
  const [, from, to] = /^([^-]+)-([^-]+)$/.exec(text.value) ?? []
  const minutes = [minuteOf(from), minuteOf(to)] as const
  if (minutes[0] === null || minutes[1] === null || minutes[0] === 1_440 || minutes[0] === minutes[1]) {
    return refuseAt(text, 'two times of day for "time"', 'something else', code, 'write "08:00-18:00"; "22:00-06:00" goes over midnight')
  }
  return { from: minutes[0], to: minutes[1] }
}

/** `24:00` is the end of the day. */
function minuteOf(text: string | undefined): number | null {
  const [, hours, minutes] = /^\s*(\d\d):([0-5]\d)\s*$/.exec(text ?? '') ?? []
  const minute = Number(hours) * 60 + Number(minutes)
  return minute <= 1_440 ? minute : null // NaN is not.
}

function weekdaysOf(item: HclItem): readonly Weekday[] {
  const days = stringsOf(item)
  if (days.length === 0) refuseAt(item.value, 'at least one day in "weekdays"', 'none', code)
  for (const day of days) {
    if (!(weekdayNames as readonly string[]).includes(day.value)) {
      refuseAt(day, `one of ${weekdayNames.join(', ')}`, `weekday ${quoted(day.value)}`, code, hintFor(day.value.slice(0, 3), weekdayNames))
    }
  }
  return weekdayNames.filter((name) => days.some((day) => day.value === name))
}

function timezoneOf(item: HclItem): string {
  const text = textOf(item)
  if (!isTimezone(text.value)) refuseAt(text, 'a time zone', quoted(text.value), code, 'write it as "Europe/Berlin" or "UTC"')
  return text.value
}

function cidrsOf(item: HclItem): RuleConditions['sourceCidrs'] {
  const written = stringsOf(item)
  if (written.length === 0 || written.length > sourceCidrsMax) {
    refuseAt(item.value, `1 to ${sourceCidrsMax} ranges in "source_cidrs"`, String(written.length), code)
  }
  return written.map(
    (text) => parseCidr(text.value) ?? refuseAt(text, 'an address or address/bits in "source_cidrs"', quoted(text.value), code),
  )
}
