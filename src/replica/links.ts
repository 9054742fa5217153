/** Entries as links of the chain of commands: what each says of itself, whoever can check it. */
import { EntryType, type Entry } from '#raft/types.ts'
import { isProven, macBytes, macOf, type Authenticator, type Scope } from './authenticator.ts'
import { macsOf, signedParts } from './command.ts'
import { signedChange, signedChangeIn } from './entries.ts'

const noMac = new Uint8Array(macBytes)

/** What the first command of an initialisation names as the one before it: with it a chain begins. */
export const origin: Uint8Array = noMac

export interface Link {
  readonly mac: Uint8Array
  /** The MAC of the link before; `origin` in the first. */
  readonly prev: Uint8Array
  readonly statement: 'command' | 'membership'
  /** What the MAC is over, beside place and `prev`; null when there is nothing that could be signed. */
  readonly parts: readonly Uint8Array[] | null
}

/**
 * The link that `entry` is, or null for one that says nothing: empty, or leaving a joint membership with nothing beside, which any leader does by itself.
 * Total, but for membership changes of an unknown version. @throws ERR_UPGRADE_REQUIRED
 */
export function linkOf({ type, data }: Entry): Link | null {
  if (type === EntryType.command) return { ...macsOf(data), statement: 'command', parts: signedParts(data) }
  if (type !== EntryType.membership) return null
  const signed = signedChangeIn(data)
  // Malformed: it changes nothing, on any node.
  if (signed === null) return null
  const { change, macs } = signed
  const parts = signedChange(change)
  if (macs !== null) return { ...macs, statement: 'membership', parts }
  const silent = change.joint === 'leave' && change.steps.length === 0 && change.context.length === 0
  return silent ? null : { mac: noMac, prev: noMac, statement: 'membership', parts }
}

/** Was `link` made by a holder of the key, for this place in the log? Says nothing of what stands before it. */
export function isGenuine(link: Link, entry: Entry, authenticator: Authenticator, scope: Scope): boolean {
  if (link.parts === null) return false
  return isProven(authenticator, link.statement, scope, [entry.index, entry.term, link.prev, ...link.parts], link.mac)
}

/** The MAC of a link under way into the log. */
export function signLink(
  authenticator: Authenticator,
  scope: Scope,
  place: { readonly index: number; readonly term: number },
  link: Pick<Link, 'prev' | 'statement'> & { readonly parts: readonly Uint8Array[] },
): Uint8Array {
  return macOf(authenticator, link.statement, scope, [place.index, place.term, link.prev, ...link.parts])
}
