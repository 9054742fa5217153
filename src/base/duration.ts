/**
 * Durations as people and the field's clients write them: `768h`, `1h30m`, `7d`, `500ms`, and plain seconds (`90` or 90).
 * Pure text to number; whole numbers of milliseconds inside, so that "1.5h" and "90m" are the same value.
 */
import { HoldfastError } from './errors.ts'
import type { ErrorCode } from './errors.ts'

const msByUnit: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  '\u00b5s': 1e-3,
  '\u03bcs': 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** About 292 years: what Go's clients can still hold in their nanoseconds. Beyond it a client would read nonsense. */
const durationSecondsMax = 9_223_372_036
const durationCharsMax = 64

export interface DurationOptions {
  /** What is being parsed, for the error: 'ttl', 'listener.timeout'. */
  readonly what?: string
  /** Default ERR_BAD_REQUEST. */
  readonly code?: ErrorCode
  /** Default false: a negative duration is an error. */
  readonly allowNegative?: boolean
}

function refuse(got: string, options: DurationOptions): never {
  throw new HoldfastError(options.code ?? 'ERR_BAD_REQUEST', `${options.what ?? 'duration'} expected a duration, got ${got}`, {
    hint: 'write seconds (90) or a number with a unit: 90s, 30m, 1h30m, 768h, 7d',
  })
}

/** Milliseconds of `1h30m`; NaN when it does not parse. Signs and plain numbers are the caller's. */
function sumOfParts(text: string): number {
  const part = /(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h|d|w)/y
  let totalMs = 0
  while (part.lastIndex < text.length) {
    const match = part.exec(text)
    if (match === null) return Number.NaN
    totalMs += Number(match[1]) * (msByUnit[match[2] ?? ''] ?? Number.NaN)
  }
  return totalMs
}

/**
 * Milliseconds, possibly with a fraction, of a Go-like duration or of plain seconds. An empty string is 0, as the peers read it.
 * @throws HoldfastError of `options.code`: not a duration, negative where that is not allowed, or beyond 292 years.
 */
export function parseDurationMs(value: unknown, options: DurationOptions = {}): number {
  if (typeof value === 'number') return checked(value * 1_000, String(value), options)
  if (typeof value !== 'string') return refuse(value === null ? 'null' : typeof value, options)
  const text = value.trim()
  if (text === '') return 0
  if (text.length > durationCharsMax) return refuse(`${text.length} characters`, options)
  const negative = text.startsWith('-')
  const unsigned = negative || text.startsWith('+') ? text.slice(1) : text
  const ms = /^\d+(\.\d+)?$/.test(unsigned) ? Number(unsigned) * 1_000 : sumOfParts(unsigned)
  if (unsigned === '' || Number.isNaN(ms)) return refuse(JSON.stringify(text), options)
  return checked(negative ? -ms : ms, JSON.stringify(text), options)
}

function checked(ms: number, got: string, options: DurationOptions): number {
  if (!Number.isFinite(ms)) return refuse(got, options)
  if (ms < 0 && options.allowNegative !== true) return refuse(`a negative one (${got})`, options)
  if (Math.abs(ms) > durationSecondsMax * 1_000) return refuse(`one beyond 292 years (${got})`, options)
  return ms === 0 ? 0 : ms
}

/** Whole seconds, truncated toward zero as the peers do, of what `parseDurationMs` takes. Throws as it does. */
export function parseDurationSeconds(value: unknown, options: DurationOptions = {}): number {
  const seconds = Math.trunc(parseDurationMs(value, options) / 1_000)
  return seconds === 0 ? 0 : seconds
}

/** Whole seconds in Go's form: 0 -> '0s', 90 -> '1m30s', 3600 -> '1h0m0s'. */
export function formatDuration(seconds: number): string {
  const whole = Math.trunc(Math.abs(seconds))
  const sign = seconds < 0 && whole > 0 ? '-' : ''
  const hours = Math.floor(whole / 3_600)
  const minutes = Math.floor((whole % 3_600) / 60)
  if (hours > 0) return `${sign}${hours}h${minutes}m${whole % 60}s`
  return minutes > 0 ? `${sign}${minutes}m${whole % 60}s` : `${sign}${whole}s`
}
