/**
 * Version 2 against a slow twin: every version of a key in one plain list, nothing optimised, each rule one line. Few keys, few
 * versions, small clocks: where the bugs are.
 */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isHoldfastError } from '#base/errors.ts'
import { kv } from '#engines/kv/index.ts'
import { EngineBench } from '#test/support/engine-bench.ts'

interface TwinVersion {
  data: Record<string, unknown> | null
  deletionMs: number
  destroyed: boolean
  dropped: boolean
}
interface TwinKey {
  versions: TwinVersion[]
  maxVersions: number
  after: number
}

class Twin {
  keys = new Map<string, TwinKey>()
  mountMax = 0
  mountAfter = 0
  nowMs: number
  constructor(nowMs: number) {
    this.nowMs = nowMs
  }
  live(version: TwinVersion | undefined): version is TwinVersion & { data: Record<string, unknown> } {
    return version !== undefined && !version.dropped && !version.destroyed && !this.deleted(version)
  }
  deleted(version: TwinVersion): boolean {
    return version.deletionMs !== 0 && version.deletionMs <= this.nowMs
  }
  deletionMs(key: TwinKey): number {
    if (this.mountAfter < 0) return 0
    const seconds = Math.min(this.mountAfter || Infinity, key.after || Infinity)
    return seconds === Infinity ? 0 : this.nowMs + seconds * 1_000
  }
  write(name: string, data: Record<string, unknown>, cas: number | undefined): string {
    const key = this.keys.get(name) ?? { versions: [], maxVersions: 0, after: 0 }
    if (cas !== undefined && cas !== key.versions.length) return 'ERR_CAS_MISMATCH'
    this.keys.set(name, key)
    key.versions.push({ data, deletionMs: this.deletionMs(key), destroyed: false, dropped: false })
    const kept = Math.max(key.maxVersions, this.mountMax) || 10
    for (const version of key.versions.slice(0, Math.max(0, key.versions.length - kept))) version.dropped = true
    return 'ok'
  }
  patch(name: string, patch: Record<string, unknown>): string {
    const current = this.keys.get(name)?.versions.at(-1)
    if (current === undefined) return 'ERR_NOT_FOUND'
    if (!this.live(current)) return '404'
    const merged = Object.fromEntries(Object.entries({ ...current.data, ...patch }).filter(([, value]) => value !== null))
    return this.write(name, merged, undefined)
  }
  each(name: string, numbers: readonly number[], change: (version: TwinVersion, key: TwinKey) => void): string {
    const key = this.keys.get(name)
    for (const number of numbers) {
      const version = key?.versions[number - 1]
      if (key && version && !version.dropped && !version.destroyed) change(version, key)
    }
    return 'ok'
  }
}

type Step =
  | { kind: 'write'; key: string; value: number; big: boolean; cas: number | undefined }
  | { kind: 'patch'; key: string; value: number | null }
  | { kind: 'softDelete'; key: string }
  | { kind: 'drop'; key: string }
  | { kind: 'delete' | 'undelete' | 'destroy'; key: string; versions: number[] }
  | { kind: 'tune'; key: string; max: number; after: number }
  | { kind: 'config'; max: number; after: number }
  | { kind: 'wait'; ms: number }

const key = fc.constantFrom('a', 'a/1')
const some = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('write'),
      key,
      value: fc.nat(99),
      big: fc.boolean(),
      cas: fc.option(fc.nat(4), { nil: undefined }),
    }),
  },
  fc.record({ kind: fc.constant('patch'), key, value: fc.option(fc.nat(99)) }),
  fc.record({ kind: fc.constantFrom('softDelete', 'drop'), key }),
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('delete', 'undelete', 'destroy'), key, versions: some }) },
  fc.record({ kind: fc.constant('tune'), key, max: fc.nat(3), after: fc.nat(2) }),
  fc.record({ kind: fc.constant('config'), max: fc.nat(3), after: fc.integer({ min: -1, max: 2 }) }),
  fc.record({ kind: fc.constant('wait'), ms: fc.constantFrom(0, 1, 999, 1_000, 2_000) }),
) as fc.Arbitrary<Step>

