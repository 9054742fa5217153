/**
 * Where a request is to be answered: its namespace, from the header and the prefix of its path together, and the mount in it.
 *
 * A namespace and a mount never share the first segment of a path (engines/sys holds both to that), so the mount table, which is parsed already, is asked
 * first: a request in the root namespace costs nothing for there being others. What the header names is walked down without asking any mounts.
 */
import type { ReadView } from '#barrier/types.ts'
import { rootNamespace, type Namespace } from '#namespaces/record.ts'
import { namespaceSegments } from '#namespaces/names.ts'
import type { NamespaceStore } from '#namespaces/store.ts'
import type { MountReader, MountRoute, MountTable } from './mounts.ts'
import type { Request } from './types.ts'

export interface Place {
  /** From the root down to `namespace`. */
  readonly line: readonly Namespace[]
  readonly namespace: Namespace
  /** The request with `namespace` and `path` as they were found: the path below the namespace. */
  readonly request: Request
  readonly mounts: MountTable
  /** null where there is no mount, and where the header names a namespace that is not there: as if nothing were. */
  readonly route: MountRoute | null
}

export const rootLine: readonly Namespace[] = [rootNamespace]

interface Finder {
  readonly mounts: Pick<MountReader, 'read'>
  readonly namespaces: Pick<NamespaceStore, 'walk' | 'child'>
}

/** The namespace that a header names, without slashes at its ends; 'root' alone is the root. */
const headerPath = ({ namespace }: Request): string => (namespace === 'root' ? '' : namespace)

/** One read a level of namespaces, and one for the table of mounts of each that the path leads through. */
export async function placeOf({ mounts, namespaces }: Finder, view: ReadView, request: Request): Promise<Place> {
  const header = headerPath(request)
  const walked = header === '' ? { line: rootLine, rest: '' } : await namespaces.walk(view, rootLine, header)
  let { line } = walked
  let path = walked.rest === '' ? request.path : `${walked.rest}/${request.path}`
  for (;;) {
    const namespace = line.at(-1)!
    const table = await mounts.read(view, namespace.id)
    const route = walked.rest === '' ? table.route(path) : null
    const next = route === null && walked.rest === '' ? await namespaces.child(view, namespace.id, firstOf(path)) : null
    if (next === null || next.state !== 'active')
      return { line, namespace, request: placed(request, namespace, path), mounts: table, route }
    line = [...line, next]
    path = path.slice(firstOf(path).length + 1)
  }
}

const firstOf = (path: string): string => {
  const end = path.indexOf('/')
  return end < 0 ? path : path.slice(0, end)
}

function placed(request: Request, { path: namespacePath }: Namespace, path: string): Request {
  const namespace = namespacePath.slice(0, -1)
  return namespace === request.namespace && path === request.path ? request : { ...request, namespace, path }
}

/** The table and the path in it by what was last read here; null when nothing is known. For deciding early, never for answering. */
export function guessPlace(
  mounts: Pick<MountReader, 'lastSeen'>,
  namespaces: Pick<NamespaceStore, 'lastSeen'>,
  request: Request,
): { readonly mounts: MountTable; readonly path: string } | null {
  const header = headerPath(request)
  let id = rootNamespace.id
  for (const name of namespaceSegments(header)) {
    const next = namespaces.lastSeen(id, name)
    if (next === null) return null
    id = next.id
  }
  for (let { path } = request; ;) {
    const table = mounts.lastSeen(id)
    if (table === null || table.route(path)) return table && { mounts: table, path }
    const next = namespaces.lastSeen(id, firstOf(path))
    if (next === null) return null
    id = next.id
    path = path.slice(firstOf(path).length + 1)
  }
}

/** The innermost of `line` whose API is locked; null when none is. */
export const lockedIn = (line: readonly Namespace[]): Namespace | null => line.findLast((namespace) => namespace.lock !== null) ?? null
