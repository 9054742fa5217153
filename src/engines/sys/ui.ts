/** What interfaces ask before anything else: which mounts a token can see, of which kind and version. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { fullPath } from '#core/mounts.ts'
import { openApiDocument } from '#core/openapi.ts'
import { scopeOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, MountEntry, PathDef } from '#core/types.ts'
import { describeMount } from './mounts.ts'
import { answer, inPath, path, reads, text } from './table.ts'
import type { SystemServices } from './types.ts'

/** `own`: the system engine's table, which is not among the engines that can be mounted. */
export function uiPaths(services: SystemServices, own: () => readonly PathDef[]): PathDef[] {
  return [
    path(
      'internal/ui/mounts',
      'Mounts that the caller can see.',
      { unauthenticated: true },
      {
        read: reads('List', (context) => visibleMounts(context)),
      },
    ),
    path(
      'internal/ui/mounts/:path*',
      'The mount that a path lies in.',
      { unauthenticated: true, fields: { path: inPath('Any path.', 'secret/data/app') } },
      {
        read: reads('Read', (context) => mountOfPath(context)),
      },
    ),
    path(
      'internal/specs/openapi',
      'This API as an OpenAPI document.',
      {},
      {
        read: reads('Read', async (context) => ({ raw: openApi(services, context, own()) })),
      },
    ),
  ]
}

/** A pattern of a rule, reduced to the literal text before its first wildcard. */
const literalHead = (pattern: string): string => /^[^*+]*/.exec(pattern)![0]

/** Whether any rule of the caller grants anything on or below `prefix`. A wildcard may; what is asked is whether to show the mount's name. */
function reacher(context: HandlerContext): (prefix: string) => boolean {
  const { acl, facts } = scopeOf(context)
  if (!context.token || !acl) return () => false
  if (acl.capabilities('', facts).includes('root')) return () => true
  const granting = acl.entries(facts).filter(({ capabilities }) => !capabilities.includes('deny'))
  return (prefix) =>
    granting.some(({ pattern }) => {
      const head = literalHead(pattern)
      return head.startsWith(prefix) || `${head}/` === prefix || (head.length < pattern.length && prefix.startsWith(head))
    })
}

async function visibleMounts(context: HandlerContext): Promise<LogicalResponse> {
  const reaches = reacher(context)
  const secret: Record<string, unknown> = {}
  const auth: Record<string, unknown> = {}
  for (const mount of scopeOf(context).mounts.entries) {
    const open = mount.config.listing_visibility === 'unauth'
    if (!open && !reaches(fullPath(mount))) continue
    const shown = context.token ? describeMount(mount) : { type: mount.type, description: mount.description, options: mount.options }
    ;(mount.table === 'auth' ? auth : secret)[mount.path] = shown
  }
  return answer({ auth, secret })
}

async function mountOfPath(context: HandlerContext): Promise<LogicalResponse> {
  const denied = new HoldfastError(
    'ERR_PERMISSION_DENIED',
    'preflight capability check returned 403, please ensure client\'s policies grant access to path "' + text(context, 'path') + '/"',
  )
  if (!context.token) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  const route = scopeOf(context).mounts.route(text(context, 'path'))
  if (!route || !reacher(context)(fullPath(route.mount))) throw denied
  return answer({ path: fullPath(route.mount), ...describeMount(route.mount) })
}

function openApi(services: SystemServices, context: HandlerContext, own: readonly PathDef[]): { contentType: string; body: Uint8Array } {
  const mounts = scopeOf(context).mounts.entries.flatMap((mount: MountEntry) => {
    if (mount.type === 'system') return [{ mount, defs: own }]
    const engine = services.engines.find((candidate) => candidate.kind === mount.table && candidate.type === mount.type)
    return engine ? [{ mount, defs: engine.paths(mount) }] : []
  })
  return { contentType: 'application/json', body: Buffer.from(`${JSON.stringify(openApiDocument(mounts))}\n`) }
}
