/**
 * Which quota holds for a request: the most specific one, and no other. From the general to the specific: a namespace above (the nearest with an
 * inheritable one), the request's own namespace, its mount, a path below that (the longest glob, then the very path), the role of a login.
 */
import type { Scope } from './types.ts'

/** Where a request goes. */
export interface Target {
  /** Its namespace first, then those above, the root last. */
  readonly namespaces: readonly string[]
  /** null: no mount is known there. */
  readonly mountUuid: string | null
  /** Below the mount. */
  readonly rest: string
}

/** Quotas of one mount. */
interface OfMount<T> {
  whole: T | null
  readonly paths: Map<string, T>
  /** What stands before the '*', longest first. */
  readonly globs: (readonly [string, T])[]
  readonly roles: Map<string, T>
}

export class Matcher<T extends Scope> {
  readonly #namespaces = new Map<string, T>()
  readonly #mounts = new Map<string, OfMount<T>>()
  readonly size: number

  /** Of two with the same scope the later one counts; `sameScope` keeps them from being written. */
  constructor(quotas: readonly T[]) {
    this.size = quotas.length
    for (const quota of quotas) {
      if (quota.mountUuid === null) this.#namespaces.set(quota.namespaceId, quota)
      else place(this.#ofMount(quota.mountUuid), quota)
    }
    for (const { globs } of this.#mounts.values()) globs.sort(([a], [b]) => b.length - a.length)
  }

  /** `role`: of a login, where it is known; null otherwise. */
  match({ namespaces, mountUuid, rest }: Target, role: string | null): T | null {
    const found = mountUuid === null ? undefined : this.#mounts.get(mountUuid)
    return (found === undefined ? null : mostSpecific(found, rest, role)) ?? this.#inNamespaces(namespaces)
  }

  /** Whether a login at this mount can't be placed before its role is known. */
  asksRole(mountUuid: string | null): boolean {
    return mountUuid !== null && (this.#mounts.get(mountUuid)?.roles.size ?? 0) > 0
  }

  #inNamespaces(namespaces: readonly string[]): T | null {
    for (const [depth, id] of namespaces.entries()) {
      const quota = this.#namespaces.get(id)
      if (quota !== undefined && (depth === 0 || quota.inheritable)) return quota
    }
    return null
  }

  #ofMount(uuid: string): OfMount<T> {
    const known = this.#mounts.get(uuid)
    if (known !== undefined) return known
    const made: OfMount<T> = { whole: null, paths: new Map(), globs: [], roles: new Map() }
    this.#mounts.set(uuid, made)
    return made
  }
}

function place<T extends Scope>(of: OfMount<T>, quota: T): void {
  if (quota.role !== '') of.roles.set(quota.role, quota)
  else if (quota.suffix === '') of.whole = quota
  else if (quota.suffix.endsWith('*')) of.globs.push([quota.suffix.slice(0, -1), quota])
  else of.paths.set(quota.suffix, quota)
}

function mostSpecific<T>({ whole, paths, globs, roles }: OfMount<T>, rest: string, role: string | null): T | null {
  const byRole = role === null ? undefined : roles.get(role)
  if (byRole !== undefined) return byRole
  // A list's trailing slash makes no other path.
  const path = rest.endsWith('/') ? rest.slice(0, -1) : rest
  const exact = paths.get(path)
  if (exact !== undefined) return exact
  return globs.find(([prefix]) => rest.startsWith(prefix))?.[1] ?? whole
}

/**
 * Quotas by who wrote them. Each owner's own matcher has its say, and a request must pass them all: else the administrator of a namespace could write a
 * more specific one, and be rid of what holds for the namespace from above.
 */
export class Layers<T extends Scope> {
  readonly size: number
  readonly #root: Matcher<T>
  readonly #owned: ReadonlyMap<string, Matcher<T>>

  constructor(quotas: readonly T[]) {
    this.size = quotas.length
    this.#root = new Matcher(quotas.filter(({ owner }) => owner === undefined))
    const byOwner = Map.groupBy(quotas, ({ owner }) => owner ?? '')
    byOwner.delete('')
    this.#owned = new Map([...byOwner].map(([owner, own]) => [owner, new Matcher(own)]))
  }

  /** Those that have a say there: the root's first, then those of the namespaces on the way. */
  of({ namespaces }: Target): readonly Matcher<T>[] {
    if (this.#owned.size === 0) return [this.#root]
    const owned = namespaces.map((id) => this.#owned.get(id)).filter((matcher) => matcher !== undefined)
    return [this.#root, ...owned.toReversed()]
  }
}

/** Two quotas of one kind, owner and scope would hide each other. */
export const sameScope = (a: Scope, b: Scope): boolean =>
  a.owner === b.owner && a.namespaceId === b.namespaceId && a.mountUuid === b.mountUuid && a.suffix === b.suffix && a.role === b.role
