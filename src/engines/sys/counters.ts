/** How many tokens and entities there are, and which namespaces a caller may go to: what interfaces show. */
import { scopeOf } from '#core/scope.ts'
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { answer, path, reads } from './table.ts'
import type { SystemServices } from './types.ts'

/** Names are read in pages of this size: a listing of a million would be held in memory as a whole. */
const pageSize = 4_096
/** Namespaces that one answer names. */
const namespacesMax = 1_000

type Page = (window: { readonly after?: string; readonly limit: number }) => Promise<readonly string[]>

async function count(page: Page): Promise<number> {
  let total = 0
  for (let after: string | undefined; ;) {
    const names = await page({ limit: pageSize, ...(after === undefined ? {} : { after }) })
    total += names.length
    after = names.at(-1)
    if (names.length < pageSize || after === undefined) return total
  }
}

export function counterPaths({ tokens, identity, namespaces }: SystemServices): PathDef[] {
  return [
    path(
      'internal/counters/tokens',
      'How many service tokens there are.',
      {},
      {
        read: reads('Count', async (context) => {
          const { view } = scopeOf(context)
          const total = await count((window) => tokens.listAccessors(view, window, context.mount.namespaceId))
          return answer({ counters: { service_tokens: { total } } })
        }),
      },
    ),
    path(
      'internal/counters/entities',
      'How many entities there are.',
      {},
      {
        read: reads('Count', async (context) => {
          const { view } = scopeOf(context)
          const total = await count((window) => identity.list(view, 'entity', 'id', window, context.mount.namespaceId))
          return answer({ counters: { entities: { total } } })
        }),
      },
    ),
    path(
      'internal/ui/namespaces',
      'Namespaces that the caller can go to.',
      { unauthenticated: true },
      { read: reads('List', (context) => visibleNamespaces(namespaces, context)) },
    ),
  ]
}

/** Those right below the request's in which a rule of the caller grants anything; nobody without a token sees one. */
async function visibleNamespaces(namespaces: SystemServices['namespaces'], context: HandlerContext): Promise<LogicalResponse> {
  const { view, namespace, acl, facts } = scopeOf(context)
  if (context.token === null || acl === null) return answer({ keys: [] })
  const names = await namespaces.childNames(view, namespace.id, { limit: namespacesMax })
  const root = acl.capabilities('', facts).includes('root')
  const granting = acl.entries(facts).filter(({ capabilities }) => !capabilities.includes('deny'))
  const reaches = (prefix: string): boolean =>
    granting.some(({ pattern }) => {
      const head = /^[^*+]*/.exec(pattern)![0]
      return head.startsWith(prefix) || (head.length < pattern.length && prefix.startsWith(head))
    })
  return answer({ keys: names.map((name) => `${name.replace(/\/$/, '')}/`).filter((prefix) => root || reaches(prefix)) })
}
