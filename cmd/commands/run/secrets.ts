/** The secrets of one run: read, kept alive where they are lent, read again. */
import { accepted } from '#client/answer.ts'
import type { Client } from '#client/client.ts'
import { ApiError } from '#client/errors.ts'
import type { Flags } from '../../cli/args.ts'
import { kvPath, nothingAt, type KvPath } from '../../cli/kv-paths.ts'
import { readSecret, type Fields } from '../../cli/kv-tree.ts'
import { RefusedError } from '../../cli/types.ts'

interface Lease {
  readonly id: string
  readonly renewable: boolean
  /** On the client's monotonic clock. */
  endsMs: number
  seconds: number
}

interface Source {
  readonly path: string
  /** null: no kv engine, so read as it is. */
  readonly kv: KvPath | null
  fields: Fields
  lease: Lease | null
}

/** Of a lease's time, before it is renewed or replaced. */
const renewAt = 2 / 3

export class RunSecrets {
  readonly #client: Client
  readonly #sources: readonly Source[]
  /** Of what was lent and could not be given back. */
  readonly #left = new Set<string>()
  private constructor(client: Client, sources: readonly Source[]) {
    this.#client = client
    this.#sources = sources
  }

  /** Reads all of `paths`. @throws RefusedError for one that is not there; ApiError. */
  static async open(client: Client, flags: Flags, paths: readonly string[]): Promise<RunSecrets> {
    const sources: Source[] = []
    try {
      for (const path of new Set(paths)) sources.push(await RunSecrets.#source(client, flags, path))
    } catch (error) {
      await new RunSecrets(client, sources).revoke()
      throw error
    }
    return new RunSecrets(client, sources)
  }

  static async #source(client: Client, flags: Flags, path: string): Promise<Source> {
    const kv = await kvPathOrNull(client, flags, path)
    const source: Source = { path, kv, fields: {}, lease: null }
    await readInto(client, source)
    return source
  }

  get fields(): ReadonlyMap<string, Fields> {
    return new Map(this.#sources.map(({ path, fields }) => [path, fields]))
  }

  /**
   * Reads those again that can change, and renews or replaces what is lent and near its end.
   * @throws when one can't be read: the others may have been read already; what is held stays good.
   */
  async refresh(): Promise<void> {
    for (const source of this.#sources) {
      if (source.lease === null) await readInto(this.#client, source)
      else if (this.#isDue(source.lease)) await this.#prolong(source, source.lease)
    }
  }

  #isDue({ endsMs, seconds }: Lease): boolean {
    return this.#client.tools.clock.monotonicMs() >= endsMs - seconds * 1_000 * (1 - renewAt)
  }

  async #prolong(source: Source, lease: Lease): Promise<void> {
    if (lease.renewable && (await this.#renewed(lease))) return
    const old = lease.id
    await readInto(this.#client, source)
    // After the new one is here: the process still has the old one, for the moment until it is started anew.
    if (source.lease?.id !== old) await this.#giveBack(source.path, old)
  }

  /** False: it is at its end, or gone. */
  async #renewed(lease: Lease): Promise<boolean> {
    const path = 'sys/leases/renew'
    try {
      const answer = await this.#client.raw({ method: 'POST', path, body: { lease_id: lease.id }, wrapTtl: '' })
      const seconds = Number(accepted(answer, { method: 'POST', url: path })?.lease_duration ?? 0)
      if (seconds * (1 - renewAt) <= 1 || seconds < lease.seconds / 2) return false
      lease.endsMs = this.#client.tools.clock.monotonicMs() + seconds * 1_000
      lease.seconds = seconds
      return true
    } catch (error) {
      if (error instanceof ApiError) return false
      throw error
    }
  }

  /** The soonest moment, in milliseconds from now, at which something lent must be looked at; Infinity without any. */
  dueInMs(): number {
    const nowMs = this.#client.tools.clock.monotonicMs()
    return Math.min(
      Infinity,
      ...this.#sources.flatMap(({ lease }) =>
        lease === null ? [] : [Math.max(0, lease.endsMs - lease.seconds * 1_000 * (1 - renewAt) - nowMs)],
      ),
    )
  }

  async #giveBack(path: string, id: string): Promise<void> {
    try {
      await this.#client.write('sys/leases/revoke', { lease_id: id }, { idempotent: true, wrapTtl: '' })
    } catch {
      this.#left.add(path)
    }
  }

  /** Gives back what was lent. Returns the paths of what could not be, now or earlier: that ends by itself, with its lease. */
  async revoke(): Promise<readonly string[]> {
    await Promise.all(this.#sources.flatMap(({ path, lease }) => (lease === null ? [] : [this.#giveBack(path, lease.id)])))
    return [...this.#left]
  }
}

async function kvPathOrNull(client: Client, flags: Flags, path: string): Promise<KvPath | null> {
  const answer = await client.raw({ method: 'GET', path: `sys/internal/ui/mounts/${path}`, wrapTtl: '' })
  const type = answer.json?.data?.['type']
  if (typeof type === 'string' && type !== 'kv') return null
  return await kvPath(client, flags, path)
}

async function readInto(client: Client, source: Source): Promise<void> {
  if (source.kv !== null) {
    const { fields } = await readSecret(client, source.kv)
    if (fields === null) throw nothingAt(source.kv, `no secret found at ${source.path}`)
    source.fields = fields
    return
  }
  const secret = await client.read(source.path, {}, { wrapTtl: '' })
  if (!secret?.data) throw new RefusedError(`nothing found at ${source.path}`)
  const { lease_id: id = '', lease_duration: seconds = 0, renewable = false } = secret
  source.fields = secret.data
  source.lease = id === '' || seconds <= 0 ? null : { id, renewable, seconds, endsMs: client.tools.clock.monotonicMs() + seconds * 1_000 }
}
