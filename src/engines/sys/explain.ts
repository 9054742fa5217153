/** Why the caller may or may not: which rule decides a path, and what the caller has altogether. Nothing here reads what lies at a path. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { accessTo } from '#core/access.ts'
import { scopeOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import type { AccessRequest, CallerFacts, CompiledAcl, Explanation } from '#policies/types.ts'
import { answer, field, optional, path, reads, text } from './table.ts'

const operations = ['create', 'read', 'update', 'patch', 'delete', 'list', 'scan'] as const

const fields = {
  path: field('string', 'The path to ask about, without /v1/.', { required: true, example: 'secret/data/app' }),
  operation: field('string', 'What would be done there.', { enum: operations, default: 'read' }),
  parameters: field('map', 'The body that would be sent.'),
  query: field('string-map', 'The query that would be sent.', { example: { limit: '10' } }),
  wrap_ttl: field('duration', 'The wrapping TTL that would be asked for.', { default: 0 }),
  limit: field('string', 'The page limit that would be asked for.'),
}

export function explainPaths(): PathDef[] {
  return [
    path(
      'policies/explain',
      'Which rule decides what the caller may do on a path, and why.',
      { fields },
      {
        update: reads('Ask', async (context) => {
          const { acl, facts } = callerOf(context)
          const asked = askedOf(context)
          const def = await scopeOf(context).defAt(asked.path)
          const explained = acl.explain(accessTo(def, asked, facts))
          const decided: Explanation = def?.unauthenticated === true ? { ...explained, allowed: true, reason: 'open' } : explained
          return answer({ path: asked.path, operation: asked.operation, ...shown(decided) })
        }),
      },
      'Answers for the token that asks, as the request would be decided now, from this address. Whether anything lies at the path is not looked at.',
    ),
    path('internal/ui/resultant-acl', 'All that the caller may do, by pattern.', {}, { read: reads('Read', resultant) }),
  ]
}

function callerOf(context: HandlerContext): { acl: CompiledAcl; facts: CallerFacts } {
  const { acl, facts } = scopeOf(context)
  if (!acl) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  return { acl, facts }
}

function askedOf(context: HandlerContext): Parameters<typeof accessTo>[1] {
  const operation = text(context, 'operation') as AccessRequest['operation']
  const listing = operation === 'list' || operation === 'scan'
  const bare = text(context, 'path').replace(/^\/+/, '').replace(/^v1\//, '')
  if (bare === '') throw new HoldfastError('ERR_BAD_REQUEST', 'path must be supplied')
  const limit = optional<string>(context, 'limit')
  return {
    path: listing && !bare.endsWith('/') ? `${bare}/` : bare,
    operation,
    body: optional<Record<string, unknown>>(context, 'parameters') ?? {},
    query: { ...optional<Record<string, string>>(context, 'query'), ...(limit === undefined ? {} : { limit }) },
    wrapTtlSeconds: optional<number>(context, 'wrap_ttl') ?? 0,
  }
}

const shown = (explained: Explanation): Record<string, unknown> => ({
  allowed: explained.allowed,
  reason: explained.reason,
  root: explained.root,
  rule: explained.rule,
  pagination_limit: explained.paginationLimit,
  list_filter: explained.listFilter,
  candidates: explained.candidates.map(({ pattern, capabilities, active, parts }) => ({
    pattern,
    capabilities,
    active,
    parts: parts.map(({ policy, line, failed }) => ({ policy, line, failed_condition: failed })),
  })),
})

/** In the shape that the field's interfaces read: patterns with wildcards are globs, without the star at their end. */
async function resultant(context: HandlerContext): Promise<LogicalResponse> {
  const { acl, facts } = callerOf(context)
  const exact: Record<string, unknown> = Object.create(null)
  const glob: Record<string, unknown> = Object.create(null)
  for (const { pattern, exact: isExact, capabilities } of acl.entries(facts)) {
    if (isExact) exact[pattern] = { capabilities }
    else glob[pattern.endsWith('*') ? pattern.slice(0, -1) : pattern] = { capabilities }
  }
  return answer({ root: acl.capabilities('', facts).includes('root'), exact_paths: exact, glob_paths: glob })
}
