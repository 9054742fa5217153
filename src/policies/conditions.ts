/**
 * Conditions of a rule: when, from where and for which tokens it is there at all.
 *
 * Intuition: a condition that fails takes the rule away, as if it were not written, and the next best rule decides. It must never take
 * a `deny` away: a clock or an address that somebody can influence would then open what was closed. Hence denials ignore conditions.
 *
 * The clock is the leader's (the view's), so that every node decides alike. Wall-clock times come from Intl: it knows the summer times.
 */
import { inRanges } from '#base/cidr.ts'
import { BoundedLru } from '#base/lru.ts'
import type { CallerFacts, ConditionName, RuleConditions, Weekday } from './types.ts'

/** In the order of the week, so that the day before is the one before. */
export const weekdayNames: readonly Weekday[] = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']

const formattersMax = 64
const formatters = new BoundedLru<string, Intl.DateTimeFormat>({ weightMax: formattersMax })

/** Whether Intl knows the zone. */
export function isTimezone(name: string): boolean {
  try {
    return name !== '' && formatterOf(name) !== null
  } catch {
    return false
  }
}

function formatterOf(timezone: string): Intl.DateTimeFormat {
  const known = formatters.get(timezone)
  if (known) return known
  const made = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  formatters.set(timezone, made)
  return made
}

/** Minute of the day and day of the week (0: Monday) in a time zone. */
export function localTime(nowMs: number, timezone: string): { readonly minute: number; readonly weekday: number } {
  let hour = 0
  let minute = 0
  let weekday = 0
  for (const part of formatterOf(timezone).formatToParts(nowMs)) {
    if (part.type === 'hour') hour = Number(part.value)
    else if (part.type === 'minute') minute = Number(part.value)
    else if (part.type === 'weekday') weekday = weekdayNames.indexOf(part.value.toLowerCase() as Weekday)
  }
  return { minute: hour * 60 + minute, weekday }
}

/** The first condition that fails; null when all hold. What is not known of the caller fails. */
export function failedCondition(conditions: RuleConditions, caller: CallerFacts): ConditionName | null {
  const { sourceCidrs, maxTokenTtlSeconds, time, weekdays } = conditions
  if (sourceCidrs.length > 0 && (caller.clientAddress === undefined || !inRanges(sourceCidrs, caller.clientAddress))) return 'source_cidrs'
  if (maxTokenTtlSeconds > 0 && !ttlHolds(maxTokenTtlSeconds, caller.tokenTtlSeconds)) return 'max_token_ttl'
  return time === null && weekdays.length === 0 ? null : failedTime(conditions, caller.nowMs)
}

/** A token that never ends has no lifetime to compare. */
const ttlHolds = (max: number, ttl: number | null | undefined): boolean => ttl !== null && ttl !== undefined && ttl <= max

function failedTime({ time, weekdays, timezone }: RuleConditions, nowMs: number): ConditionName | null {
  const now = localTime(nowMs, timezone)
  const began = time === null ? 0 : daysSinceStart(time, now.minute)
  if (began === null) return 'time'
  // What goes over midnight belongs to the day that it began on: Friday's night shift ends on Saturday.
  const day = weekdayNames[(now.weekday - began + 7) % 7]!
  return weekdays.length === 0 || weekdays.includes(day) ? null : 'weekdays'
}

/** How many midnights ago the range began that `minute` lies in; null: it lies in none. */
function daysSinceStart({ from, to }: { readonly from: number; readonly to: number }, minute: number): 0 | 1 | null {
  if (from < to) return minute >= from && minute < to ? 0 : null
  if (minute >= from) return 0
  return minute < to ? 1 : null
}
