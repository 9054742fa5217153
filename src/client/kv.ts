/** The secrets of one kv engine of version 2, typed. */
import type { Client } from './client.ts'
import { ApiError } from './errors.ts'
import type { Secret } from './types.ts'

type Data = Readonly<Record<string, unknown>>

export interface KvVersion {
  readonly version: number
  readonly createdTime: string
  /** '' while it is not deleted, nor to be. */
  readonly deletionTime: string
  readonly destroyed: boolean
  readonly customMetadata: Readonly<Record<string, string>> | null
}

export interface KvSecret<T extends Data> extends KvVersion {
  /** null: this version is deleted or destroyed. */
  readonly data: T | null
}

export interface KvWrite {
  /** Only if this is the newest version; 0: only if there is none. */
  readonly cas?: number
}

/** Attempts of `change` before it gives up: each was overtaken by somebody else's write. */
const changesMax = 10

function versionOf(metadata: Data): KvVersion {
  return {
    version: Number(metadata['version']),
    createdTime: String((metadata['created_time'] ?? '') as string),
    deletionTime: String((metadata['deletion_time'] ?? '') as string),
    destroyed: metadata['destroyed'] === true,
    customMetadata: (metadata['custom_metadata'] ?? null) as KvVersion['customMetadata'],
  }
}

export class Kv<T extends Data = Data> {
  readonly #client: Client
  readonly #mount: string
  /** `mount`: where the engine is, 'secret'. Nothing is sent. */
  constructor(client: Client, mount: string) {
    this.#client = client
    this.#mount = mount.replace(/^\/+|\/+$/g, '')
  }

  #path(kind: string, path: string): string {
    return `${this.#mount}/${kind}/${path.replace(/^\/+/, '')}`
  }

  /** null when nothing was ever there, or all of it is gone. */
  async get(path: string, options: { readonly version?: number } = {}): Promise<KvSecret<T> | null> {
    const query = options.version === undefined ? {} : { version: String(options.version) }
    const secret = await this.#client.read(this.#path('data', path), query)
    const metadata = secret?.data?.['metadata']
    if (!metadata) return null
    return { ...versionOf(metadata as Data), data: (secret.data?.['data'] ?? null) as T | null }
  }

  /** @throws ApiError 400 when `cas` is not the newest version. */
  async put(path: string, data: T, options: KvWrite = {}): Promise<KvVersion> {
    return versionOf(dataOf(await this.#client.write(this.#path('data', path), { data, options })))
  }

  /** Merges (RFC 7396: null removes a key). @throws ApiError 404 when there is nothing to change. */
  async patch(path: string, data: Data, options: KvWrite = {}): Promise<KvVersion> {
    return versionOf(dataOf(await this.#client.patch(this.#path('data', path), { data, options })))
  }

  /**
   * Reads, changes and writes back on condition that nobody wrote in between; begins again when somebody did. `change` gets null for what is not there.
   * @throws ApiError 400 when ten attempts were overtaken.
   */
  async change(path: string, change: (data: T | null) => T): Promise<KvVersion> {
    for (let attempt = 1; ; attempt++) {
      const now = await this.get(path)
      try {
        return await this.put(path, change(now?.data ?? null), { cas: now?.version ?? 0 })
      } catch (error) {
        const overtaken = error instanceof ApiError && error.errors.some((text) => text.includes('check-and-set'))
        if (!overtaken || attempt === changesMax) throw error
      }
    }
  }

  /** The newest version, or `versions`; they can be undeleted. */
  async delete(path: string, versions: readonly number[] = []): Promise<void> {
    if (versions.length === 0) await this.#client.delete(this.#path('data', path))
    else await this.#client.write(this.#path('delete', path), { versions })
  }

  async undelete(path: string, versions: readonly number[]): Promise<void> {
    await this.#client.write(this.#path('undelete', path), { versions })
  }

  /** For good. */
  async destroy(path: string, versions: readonly number[]): Promise<void> {
    await this.#client.write(this.#path('destroy', path), { versions })
  }

  /** The secret's settings and versions, as the API has them; null when there is none. */
  async metadata(path: string): Promise<Data | null> {
    return (await this.#client.read(this.#path('metadata', path)))?.data ?? null
  }

  async putMetadata(path: string, metadata: Data): Promise<void> {
    await this.#client.write(this.#path('metadata', path), metadata)
  }

  /** The secret with all its versions, for good. */
  async deleteMetadata(path: string): Promise<void> {
    await this.#client.delete(this.#path('metadata', path))
  }

  /** Names in a folder; those of folders end with a slash. Empty when there are none. */
  async list(folder = ''): Promise<readonly string[]> {
    const path = `${this.#path('metadata', folder).replace(/\/+$/, '')}/`
    const keys = (await this.#client.list(path))?.data?.['keys']
    return Array.isArray(keys) ? keys.map(String) : []
  }

  /** Every secret below `folder`, as paths below the mount, in order. */
  async *walk(folder = ''): AsyncGenerator<string, void, undefined> {
    const prefix = folder === '' || folder.endsWith('/') ? folder : `${folder}/`
    for (const name of await this.list(prefix)) {
      if (name.endsWith('/')) yield* this.walk(`${prefix}${name}`)
      else yield `${prefix}${name}`
    }
  }
}

function dataOf(secret: Secret | null): Data {
  return secret?.data ?? {}
}
