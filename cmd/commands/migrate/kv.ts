/** The secrets of one kv engine: walked at the source, folder by folder, each an item of its own. */
import { ApiError } from '#client/errors.ts'
import { RefusedError } from '../../cli/types.ts'
import { sameSecret, sameSetting } from './compare.ts'
import { versionPlan, type VersionedSecret, type VersionPlan, type VersionState } from './kv-versions.ts'
import { dataAt, namesAt } from './reading.ts'
import { told, type Apply, type Decision, type Fields, type Item, type Sides } from './types.ts'

export interface KvMount {
  /** Without slashes at its ends. */
  readonly path: string
  readonly version: 1 | 2
  /** What the target has there: 0 is nothing yet (a dry run), for another engine there are no items. */
  readonly targetVersion: 0 | 1 | 2
}

const foldersDeepMax = 64

export async function* kvItems(sides: Sides, mount: KvMount, folder = '', depth = 0): AsyncGenerator<Item, void, undefined> {
  const at = `${mount.path}/${mount.version === 2 ? 'metadata/' : ''}${folder}`
  if (depth > foldersDeepMax) return yield told('kv', `${mount.path}/${folder}`, `folders expected at most ${foldersDeepMax} deep`)
  try {
    for await (const name of namesAt(sides.from, at)) {
      if (name.endsWith('/')) yield* kvItems(sides, mount, `${folder}${name}`, depth + 1)
      else yield secretItem(sides, mount, `${folder}${name}`)
    }
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error
    // Told as a failure of this folder: the others go on.
    yield { kind: 'kv', path: `${mount.path}/${folder}`, decide: () => Promise.reject(error) }
  }
}

function secretItem(sides: Sides, mount: KvMount, key: string): Item {
  const decide = mount.version === 2 ? decideVersioned : mount.targetVersion === 2 ? decideUpgraded : decidePlain
  return { kind: 'kv', path: `${mount.path}/${key}`, decide: () => decide(sides, mount, key) }
}

const vanished: Decision = { status: 'skipped', reason: 'it was deleted at the source meanwhile' }

async function decidePlain({ from, to }: Sides, { path, targetVersion }: KvMount, key: string): Promise<Decision> {
  const at = `${path}/${key}`
  const [wanted, present] = await Promise.all([dataAt(from, at), targetVersion === 0 ? null : dataAt(to, at)])
  if (wanted === null) return vanished
  const apply: Apply = async () => (await to.write(at, wanted), null)
  if (present === null) return { status: 'copy', apply }
  return sameSecret(wanted, present) ? { status: 'equal' } : { status: 'conflict', reason: 'the target has other contents', apply }
}

/** From an engine without versions into one that has them: a version more where the newest one differs. */
async function decideUpgraded({ from, to }: Sides, { path }: KvMount, key: string): Promise<Decision> {
  const [wanted, present] = await Promise.all([dataAt(from, `${path}/${key}`), dataAt(to, `${path}/data/${key}`)])
  if (wanted === null) return vanished
  const cas = Number((present?.['metadata'] as Fields | undefined)?.['version'] ?? 0)
  const apply: Apply = async () => (await to.write(`${path}/data/${key}`, { data: wanted, options: { cas } }), null)
  if (cas === 0) return { status: 'copy', apply }
  if (sameSecret(wanted, present?.['data'])) return { status: 'equal' }
  return { status: 'conflict', reason: `the target's version ${cas} has other contents`, apply }
}

const settingNames = ['max_versions', 'cas_required', 'metadata_cas_required', 'delete_version_after'] as const

/** A secret's settings, and what is known of its versions. `nowMs`: a version whose time has come is deleted, though nobody did it. */
export function versionedSecret(metadata: Fields, nowMs: number): VersionedSecret {
  const states = new Map<number, VersionState>()
  for (const [number, version] of Object.entries((metadata['versions'] ?? {}) as Readonly<Record<string, Fields>>)) {
    const { deletion_time: deletion, destroyed } = version
    const deleted = typeof deletion === 'string' && deletion !== '' && Date.parse(deletion) <= nowMs
    states.set(Number(number), destroyed === true ? 'destroyed' : deleted ? 'deleted' : 'live')
  }
  return { current: Number(metadata['current_version'] ?? 0), states }
}

const none: VersionedSecret = { current: 0, states: new Map() }

const otherSettings = (wanted: Fields, present: Fields): readonly string[] => [
  ...settingNames.filter((name) => !sameSetting(wanted[name], present[name])),
  ...(sameSecret(wanted['custom_metadata'] ?? {}, present['custom_metadata'] ?? {}) ? [] : ['custom_metadata']),
]

