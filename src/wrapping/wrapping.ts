/**
 * Response wrapping: an answer laid into the cubbyhole of a single-use token, so that whoever carries it can't read it unnoticed: unwrapping
 * works once, and a second try tells the rightful owner that somebody was there before.
 *
 * Pure storage over the caller's transaction; `section` is where cubbyholes lie.
 */
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { ReadView, Section, Transaction } from '#barrier/types.ts'
import { responseWrappingPolicyName } from '#policies/builtin.ts'
import type { TokenStore } from '#tokens/store.ts'
import type { TokenEntry } from '#tokens/types.ts'

export interface Wrapped {
  readonly token: string
  readonly accessor: string
  readonly ttl: number
  readonly creation_time: string
  readonly creation_path: string
  readonly wrapped_accessor?: string
}

export interface WrapInput {
  /** The whole answer as JSON. */
  readonly text: string
  readonly ttlSeconds: number
  readonly creationPath: string
  readonly wrappedAccessor?: string
}

export interface WrapFacts {
  readonly creation_path: string
  readonly creation_time: string
  readonly creation_ttl: number
}

interface Stored {
  readonly response: string
}

export interface Wrapping {
  /** Makes the token and lays the answer into its cubbyhole. @throws ERR_BODY_TOO_LARGE beyond one stored value. */
  wrap(transaction: Transaction, section: Section, input: WrapInput): Promise<Wrapped>
  /** The entry of a wrapping token of this namespace that was not used yet; null for anything else. */
  find(view: ReadView, token: string, namespaceId: string): Promise<TokenEntry | null>
  /** When and where it was made; null when its cubbyhole is empty. */
  facts(view: ReadView, section: Section, entry: TokenEntry): Promise<WrapFacts | null>
  /** The answer, once: the token and what it held are gone with the transaction. null when there is none. */
  unwrap(transaction: Transaction, section: Section, entry: TokenEntry): Promise<string | null>
}

const isWrapping = (entry: TokenEntry): boolean => entry.policies.length === 1 && entry.policies[0] === responseWrappingPolicyName

const read = async <T>(view: ReadView, section: Section, path: string): Promise<T | null> => {
  const bytes = await view.get(section, path)
  return bytes === null ? null : (JSON.parse(Buffer.from(bytes).toString('utf8')) as T)
}

const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

export function createWrapping({ tokens }: { readonly tokens: TokenStore }): Wrapping {
  return {
    async wrap(transaction, section, { text, ttlSeconds, creationPath, wrappedAccessor }) {
      const { token, entry } = await tokens.create(transaction, {
        parent: null,
        policies: [responseWrappingPolicyName],
        namespaceId: section.namespace,
        path: creationPath,
        displayName: '',
        ttlSeconds,
        explicitMaxTtlSeconds: ttlSeconds,
        numUses: 1,
        renewable: false,
      })
      const facts: WrapFacts = {
        creation_path: creationPath,
        creation_time: formatRfc3339(transaction.nowMs),
        creation_ttl: ttlSeconds,
      }
      transaction.put(section, `${entry.idHash}/response`, encode({ response: text } satisfies Stored))
      transaction.put(section, `${entry.idHash}/wrapinfo`, encode(facts))
      return {
        token,
        accessor: entry.accessor,
        ttl: ttlSeconds,
        creation_time: facts.creation_time,
        creation_path: creationPath,
        ...(wrappedAccessor === undefined ? {} : { wrapped_accessor: wrappedAccessor }),
      }
    },

    async find(view, token, namespaceId) {
      const entry = await tokens.lookup(view, token, [namespaceId])
      return entry && isWrapping(entry) ? entry : null
    },

    facts: (view, section, entry) => read<WrapFacts>(view, section, `${entry.idHash}/wrapinfo`),

    async unwrap(transaction, section, entry) {
      const stored = await read<Stored>(transaction, section, `${entry.idHash}/response`)
      transaction.delete(section, `${entry.idHash}/response`)
      transaction.delete(section, `${entry.idHash}/wrapinfo`)
      await tokens.revokeTree(transaction, entry)
      return stored?.response ?? null
    },
  }
}