const dataOf = (value: number, big: boolean): Record<string, unknown> =>
  big ? { value, other: value, blob: 'x'.repeat(4_200) } : { value, other: value }

function runTwin(twin: Twin, at: Step): string {
  switch (at.kind) {
    case 'write':
      return twin.write(at.key, dataOf(at.value, at.big), at.cas)
    case 'patch':
      return twin.patch(at.key, { value: at.value })
    case 'drop':
      twin.keys.delete(at.key)
      return 'ok'
    case 'softDelete':
      return twin.each(at.key, [twin.keys.get(at.key)?.versions.length ?? 0], (version) => {
        if (!twin.deleted(version)) version.deletionMs = twin.nowMs
      })
    case 'delete':
      return twin.each(at.key, at.versions, (version) => {
        if (!twin.deleted(version)) version.deletionMs = twin.nowMs
      })
    case 'undelete':
      return twin.each(at.key, at.versions, (version, owner) => (version.deletionMs = twin.deletionMs(owner)))
    case 'destroy':
      return twin.each(at.key, at.versions, (version) => (version.destroyed = true))
    case 'tune':
      twin.keys.set(at.key, { ...(twin.keys.get(at.key) ?? { versions: [] }), maxVersions: at.max, after: at.after })
      return 'ok'
    case 'config':
      twin.mountMax = at.max
      twin.mountAfter = at.after
      return 'ok'
    case 'wait':
      twin.nowMs += at.ms
      return 'ok'
  }
}

async function runReal(bench: EngineBench, at: Step): Promise<string> {
  const update = async (path: string, body: Record<string, unknown>) => await bench.call('update', path, { body })
  try {
    if (at.kind === 'write')
      await update(`data/${at.key}`, { data: dataOf(at.value, at.big), options: at.cas === undefined ? {} : { cas: at.cas } })
    else if (at.kind === 'softDelete') await bench.call('delete', `data/${at.key}`)
    else if (at.kind === 'drop') await bench.call('delete', `metadata/${at.key}`)
    else if (at.kind === 'tune') await update(`metadata/${at.key}`, { max_versions: at.max, delete_version_after: at.after })
    else if (at.kind === 'config') await update('config', { max_versions: at.max, delete_version_after: at.after })
    else if (at.kind === 'wait') bench.nowMs += at.ms
    else if (at.kind === 'patch') {
      const answer = await bench.call('patch', `data/${at.key}`, { body: { data: { value: at.value } } })
      return answer?.status === 404 ? '404' : 'ok'
    } else await update(`${at.kind}/${at.key}`, { versions: at.versions })
    return 'ok'
  } catch (error) {
    if (isHoldfastError(error)) return error.code
    throw error
  }
}

async function compare(bench: EngineBench, twin: Twin): Promise<void> {
  for (const name of ['a', 'a/1']) {
    const versions = twin.keys.get(name)?.versions ?? []
    for (let number = 0; number <= versions.length + 1; number++) {
      const answer = await bench.call('read', `data/${name}`, { query: { version: String(number) } })
      const version = versions[(number === 0 ? versions.length : number) - 1]
      if (version === undefined || version.dropped) expect(answer, `${name} version ${number}`).toBeNull()
      else {
        expect(answer?.data?.['data'], `${name} version ${number}`).toEqual(twin.live(version) ? version.data : null)
        expect(answer?.data?.['metadata']).toMatchObject({ destroyed: version.destroyed })
      }
    }
    const held = versions.filter((version) => !version.dropped && !version.destroyed)
    const stored = [...bench.storage.values.keys()].filter((path) => path === `m/${name}` || new RegExp(`^v/${name}/\\d+$`).test(path))
    // Nothing of a dropped or destroyed version stays behind: at most one record for the key and one for each version.
    expect(stored.length).toBeLessThanOrEqual(held.length + 1)
  }
}

test('agrees with its twin', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const bench = new EngineBench(kv, { version: '2' })
      const twin = new Twin(bench.nowMs)
      for (const at of steps) {
        expect(await runReal(bench, at), at.kind).toBe(runTwin(twin, at))
        await compare(bench, twin)
      }
    }),
    { numRuns: 400 },
  )
})
