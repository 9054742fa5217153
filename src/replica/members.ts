/** Changes of membership, as the leader carries them out: one at a time, learners first. */
import { sleep } from '#base/clock.ts'
import { HoldfastError, isHoldfastError } from '#base/errors.ts'
import { checkLevel, type FormatRange } from '#base/formats.ts'
import { membersOf } from '#raft/index.ts'
import { Role, type MembershipChange, type MembershipStep, type NodeId, type ProposeResult } from '#raft/types.ts'
import { encodeCommand } from './command.ts'
import { encodeUpdate, findMember, memberFrom, memberRow, type DirectoryUpdate } from './directory.ts'
import type { Driver } from './driver.ts'
import type { Member } from './types.ts'

export class Members {
  readonly #driver: Driver
  #promoting: NodeId | null = null
  /** The level that is being raised to. */
  #raising: number | null = null

  constructor(driver: Driver) {
    this.#driver = driver
  }

  async add(member: Member, formats?: FormatRange): Promise<void> {
    if (memberFrom(memberRow(member)) === null)
      throw refusedChange('expected a member with an id, addresses and a fingerprint of sensible length')
    const admit = (): void => this.#admit(member.id, formats)
    admit()
    const known = findMember(this.#driver.directory, member.id)
    if (known === undefined) return this.#change([{ kind: 'add-learner', node: member.id }], { put: member }, { admit })
    if (known.fingerprint !== member.fingerprint) {
      throw refusedChange(`node '${member.id}' is a member with another key`, 'a new disk means a new node id')
    }
    await this.update({ ...member, voter: member.voter || known.voter })
  }

  /** @throws ERR_MEMBERSHIP for an id that was removed; ERR_UPGRADE_REQUIRED for a release that can't read what the cluster writes. */
  #admit(id: NodeId, formats: FormatRange | undefined): void {
    const { directory } = this.#driver
    if (directory.removed.includes(id)) {
      throw refusedChange(`node '${id}' was removed: its id can't come back`, 'wipe the node and let it join under a new id')
    }
    if (formats !== undefined) checkLevel(Math.max(directory.level, this.#raising ?? 0), formats)
  }

  /** Replaces a member's record: its addresses, its key after a renewal, or what it is to become. */
  async update(member: Member): Promise<void> {
    const { directory, term, proposals, settings } = this.#driver
    if (findMember(directory, member.id) === undefined) throw unknownMember(member.id)
    const data = encodeCommand({ timeMs: 0, sections: [], directory: { put: member } }, this.#driver.directory.level)
    const result = await this.#retried(settings.membershipWaitMs, () => {
      // Removed meanwhile: the record would bring it back.
      if (findMember(this.#driver.directory, member.id) === undefined) throw unknownMember(member.id)
      return this.#driver.propose(term, data)
    })
    await proposals.add(result.index, result.term)
  }

  async remove(id: NodeId): Promise<void> {
    if (findMember(this.#driver.directory, id) === undefined) throw unknownMember(id)
    await this.#change([{ kind: 'remove', node: id }], { remove: id })
  }

  async setVoter(id: NodeId, voter: boolean): Promise<void> {
    const member = findMember(this.#driver.directory, id)
    if (member === undefined) throw unknownMember(id)
    // A learner that is to vote is only marked so: it is promoted once it has caught up, lest the quorum wait for it.
    if (voter) return this.update({ ...member, voter: true })
    await this.#change([{ kind: 'add-learner', node: id }], { put: { ...member, voter: false } })
  }

  /** Called now and then: what a leader does for its members by itself. */
  tend(): void {
    this.#promoteNext()
    this.#raiseLevel()
  }

  /** Raises the cluster's format level once every member understands a higher one. */
  #raiseLevel(): void {
    const { raft, role, term, directory, levels, proposals, options } = this.#driver
    if (role !== Role.leader || this.#raising !== null || this.#driver.formats.max <= directory.level) return
    const { ready, membership } = raft.status()
    if (!ready) return
    // As the core counts them, from the append on: a member whose entry is not applied yet will have to understand what follows it.
    const to = levels.next(directory.level, options.nodeId, membersOf(membership), options.clock.monotonicMs())
    if (to === null) return
    this.#raising = to
    // Written in the old level: whoever can't follow must be able to read that it can't.
    const data = encodeCommand({ timeMs: 0, sections: [], directory: { level: to } }, directory.level)
    const result = this.#driver.propose(term, data)
    const done = result.ok ? proposals.add(result.index, result.term) : Promise.reject(refusal(result))
    done
      .then(() => options.logger.info({ level: to }, 'format level raised: older releases can take no part any more'))
      .finally(() => (this.#raising = null))
      .catch((error: unknown) =>
        options.logger.debug({ level: to, reason: String(error) }, 'format level not raised, it will be tried again'),
      )
  }

  /** Promotes one learner that is to vote and has caught up. */
  #promoteNext(): void {
    const { raft, role, directory, settings, options } = this.#driver
    if (role !== Role.leader || this.#promoting !== null || !directory.members.some((member) => member.voter)) return
    const { peers, commit, ready } = raft.status()
    if (!ready) return
    // As applied, like the directory: the core's own counts from append on, and a demotion in between would look like a learner that is to vote.
    const { learners } = options.state.meta.membership
    const candidate = directory.members.find((member) => {
      const peer = member.voter && learners.includes(member.id) ? peers.find(({ id }) => id === member.id) : undefined
      return peer !== undefined && peer.state === 'replicate' && peer.recentActive && peer.match + settings.promoteLagMax >= commit
    })
    if (candidate === undefined) return
    this.#promoting = candidate.id
    // At once or not at all: what stands in the way may be its demotion or its removal.
    this.#change([{ kind: 'add-voter', node: candidate.id }], { put: candidate }, { waitMs: 0 })
      .then(() => options.logger.info({ member: candidate.id }, 'learner promoted to voter'))
      .finally(() => (this.#promoting = null))
      .catch((error: unknown) => {
        const level = isHoldfastError(error, 'ERR_BUSY') ? 'debug' : 'warn'
        options.logger[level]({ member: candidate.id, reason: String(error) }, 'promotion failed, it will be tried again')
      })
  }

  /** `admit` throws where the change is refused: asked at each try, since a new leader learns of what was decided before it only while it waits. */
  async #change(
    steps: readonly MembershipStep[],
    update: DirectoryUpdate,
    { waitMs, admit = () => {} }: { readonly waitMs?: number; readonly admit?: () => void } = {},
  ): Promise<void> {
    const { proposals, settings } = this.#driver
    const change: MembershipChange = { steps, joint: 'auto', context: encodeUpdate(update, this.#driver.directory.level) }
    const result = await this.#retried(waitMs ?? settings.membershipWaitMs, () => {
      admit()
      return this.#driver.proposeMembership(change)
    })
    await proposals.add(result.index, result.term)
  }

  /** Waits while another change, a transfer or the beginning of a term stands in the way. */
  async #retried(waitMs: number, propose: () => ProposeResult): Promise<ProposeResult & { ok: true }> {
    const { clock } = this.#driver.options
    const deadlineMs = clock.monotonicMs() + waitMs
    for (;;) {
      this.#driver.checkRunning()
      const result = propose()
      if (result.ok) return result
      if (result.reason === 'not-leader' || result.reason === 'wrong-term') throw refusal(result)
      if (result.reason === 'membership-invalid' || result.reason === 'membership-unheard') throw refusal(result)
      if (clock.monotonicMs() >= deadlineMs) throw refusal(result)
      await sleep(clock, this.#driver.settings.tickMs)
    }
  }
}

const unheardHint =
  'the cluster could commit nothing any more, not even to take it back: bring the silent members back, or remove those that are dead first'

/** Why the core did not take a proposal, as the caller's error. */
export function refusal(result: ProposeResult & { ok: false }): HoldfastError {
  switch (result.reason) {
    case 'too-much-uncommitted':
    case 'membership-pending':
      return new HoldfastError('ERR_BUSY', `too much in flight: ${result.detail}`, { hint: 'try again in a moment' })
    case 'too-large':
      return new HoldfastError('ERR_BODY_TOO_LARGE', `write too large: ${result.detail}`, { hint: 'write less at once' })
    case 'membership-invalid':
      return refusedChange(result.detail)
    case 'membership-unheard':
      return refusedChange(`the change would leave no majority: ${result.detail}`, unheardHint)
    case 'not-leader':
    case 'wrong-term':
    case 'transferring':
    case 'caretaker':
    case 'not-ready':
    case 'stopped':
      return new HoldfastError('ERR_NOT_LEADER', `this node does not take writes now: ${result.detail}`, { hint: 'send it to the leader' })
  }
}

function refusedChange(message: string, hint?: string): HoldfastError {
  return new HoldfastError('ERR_MEMBERSHIP', message, hint === undefined ? {} : { hint })
}

function unknownMember(id: NodeId): HoldfastError {
  return refusedChange(`expected a member, got '${id}', which is none`, 'see the list of members')
}
