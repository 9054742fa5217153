/**
 * Where things stand in the picture of one key: lanes, bars and the point of effect of each placed operation. The
 * horizontal axis is the rank of an instant, not its time: in a failing history what matters is what came before what, and
 * on a true scale a pause would squeeze everything else together.
 */
import type { KeyResult } from './checker.ts'
import type { Operation } from './history.ts'

/** Beyond this a browser takes too long; the part around the operation that could not be placed is drawn. */
export const drawnMax = 600

export const stepPx = 64
export const rowPx = 34
export const topPx = 30

export interface Bar {
  readonly operation: Operation
  readonly x: number
  readonly y: number
  readonly width: number
  /** Where an operation of unknown outcome took effect, if that is right of its bar: a dashed tail leads there. */
  readonly tailTo: number | null
  /** 1-based place in the partial order, and where on the axis it took effect. */
  readonly placed: { readonly number: number; readonly x: number } | null
}

export interface Layout {
  readonly bars: readonly Bar[]
  readonly lanes: readonly { readonly client: string; readonly y: number; readonly height: number }[]
  readonly width: number
  readonly height: number
  readonly leftOut: number
}

export function layOut(operations: readonly Operation[], result: KeyResult): Layout {
  const drawn = around(operations, result.blocked)
  const end = Math.max(...drawn.map(({ callAt, returnAt }) => returnAt ?? callAt)) + 1
  const axis = makeAxis(drawn, end)
  const points = pointsOf(result.order, axis)
  const clients = [...new Set(drawn.map(({ client }) => client))].toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  const bars: Bar[] = []
  const lanes: { client: string; y: number; height: number }[] = []
  let y = topPx
  for (const client of clients) {
    const { rows, placed } = packRows(
      drawn.filter((operation) => operation.client === client),
      end,
    )
    for (const { operation, row, until } of placed)
      bars.push(makeBar(operation, y + row * rowPx, axis, until, points.get(operation) ?? null))
    lanes.push({ client, y, height: rows * rowPx })
    y += rows * rowPx + 6
  }
  const width = Math.max(axis(end), ...[...points.values()].map(({ x }) => x)) + stepPx
  return { bars, lanes, width, height: y, leftOut: operations.length - drawn.length }
}

function around(operations: readonly Operation[], blocked: Operation | null): Operation[] {
  const byCall = operations.toSorted((a, b) => a.callAt - b.callAt)
  const center = blocked === null ? 0 : byCall.indexOf(blocked)
  // More of what led there than of what came after.
  const from = Math.max(0, Math.min(center - Math.floor(drawnMax * 0.7), byCall.length - drawnMax))
  return byCall.slice(from, from + drawnMax)
}

type Axis = (time: number) => number

function makeAxis(drawn: readonly Operation[], end: number): Axis {
  const times = [...new Set([...drawn.flatMap(({ callAt, returnAt }) => [callAt, returnAt ?? callAt]), end])].toSorted((a, b) => a - b)
  const rank = new Map(times.map((time, i) => [time, i]))
  return (time) => (rank.get(time) ?? 0) * stepPx + stepPx / 2
}

/** Each took effect as soon as it was called and the one before it had taken effect; several at one instant share its step. */
function pointsOf(order: readonly Operation[], axis: Axis): Map<Operation, { number: number; x: number }> {
  const times: number[] = []
  for (const { callAt } of order) times.push(Math.max(times.at(-1) ?? -Infinity, callAt))
  const crowd = new Map<number, number>()
  for (const time of times) crowd.set(time, (crowd.get(time) ?? 0) + 1)
  const seen = new Map<number, number>()
  return new Map(
    order.map((operation, i) => {
      const time = times[i] as number
      const nth = (seen.get(time) ?? 0) + 1
      seen.set(time, nth)
      return [operation, { number: i + 1, x: axis(time) + (stepPx * nth) / ((crowd.get(time) as number) + 1) }]
    }),
  )
}

/** A client has one operation at a time, unless it goes on after an unknown outcome: that bar ends where the next begins. */
function packRows(
  operations: readonly Operation[],
  end: number,
): { rows: number; placed: { operation: Operation; row: number; until: number }[] } {
  const ends: number[] = []
  const placed = operations.map((operation, i) => {
    const until = operation.returnAt ?? operations.slice(i + 1).find(({ callAt }) => callAt > operation.callAt)?.callAt ?? end
    const free = ends.findIndex((busyUntil) => busyUntil <= operation.callAt)
    const row = free === -1 ? ends.length : free
    ends[row] = until
    return { operation, row, until }
  })
  return { rows: ends.length, placed }
}

function makeBar(operation: Operation, y: number, axis: Axis, until: number, placed: Bar['placed']): Bar {
  const x = axis(operation.callAt)
  const width = Math.max(axis(until) - x, stepPx * 0.6)
  return { operation, x, y, width, placed, tailTo: placed !== null && placed.x > x + width ? placed.x : null }
}
