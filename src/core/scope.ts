/**
 * What only the engines of the house may reach (sys, auth/token, wrapping): the whole view or transaction of a request.
 * Other engines see `context.storage`, their own corner, and never this: a rule of the linter can name the two importers.
 */
import { Attached } from '#base/attached.ts'
import { HoldfastError } from '#base/errors.ts'
import type { ReadView, Transaction } from '#barrier/types.ts'
import type { Namespace } from '#namespaces/record.ts'
import type { CallerFacts, CompiledAcl } from '#policies/types.ts'
import type { TokenEntry } from '#tokens/types.ts'
import type { MountTable } from './mounts.ts'
import type { EngineDef, HandlerContext, MountEntry, PathDef } from './types.ts'

export interface RequestScope {
  readonly view: ReadView
  /** null on paths that do not write. */
  readonly transaction: Transaction | null
  /** From the root namespace down to that of the request. */
  readonly line: readonly Namespace[]
  /** That of the request; `mounts` are its mounts, and what `acl` is asked lies below it. */
  readonly namespace: Namespace
  readonly mounts: MountTable
  /** Of another namespace: a token of one above may ask here. */
  readonly mountsOf: (namespaceId: string) => Promise<MountTable>
  /** The caller's policies; null without a token. */
  readonly acl: CompiledAcl | null
  /** Those of another token. @throws ERR_PERMISSION_DENIED for a token that is not good in this namespace. */
  readonly aclOf: (token: TokenEntry) => Promise<CompiledAcl>
  /** What `acl` asks about the caller. */
  readonly facts: CallerFacts
  /** The engine or login method of a mount; null when this build has none of its type. */
  readonly engineOf: (mount: MountEntry) => EngineDef | null
  /** What the table says of a path below the request's namespace, in whichever namespace it lies; null when nothing answers there. */
  readonly defAt: (path: string) => Promise<PathDef | null>
}

class Scoped extends Attached {
  readonly #scope: RequestScope
  constructor(context: HandlerContext, scope: RequestScope) {
    super(context)
    this.#scope = scope
  }
  static of(context: HandlerContext): RequestScope | null {
    return #scope in context ? (context as unknown as Scoped).#scope : null
  }
}

/** For the core only; once a context. */
export function bindScope(context: HandlerContext, scope: RequestScope): void {
  new Scoped(context, scope)
}

/** @throws ERR_INTERNAL on local and outside paths, which have no view. */
export function scopeOf(context: HandlerContext): RequestScope {
  const scope = Scoped.of(context)
  if (scope === null) throw new HoldfastError('ERR_INTERNAL', 'expected a path with a view, got a local or outside one')
  return scope
}

/** The transaction of a path whose table says that it writes. */
export function transactionOf(context: HandlerContext): Transaction {
  const { transaction } = scopeOf(context)
  if (!transaction) throw new HoldfastError('ERR_INTERNAL', 'expected a path that says it writes')
  return transaction
}
