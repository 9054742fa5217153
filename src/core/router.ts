/** From a mount to its compiled path table, and from a request's verb to the operation that answers it. */
import { assert } from '#base/assert.ts'
import { compilePaths, type PathTable } from './paths.ts'
import type { EngineDef, MountEntry, Operation, OperationDef, PathDef } from './types.ts'

/** Engines and login methods by kind and type, their tables compiled once a mount. */
export class EngineRegistry {
  readonly #engines = new Map<string, EngineDef>()
  /** Mount entries live as long as the parsed table does: a new table brings new entries, so nothing goes stale. */
  readonly #byMount = new WeakMap<MountEntry, PathTable | null>()
  readonly #byDefs = new WeakMap<readonly PathDef[], PathTable>()

  constructor(engines: readonly EngineDef[]) {
    for (const engine of engines) {
      const key = `${engine.kind}/${engine.type}`
      assert(!this.#engines.has(key), `expected each engine type once, got '${key}' twice`)
      this.#engines.set(key, engine)
    }
  }

  get(kind: EngineDef['kind'], type: string): EngineDef | null {
    return this.#engines.get(`${kind}/${type}`) ?? null
  }

  all(): readonly EngineDef[] {
    return [...this.#engines.values()]
  }

  /** The mount's paths; null when this build has no such engine (the table was written by another version). */
  paths(mount: MountEntry): PathTable | null {
    const known = this.#byMount.get(mount)
    if (known !== undefined) return known
    const engine = this.get(mount.table, mount.type)
    const table = engine ? this.#compile(engine.paths(mount)) : null
    this.#byMount.set(mount, table)
    return table
  }

  #compile(defs: readonly PathDef[]): PathTable {
    let table = this.#byDefs.get(defs)
    if (!table) this.#byDefs.set(defs, (table = compilePaths(defs)))
    return table
  }
}

/** The operation's entry in the table; create and update stand in for each other where a path has only one of them. */
export function operationDef(def: PathDef, operation: Operation): OperationDef | null {
  const found = def.operations[operation]
  if (found) return found
  if (operation === 'create') return def.operations.update ?? null
  if (operation === 'update') return def.operations.create ?? null
  return null
}

/** Whether the verb may write on this path, before the existence check has decided between create and update. */
export function mayWrite(def: PathDef, operation: Operation): boolean {
  if (operation === 'update' || operation === 'create') {
    return def.operations.create?.writes === true || def.operations.update?.writes === true
  }
  return def.operations[operation]?.writes === true
}
