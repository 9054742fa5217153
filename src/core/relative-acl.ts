/**
 * A token's policies as they are asked inside a namespace. Policies know paths from the root down ('team/kv/app', whichever namespace they are of);
 * what handles a request knows paths below its namespace ('kv/app').
 */
import type { AclEntry, CompiledAcl } from '#policies/types.ts'

const kept = new WeakMap<CompiledAcl, Map<string, CompiledAcl>>()
/** Namespaces that one set of policies is asked in, of which the wrappers are kept. */
const prefixesMax = 64

/** `prefix`: the namespace's path, 'team/'; '' gives `acl` itself. */
export function relativeAcl(acl: CompiledAcl, prefix: string): CompiledAcl {
  if (prefix === '') return acl
  let wrappers = kept.get(acl)
  if (!wrappers) kept.set(acl, (wrappers = new Map()))
  const known = wrappers.get(prefix)
  if (known) return known
  const made: CompiledAcl = {
    decide: (request) => acl.decide({ ...request, path: prefix + request.path }),
    explain: (request) => acl.explain({ ...request, path: prefix + request.path }),
    capabilities: (path, caller) => acl.capabilities(prefix + path, caller),
    entries: (caller) => acl.entries(caller).flatMap((entry) => below(entry, prefix)),
  }
  if (wrappers.size >= prefixesMax) wrappers.clear()
  wrappers.set(prefix, made)
  return made
}

/** The entry as a pattern of paths below the namespace; [] when it matches none of them. */
function below(entry: AclEntry, prefix: string): AclEntry[] {
  const pattern = patternBelow(entry.pattern, prefix.slice(0, -1).split('/'))
  return pattern === null ? [] : [{ ...entry, pattern }]
}

/** Segment by segment: '+' is any one, '*' at the end any rest. */
function patternBelow(pattern: string, namespace: readonly string[]): string | null {
  const segments = pattern.split('/')
  for (const [at, name] of namespace.entries()) {
    const segment = segments[at]
    if (segment === undefined) return null
    const isLast = at === segments.length - 1
    if (isLast && segment.endsWith('*')) return name.startsWith(segment.slice(0, -1)) ? '*' : null
    if (isLast || (segment !== '+' && segment !== name)) return null
  }
  return segments.slice(namespace.length).join('/')
}
