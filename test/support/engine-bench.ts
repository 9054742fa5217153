/** Runs one engine's table of paths over a storage in memory, through core's own field reading and matching. */
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import type { ListOptions } from '#barrier/types.ts'
import { readFields } from '#core/fields.ts'
import { compilePaths } from '#core/paths.ts'
import type { EngineDef, HandlerContext, LogicalResponse, MountEntry, MountStorage, Operation, Request } from '#core/types.ts'

/** A mount's storage as one sorted map. `gets` and `puts` count, so that a test can hold an engine to its promise. */
export class MemoryMountStorage implements MountStorage {
  readonly values = new Map<string, Uint8Array>()
  gets = 0
  puts = 0
  async get(path: string): Promise<Uint8Array | null> {
    this.gets += 1
    return this.values.get(path) ?? null
  }
  async getJson<T>(path: string): Promise<T | null> {
    const value = await this.get(path)
    return value === null ? null : (JSON.parse(Buffer.from(value).toString()) as T)
  }
  async list(prefix: string, options: ListOptions = {}): Promise<string[]> {
    const start = prefix === '' ? '' : `${prefix}/`
    const names = new Set<string>()
    for (const path of this.values.keys()) {
      if (!path.startsWith(start)) continue
      const rest = path.slice(start.length)
      names.add(rest.includes('/') ? rest.slice(0, rest.indexOf('/') + 1) : rest)
    }
    const after = options.after
    const sorted = [...names].toSorted().filter((name) => after === undefined || name > after)
    return options.limit !== undefined && options.limit > 0 ? sorted.slice(0, options.limit) : sorted
  }
  put(path: string, value: Uint8Array): void {
    if (path === '' || path.split('/').some((segment) => segment === '')) throw new Error(`malformed path '${path}'`)
    this.puts += 1
    this.values.set(path, Uint8Array.from(value))
  }
  putJson(path: string, value: unknown): void {
    this.put(path, Buffer.from(JSON.stringify(value)))
  }
  delete(path: string): void {
    this.values.delete(path)
  }
  async deleteTree(prefix: string): Promise<number> {
    const doomed = [...this.values.keys()].filter((path) => prefix === '' || path.startsWith(`${prefix}/`))
    for (const path of doomed) this.values.delete(path)
    return doomed.length
  }
}

export function mountOf(engine: EngineDef, options: Record<string, string> | null): MountEntry {
  return {
    path: 'secret/',
    table: 'secret',
    type: engine.type,
    description: '',
    accessor: 'a',
    uuid: 'u',
    namespaceId: 'root',
    options,
    local: false,
    sealWrap: false,
    config: { default_lease_ttl: 0, max_lease_ttl: 0, force_no_cache: false },
  }
}

export interface Call {
  readonly body?: Record<string, unknown>
  readonly query?: Record<string, string>
}

/** One mount of an engine; `nowMs` is the test's to move. */
export class EngineBench {
  readonly storage = new MemoryMountStorage()
  readonly engine: EngineDef
  readonly mount: MountEntry
  nowMs = Date.UTC(2026, 7, 1, 10, 0, 0)
  constructor(engine: EngineDef, options: Record<string, string> | null = null) {
    this.engine = engine
    this.mount = mountOf(engine, options)
  }
  /** As core does: existence decides between create and update; then fields, then the handler. Throws what the handler throws. */
  async call(verb: Operation, path: string, call: Call = {}): Promise<LogicalResponse | null> {
    const found = compilePaths(this.engine.paths(this.mount)).match(path)
    if (found === null) throw new Error(`no route for ${path}`)
    const request = { operation: verb, path, body: call.body ?? {}, query: call.query ?? {}, method: 'TEST' } as unknown as Request
    const { fields, data } = readFields(found.def, found.params, request, verb)
    const context: HandlerContext = {
      request,
      operation: verb,
      path,
      fields,
      data,
      storage: this.storage,
      nowMs: this.nowMs,
      random: systemRandom,
      mount: this.mount,
      token: null,
      section: { namespace: 'root', mount: 'm' },
      log: silentLogger,
    }
    const exists = verb === 'update' && found.def.exists ? await found.def.exists(context) : true
    const operation = found.def.operations[exists ? verb : 'create']
    if (!operation) throw new Error(`no ${verb} on ${path}`)
    return await operation.handler({ ...context, operation: exists ? verb : 'create' })
  }
  /** `data` of the answer, {} when there is none. */
  async data(verb: Operation, path: string, call: Call = {}): Promise<Record<string, unknown>> {
    return { ...(await this.call(verb, path, call))?.data }
  }
}
