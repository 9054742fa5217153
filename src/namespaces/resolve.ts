/** Namespaces, of which there is one so far. Everything above asks here, so that the second one changes this room and no other. */
import { HoldfastError } from '#base/errors.ts'

export interface Namespace {
  /** What storage sections are named by: an id, so that a rename moves nothing. */
  readonly id: string
  /** '' for the root, else with a slash at its end. */
  readonly path: string
}

export const rootNamespace: Namespace = { id: 'root', path: '' }

/**
 * The namespace of a header or a path's prefix; slashes at its ends do not count.
 * @throws ERR_NO_ROUTE for every other than the root.
 */
export function resolveNamespace(path: string): Namespace {
  const name = path.replace(/^\/+|\/+$/g, '')
  if (name === '' || name === 'root') return rootNamespace
  throw new HoldfastError('ERR_NO_ROUTE', 'namespace expected to exist, got one that does not', { hint: 'leave X-Vault-Namespace empty' })
}
