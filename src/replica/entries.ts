/**
 * Membership changes as this room writes and reads them in the log: one of an unknown version stops it, where the core would only let it lie.
 *
 * The core's context begins with the change's MACs: version 1 | MAC 32 | MAC of the command or change before 32 | directory update. A change without
 * them is one that a leader made by itself, to leave a joint membership, or one that nobody signed.
 */
import { checkVersion, levelOf } from '#base/formats.ts'
import { decodeMembershipChange, encodeMembershipChange } from '#raft/index.ts'
import type { MembershipChange } from '#raft/types.ts'
import { macBytes } from './authenticator.ts'

/** The core's own format (raft/codec.ts), the same at every level so far. */
const version = 1
const macsVersion = 1
const macsBytes = 1 + 2 * macBytes

/** A membership entry, read. */
export interface SignedChange {
  /** Its context is the directory update alone. */
  readonly change: MembershipChange
  readonly macs: { readonly mac: Uint8Array; readonly prev: Uint8Array } | null
}

/**
 * The change that a membership entry carries; null when it is malformed, which changes nothing on every node alike.
 * @throws ERR_UPGRADE_REQUIRED for another version: another release would count other voters.
 */
export function membershipChangeIn(data: Uint8Array): MembershipChange | null {
  return signedChangeIn(data)?.change ?? null
}

/** As `membershipChangeIn`, with its MACs. */
export function signedChangeIn(data: Uint8Array): SignedChange | null {
  levelOf('membership change', version, data[0], { min: version, max: version })
  const change = decodeMembershipChange(data)
  if (change === null) return null
  const { context } = change
  // A list in msgpack begins with 0x9: an update that nobody signed.
  if (context.length > 0 && ((context[0] ?? 0) & 0xf0) !== 0x90) checkVersion('signed membership change', macsVersion, context[0])
  if (context[0] !== macsVersion || context.length < macsBytes) return { change, macs: null }
  const macs = { mac: context.slice(1, 1 + macBytes), prev: context.slice(1 + macBytes, macsBytes) }
  return { change: { ...change, context: context.subarray(macsBytes) }, macs }
}

/** What a change's MAC is over, beside its place in the log. `change` as `membershipChangeIn` gives it. */
export function signedChange(change: MembershipChange): Uint8Array[] {
  return [encodeMembershipChange(change)]
}

/** `change` as it is proposed once it is signed. */
export function withMacs(change: MembershipChange, mac: Uint8Array, prev: Uint8Array): MembershipChange {
  const context = new Uint8Array(macsBytes + change.context.length)
  context[0] = macsVersion
  context.set(mac, 1)
  context.set(prev, 1 + macBytes)
  context.set(change.context, macsBytes)
  return { ...change, context }
}
