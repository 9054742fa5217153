/** What a login method and the core say to each other. A method checks who it is; the core makes the token. */
import type { TokenEntry } from '#tokens/types.ts'
import type { HandlerContext, MountEntry, MountStorage } from './types.ts'

/** What an account (a user, a role) says of the tokens of its logins: the `token_*` fields. Seconds; 0: the mount's own. */
export interface TokenParams {
  readonly policies: readonly string[]
  readonly ttlSeconds: number
  /** A login's token is not renewed beyond it. */
  readonly maxTtlSeconds: number
  readonly explicitMaxTtlSeconds: number
  readonly periodSeconds: number
  /** 0: without limit. */
  readonly numUses: number
  readonly boundCidrs: readonly string[]
  readonly noDefaultPolicy: boolean
  /** 'default': as the mount is tuned. */
  readonly type: 'default' | 'service' | 'batch'
}

/** A successful login. */
export interface Login {
  /** Who it is to identity; null: nobody that it should know. */
  readonly alias: {
    readonly name: string
    readonly metadata?: Readonly<Record<string, string>>
    /** Names of the groups that the method found it in. */
    readonly groups?: readonly string[]
  } | null
  /** For people: 'alice'. The mount's path is put before it. */
  readonly displayName: string
  /** Shown in lookups and in the audit. */
  readonly metadata: Readonly<Record<string, string>>
  readonly token: TokenParams
  /** Handed back at each renewal: the account's name and the like. Never a secret. */
  readonly internal?: Readonly<Record<string, string>>
  /** False: its token cannot be renewed. */
  readonly renewable?: boolean
}

export interface LoginDef {
  /**
   * The name that the request claims, from its fields, before anything is checked; the same for accounts that do not exist, and in one spelling where
   * the method knows several. null: it claims none.
   */
  readonly aliasOf: (context: HandlerContext) => string | null | Promise<string | null>
  /** Of a method that has roles: the name of the one that the request asks for, before anything is checked; null: none. Quotas may hold for one role. */
  readonly roleOf?: (context: HandlerContext) => string | null | Promise<string | null>
  /** Wrong credentials (ERR_BAD_CREDENTIALS) count, and lock the name for a while. */
  readonly lockout?: boolean
}

/** A token that a login made is to be renewed. */
export interface LoginRenewal {
  /** The method's own corner, in the renewal's transaction. */
  readonly storage: MountStorage
  readonly mount: MountEntry
  readonly token: TokenEntry
  /** What the login laid down as `internal`. */
  readonly internal: Readonly<Record<string, string>>
  readonly nowMs: number
  /** The renewal's own request: for `aside`. */
  readonly context: HandlerContext
}

/** What a method says at a renewal. */
export interface RenewedLogin extends TokenParams {
  /** Names of the groups that it is in now. Absent: the method did not look, and they stay as the login left them. */
  readonly groups?: readonly string[]
}