async function decideVersioned(sides: Sides, mount: KvMount, key: string): Promise<Decision> {
  const copy = new SecretCopy(sides, mount.path, key)
  const at = `${mount.path}/metadata/${key}`
  const [wanted, present] = await Promise.all([dataAt(sides.from, at), mount.targetVersion === 0 ? null : dataAt(sides.to, at)])
  if (wanted === null) return vanished
  const source = versionedSecret(wanted, sides.nowMs())
  const target = present === null ? none : versionedSecret(present, sides.nowMs())
  const plan = await versionPlan(source, target, copy)
  if (typeof plan === 'string') return { status: 'conflict', reason: plan, apply: () => copy.replace(wanted, source) }
  const settings = present === null ? [] : otherSettings(wanted, present)
  const apply: Apply = () => copy.apply(wanted, present, source, plan)
  if (settings.length > 0 && target.current > 0)
    return { status: 'conflict', reason: `the target has another ${settings.join(', ')}`, apply }
  const todo = plan.write.length + plan.mark.deleted.length + plan.mark.destroyed.length
  return present !== null && todo === 0 && settings.length === 0 ? { status: 'equal' } : { status: 'copy', apply }
}

/** Reads and writes the versions of one secret. */
class SecretCopy {
  readonly #sides: Sides
  readonly #mount: string
  readonly #key: string
  constructor(sides: Sides, mount: string, key: string) {
    this.#sides = sides
    this.#mount = mount
    this.#key = key
  }

  #path(kind: string): string {
    return `${this.#mount}/${kind}/${this.#key}`
  }

  /** null: deleted or destroyed. */
  async #contents(side: 'from' | 'to', version: number): Promise<unknown> {
    return (await dataAt(this.#sides[side], this.#path('data'), { version: String(version) }))?.['data'] ?? null
  }

  async same(source: number, target: number): Promise<boolean> {
    const [wanted, present] = await Promise.all([this.#contents('from', source), this.#contents('to', target)])
    return wanted !== null && sameSecret(wanted, present)
  }

  async blank(target: number): Promise<boolean> {
    return sameSecret(await this.#contents('to', target), {})
  }

  /** In the target's place: what it had is gone with all its versions. */
  async replace(wanted: Fields, source: VersionedSecret): Promise<string | null> {
    await this.#sides.to.delete(this.#path('metadata'))
    const plan = await versionPlan(source, none, this)
    if (typeof plan === 'string') throw new RefusedError(plan)
    return await this.apply(wanted, null, source, plan)
  }

  /** Settings first: max_versions then lets go of the same versions as at the source. Marks last: only what is written can be marked. */
  async apply(wanted: Fields, present: Fields | null, source: VersionedSecret, plan: VersionPlan): Promise<string | null> {
    await this.#writeSettings(wanted, present)
    let unseen = 0
    for (const number of plan.write) {
      const live = source.states.get(number) === 'live'
      const contents = live ? await this.#contents('from', number) : null
      // Deleted between two reads: empty now, and marked by the next run.
      if (source.states.has(number) && contents === null) unseen += 1
      await this.#writeVersion(number - plan.offset, contents ?? {})
    }
    for (const [mark, path] of [
      ['deleted', 'delete'],
      ['destroyed', 'destroy'],
    ] as const)
      // prettier-ignore
      if (plan.mark[mark].length > 0) await this.#sides.to.write(this.#path(path), { versions: plan.mark[mark] })
    return remarkOf(unseen, plan.offset)
  }

  async #writeSettings(wanted: Fields, present: Fields | null): Promise<void> {
    if (present !== null && otherSettings(wanted, present).length === 0) return
    const settings = Object.fromEntries(settingNames.flatMap((name) => (wanted[name] === undefined ? [] : [[name, wanted[name]]])))
    // Nobody's change in between is lost, and an engine that requires the number gets it.
    const metadata_cas = Number(present?.['current_metadata_version'] ?? 0)
    await this.#sides.to.write(this.#path('metadata'), { ...settings, custom_metadata: wanted['custom_metadata'] ?? {}, metadata_cas })
  }

  async #writeVersion(number: number, data: unknown): Promise<void> {
    const written = await this.#sides.to.write(this.#path('data'), { data, options: { cas: number - 1 } })
    const version = Number(written?.data?.['version'])
    if (version !== number) throw new RefusedError(`the target expected to write version ${number}, got ${version}`)
  }
}

function remarkOf(unseen: number, offset: number): string | null {
  const parts = [
    ...(unseen === 0 ? [] : [`${unseen} version(s) came without contents: deleted or destroyed at the source, which does not show them`]),
    ...(offset === 0 ? [] : [`the numbers of its versions are lower by ${offset}: the source has forgotten those before`]),
  ]
  return parts.length === 0 ? null : parts.join('; ')
}
