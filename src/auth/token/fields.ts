/** What the files of this folder share: fields, limits, and finding the token that a request names. */
import { HoldfastError, wellKnown } from '#base/errors.ts'
import { lifetimes } from '#base/lifetimes.ts'
import { scopeOf } from '#core/scope.ts'
import type { FieldSchema, HandlerContext, MountEntry } from '#core/types.ts'
import type { PolicyStore } from '#policies/store.ts'
import type { TokenStore } from '#tokens/store.ts'
import type { TtlLimits } from '#tokens/ttl.ts'
import type { TokenEntry } from '#tokens/types.ts'

export const field = (type: FieldSchema['type'], description: string, extra: Partial<FieldSchema> = {}): FieldSchema => ({
  type,
  description,
  ...extra,
})

export const tokenField = field('string', 'The token.', { sensitive: true })
export const accessorField = field('string', 'The accessor of the token.')
export const incrementField = field('duration', 'For how long, counted from now.', { default: 0 })

/** The mount's TTLs, the system's where it sets none. */
export const ttlLimits = (mount: MountEntry): TtlLimits => ({
  defaultTtlSeconds: mount.config.default_lease_ttl || lifetimes.defaultSeconds,
  maxTtlSeconds: mount.config.max_lease_ttl || lifetimes.maxSeconds,
})

export const optional = <T>(context: HandlerContext, name: string): T | undefined => context.fields[name] as T | undefined
export const text = (context: HandlerContext, name: string): string => optional<string>(context, name) ?? ''

/** Whoever has `response-wrapping` is taken for a wrapping token. */
export const unassignable = (): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', 'cannot assign policy "response-wrapping"')

/** Policies that a token has through its entity, groups and roles; none where its entity is gone or disabled, since it is good for nothing then. */
export async function inherited(context: HandlerContext, policies: PolicyStore, entry: TokenEntry): Promise<string[]> {
  if (entry.entityId === '') return []
  try {
    return await policies.identityPolicies(scopeOf(context).view, entry)
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'ERR_PERMISSION_DENIED') return []
    throw error
  }
}

/** The caller's own token. */
export function self(context: HandlerContext): TokenEntry {
  if (!context.token) throw new HoldfastError('ERR_PERMISSION_DENIED', wellKnown.permissionDenied)
  return context.token
}

/** The token in the body. @throws 403 "bad token", as the peers word it, when it is not good. */
export async function named(context: HandlerContext, tokens: TokenStore): Promise<{ readonly entry: TokenEntry; readonly token: string }> {
  const token = text(context, 'token')
  if (token === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing token ID')
  const isSelf = token === context.request.token
  // One of another namespace is none here, whatever its holder may do there (CVE-2026-40264).
  const entry = isSelf ? self(context) : await tokens.lookup(scopeOf(context).view, token, [context.mount.namespaceId])
  if (!entry) throw new HoldfastError('ERR_PERMISSION_DENIED', 'bad token')
  return { entry, token }
}

/** The token of the accessor in the body. */
export async function byAccessor(context: HandlerContext, tokens: TokenStore): Promise<TokenEntry> {
  const accessor = text(context, 'accessor')
  if (accessor === '') throw new HoldfastError('ERR_BAD_REQUEST', 'missing accessor')
  const entry = await tokens.lookupAccessor(scopeOf(context).view, accessor, context.mount.namespaceId)
  if (!entry) throw new HoldfastError('ERR_PERMISSION_DENIED', 'invalid accessor')
  return entry
}
