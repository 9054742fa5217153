/** A namespace, and how it is stored: a version byte, then JSON. */
import { HoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'

const recordVersion = 1

/** `deleting`: nothing reaches it any more, and a job of the leader deletes what lies in it. */
export type NamespaceState = 'active' | 'deleting'

export interface Namespace {
  /** What its storage sections are named by, and what its tokens end in; never given again while it lies anywhere. */
  readonly id: string
  readonly uuid: string
  /** '' for the root, else from the root down, with a slash at its end: 'team/app/'. */
  readonly path: string
  /** null for the root. */
  readonly parentId: string | null
  readonly customMetadata: Readonly<Record<string, string>>
  readonly state: NamespaceState
  /** SHA-256 of the key that unlocks its API, hex; null: it is not locked. */
  readonly lock: string | null
  readonly createdMs: number
}

export const rootNamespace: Namespace = Object.freeze({
  id: 'root',
  uuid: '00000000-0000-0000-0000-000000000000',
  path: '',
  parentId: null,
  customMetadata: {},
  state: 'active',
  lock: null,
  createdMs: 0,
})

/** The last segment of its path; '' for the root. */
export function namespaceName({ path }: Pick<Namespace, 'path'>): string {
  return path.slice(path.lastIndexOf('/', path.length - 2) + 1, -1)
}

export function encodeNamespace(namespace: Namespace): Uint8Array {
  return Buffer.concat([Uint8Array.of(recordVersion), Buffer.from(JSON.stringify(namespace))])
}

/** @throws ERR_UPGRADE_REQUIRED for a later version; ERR_STORE_CORRUPT for what is none. */
export function decodeNamespace(bytes: Uint8Array): Namespace {
  if (bytes.length === 0 || !checkVersion('a namespace', recordVersion, bytes[0])) {
    throw new HoldfastError('ERR_STORE_CORRUPT', 'expected a namespace to have a version')
  }
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + 1, bytes.byteLength - 1).toString('utf8')) as Namespace
  } catch {
    throw new HoldfastError('ERR_STORE_CORRUPT', 'expected a namespace to be JSON')
  }
}
