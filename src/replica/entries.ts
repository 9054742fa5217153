/** Membership changes as this room reads them in the log: one of an unknown version stops it, where the core would only let it lie. */
import { levelOf } from '#base/formats.ts'
import { decodeMembershipChange } from '#raft/index.ts'
import type { MembershipChange } from '#raft/types.ts'

/** The core's own format (raft/codec.ts), the same at every level so far. */
const version = 1

/**
 * The change that a membership entry carries; null when it is malformed, which changes nothing on every node alike.
 * @throws ERR_UPGRADE_REQUIRED for another version: another release would count other voters.
 */
export function membershipChangeIn(data: Uint8Array): MembershipChange | null {
  levelOf('membership change', version, data[0], { min: version, max: version })
  return decodeMembershipChange(data)
}
