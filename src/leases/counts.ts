/**
 * How many leases there are, by namespace and mount, in the leader's memory: a number in storage that every login changes would make every login wait for
 * every other. Counted once when this node begins to lead, a folder at a time, and kept by what is committed from there on. Where a commit falls into the
 * very moment in which its folder is counted it may count twice or not at all: this is for quotas and metrics, and not a book of accounts.
 */
import { isHoldfastError } from '#base/errors.ts'
import type { Barrier } from '#barrier/types.ts'
import { leaseSection } from './due.ts'
import type { LeaseChange, LedgerListener } from './ledger.ts'

const foldersPerStep = 16

/** Whose lease it is: a mount's uuid; null: of none that is known. */
export type MountOf = (namespace: string, leaseId: string) => string | null

export class LeaseCounts implements LedgerListener {
  readonly #mountOf: MountOf
  readonly #counts = new Map<string, number>()
  /** Folders that are still to be counted, the next one last; null: all are. Invariant: in the order of paths, last first. */
  #left: { readonly namespace: string; readonly folder: string }[] | null = []
  /** The same by name, to be looked up. */
  readonly #waiting = new Set<string>()
  /** Namespaces that were sealed when it was their turn: nothing of them is counted. */
  readonly #sealed = new Set<string>()
  #total = 0

  constructor(mountOf: MountOf) {
    this.#mountOf = mountOf
  }

  /** Leases and tokens of a mount (of all mounts of the namespace, for null); null while they are being counted. */
  of(namespace: string, mountUuid: string | null): number | null {
    if (this.#left !== null) return null
    if (mountUuid !== null) return this.#counts.get(`${namespace}/${mountUuid}`) ?? 0
    let sum = 0
    for (const [key, count] of this.#counts) if (key.startsWith(`${namespace}/`)) sum += count
    return sum
  }

  /** All that are known so far. */
  get total(): number {
    return this.#total
  }

  get complete(): boolean {
    return this.#left === null
  }

  /** Begins anew. */
  restart(namespaces: readonly string[]): void {
    this.#counts.clear()
    this.#total = 0
    this.#waiting.clear()
    this.#sealed.clear()
    this.#left = []
    this.#leave(namespaces.map((namespace) => ({ namespace, folder: '' })))
  }

  /** Whether a namespace was passed over, being sealed. */
  isUncounted(namespace: string): boolean {
    return this.#sealed.has(namespace)
  }

  /** Counts one that was passed over, with the next steps: it is open again. */
  count(namespace: string): void {
    if (!this.#sealed.delete(namespace)) return
    this.#left ??= []
    this.#leave([{ namespace, folder: '' }])
  }

  /** Counts some more folders. @throws what reading one does: it is counted with the next step. */
  async step(barrier: Barrier): Promise<void> {
    for (let count = 0; count < foldersPerStep; count += 1) {
      const next = this.#left?.pop()
      if (next === undefined) {
        this.#left = null
        return
      }
      const { namespace, folder } = next
      const left = this.#left
      this.#waiting.delete(`${namespace}/${folder}`)
      let names: string[]
      try {
        names = await barrier.read({ kind: 'stale' }, (view) => view.list(leaseSection(namespace), folder === '' ? 'id' : `id/${folder}`))
      } catch (error) {
        if (this.#left !== left) return
        if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) {
          this.#leave([next])
          throw error
        }
        this.#passOver(namespace)
        continue
      }
      // Begun anew meanwhile: what was read is not of this count.
      if (this.#left !== left) return
      const child = (name: string): string => (folder === '' ? name : `${folder}/${name}`)
      for (const name of names) if (!name.endsWith('/')) this.#add(namespace, child(name), 1)
      const below = names.filter((name) => name.endsWith('/')).map((name) => ({ namespace, folder: child(name.slice(0, -1)) }))
      this.#leave(below)
    }
  }

  committed(changes: readonly LeaseChange[]): void {
    for (const { namespace, leaseId, count, mountUuid } of changes) {
      if (count !== 0 && this.#isCounted(namespace, leaseId)) this.#add(namespace, leaseId, count, mountUuid)
    }
  }

  /** Nobody knows what was committed: counted anew, by whoever restarts it. */
  lost(): void {
    if (this.#left === null) this.#left = []
  }

  /** Forgets what was counted of a namespace, and all that is left of it. */
  #passOver(namespace: string): void {
    this.#left = this.#left?.filter((each) => each.namespace !== namespace) ?? null
    for (const name of this.#waiting) if (name.startsWith(`${namespace}/`)) this.#waiting.delete(name)
    // Still to be counted, from its root on: what is committed in it before that is found there.
    this.#waiting.add(`${namespace}/`)
    this.#sealed.add(namespace)
    for (const [key, count] of this.#counts) {
      if (!key.startsWith(`${namespace}/`)) continue
      this.#counts.delete(key)
      this.#total -= count
    }
  }

  #leave(folders: readonly { readonly namespace: string; readonly folder: string }[]): void {
    for (const left of folders.toReversed()) {
      this.#left?.push(left)
      this.#waiting.add(`${left.namespace}/${left.folder}`)
    }
  }

  /** Neither its folder nor one above it is still to be counted. */
  #isCounted(namespace: string, leaseId: string): boolean {
    for (let end = leaseId.lastIndexOf('/'); ; end = leaseId.lastIndexOf('/', end - 1)) {
      if (this.#waiting.has(`${namespace}/${leaseId.slice(0, Math.max(end, 0))}`)) return false
      if (end <= 0) return true
    }
  }

  #add(namespace: string, leaseId: string, count: number, mountUuid = this.#mountOf(namespace, leaseId)): void {
    this.#total += count
    const key = `${namespace}/${mountUuid ?? ''}`
    const sum = (this.#counts.get(key) ?? 0) + count
    if (sum > 0) this.#counts.set(key, sum)
    else this.#counts.delete(key)
  }
}
