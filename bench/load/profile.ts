/**
 * Where a server's CPU went while it was measured, by stage: `npm run bench -- --profile DIR` runs its servers with V8's sampling profiler, which
 * writes one .cpuprofile a process at its end (Chrome's developer tools open it); this reads them, keeps the samples of the measured turns, and adds
 * up whose they were. A sample in Node or V8 themselves (JSON, crypto, sockets) counts for the nearest function of ours that called it.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface ProfileNode {
  readonly id: number
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  readonly children?: readonly number[]
}

export interface CpuProfile {
  readonly nodes: readonly ProfileNode[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
  readonly startTime: number
}

/** In microseconds of the monotonic clock, which is the profiler's too. */
export interface Window {
  readonly work: string
  readonly from: number
  readonly to: number
}

export const monotonicMicros = (): number => Number(process.hrtime.bigint() / 1_000n)

export interface Cost {
  readonly what: string
  readonly share: number
}

export interface Costs {
  /** Part of the windows in which the main thread did anything. */
  readonly busy: number
  /** Of the busy time, largest first: rooms; functions of ours with what they called of Node; functions by themselves. */
  readonly stages: readonly Cost[]
  readonly ours: readonly Cost[]
  readonly self: readonly Cost[]
}

/** Adds up the samples inside `windows`. `top`: how many of each list. */
export function costsOf(profile: CpuProfile, windows: readonly Pick<Window, 'from' | 'to'>[], top: number): Costs {
  const byId = new Map(profile.nodes.map((node) => [node.id, node]))
  const parents = new Map(profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id] as const)))
  const [stages, ours, self] = [new Map<string, number>(), new Map<string, number>(), new Map<string, number>()]
  let [busy, all, at] = [0, 0, profile.startTime]
  for (const [i, id] of profile.samples.entries()) {
    const took = profile.timeDeltas[i] ?? 0
    at += took
    if (!windows.some(({ from, to }) => at >= from && at <= to)) continue
    all += took
    const node = byId.get(id)
    if (node === undefined || node.callFrame.functionName === '(idle)') continue
    busy += took
    count(self, nameOf(node), took)
    const own = nearestOwn(node, byId, parents)
    count(stages, own === null ? outside(node) : stageOf(own), took)
    count(ours, own === null ? outside(node) : nameOf(own), took)
  }
  const list = (map: ReadonlyMap<string, number>): Cost[] =>
    [...map]
      .map(([what, micros]) => ({ what, share: busy === 0 ? 0 : micros / busy }))
      .toSorted((a, b) => b.share - a.share)
      .slice(0, top)
  return { busy: all === 0 ? 0 : busy / all, stages: list(stages), ours: list(ours), self: list(self) }
}

function count(map: Map<string, number>, what: string, micros: number): void {
  map.set(what, (map.get(what) ?? 0) + micros)
}

const ownPath = /\/((?:raft|src)\/.+)$/

function nearestOwn(from: ProfileNode, byId: ReadonlyMap<number, ProfileNode>, parents: ReadonlyMap<number, number>): ProfileNode | null {
  for (let node: ProfileNode | undefined = from; node !== undefined; node = byId.get(parents.get(node.id) ?? -1)) {
    if (ownPath.test(node.callFrame.url) && !node.callFrame.url.includes('/node_modules/')) return node
  }
  return null
}

/** The room of a function of ours; engines, which are many, by their own folder. */
function stageOf({ callFrame }: ProfileNode): string {
  const parts = (ownPath.exec(callFrame.url)?.[1] ?? '').split('/')
  if (parts[0] === 'raft') return 'raft'
  return parts[1] === 'engines' || parts[1] === 'auth' ? `${parts[1]}/${parts[2]}` : (parts[1] ?? 'unknown')
}

const outside = ({ callFrame }: ProfileNode): string =>
  callFrame.functionName === '(garbage collector)' ? '(garbage collector)' : '(node, called by none of ours)'

function nameOf({ callFrame: { functionName, url, lineNumber } }: ProfileNode): string {
  const where = ownPath.exec(url)?.[1] ?? url.replace(/^.*\/node_modules\//, '')
  return `${functionName || '(anonymous)'}${where === '' ? '' : ` ${where}:${lineNumber + 1}`}`
}

/** Lines for a person: each process of the folder, each work. */
export function reportProfiles(dir: string, windows: readonly Window[]): string[] {
  const lines: string[] = []
  for (const file of readdirSync(dir).filter((name) => name.endsWith('.cpuprofile'))) {
    const profile = JSON.parse(readFileSync(join(dir, file), 'utf8')) as CpuProfile
    for (const work of new Set(windows.map((window) => window.work))) {
      const costs = costsOf(
        profile,
        windows.filter((window) => window.work === work),
        20,
      )
      lines.push(`${file}, ${work}: main thread busy ${percent(costs.busy)}`)
      for (const [name, list] of [
        ['by stage', costs.stages],
        ['by function of ours, with what it called of Node', costs.ours],
        ['by function alone', costs.self],
      ] as const) {
        lines.push(
          `  ${name}:`,
          ...list.filter(({ share }) => share >= 0.005).map(({ what, share }) => `    ${percent(share).padStart(6)} ${what}`),
        )
      }
    }
  }
  return lines
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`
