/**
 * Who the members are, kept a second time, beside log and state: a node that lost its state knows from here whom to ask for it, and how the votes are
 * counted meanwhile. Changed before the state is, at each change of members, so that it is never older than where the log begins: compaction
 * stops at what is applied.
 */
import { join } from 'node:path'
import { Packr } from 'msgpackr'
import { isHoldfastError } from '#base/errors.ts'
import { checkVersion } from '#base/formats.ts'
import type { Membership } from '#raft/types.ts'
import type { Disk } from '#store/disk.ts'
import { storeFailed } from '#store/errors.ts'
import { openSlots, type Slots } from '#store/slots.ts'
import { memberFrom, memberRow } from './directory.ts'
import type { Member } from './types.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })
const formatVersion = 1

const name = 'members'

export interface Kept {
  /** The membership is that of this applied index. */
  readonly index: number
  readonly membership: Membership
  readonly members: readonly Member[]
}

export class Keepsake {
  readonly #slots: Slots
  #kept: Kept | null

  /** Takes over `slots`; what can't be read there counts as nothing. @throws ERR_UPGRADE_REQUIRED for what another release wrote */
  constructor(slots: Slots) {
    this.#slots = slots
    this.#kept = slots.current === null ? null : decode(slots.current.payload)
  }

  get kept(): Kept | null {
    return this.#kept
  }

  /** Makes `kept` durable, unless the same members are there already. @throws ERR_STORE_FAILED */
  async keep(kept: Kept): Promise<void> {
    const old = this.#kept
    if (old !== null && same(old.membership, kept.membership) && same(old.members, kept.members)) return
    await this.#slots.write(encode(kept))
    this.#kept = kept
  }
}

/** Is there somebody else who may have the state? */
export function namesOthers({ members }: Kept, self: string): boolean {
  return members.some(({ id }) => id !== self)
}

/** As `namesOthers`, of what lies in `slots`. @throws ERR_UPGRADE_REQUIRED */
export function keptOthers(slots: Slots, self: string): boolean {
  const { kept } = new Keepsake(slots)
  return kept !== null && namesOthers(kept, self)
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function encode({ index, membership, members }: Kept): Uint8Array {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = membership
  return packr.pack([
    formatVersion,
    index,
    [voters, votersOutgoing, learners, learnersNext, autoLeave],
    members.map((each) => memberRow(each)),
  ])
}

function decode(payload: Uint8Array): Kept | null {
  let record: unknown[]
  try {
    record = packr.unpack(payload) as unknown[]
  } catch {
    return null
  }
  if (!Array.isArray(record) || !checkVersion('members, kept', formatVersion, record[0])) return null
  try {
    const [, index, row, rows] = record
    if (typeof index !== 'number' || !Array.isArray(row) || !Array.isArray(rows)) return null
    const [voters, votersOutgoing, learners, learnersNext, autoLeave] = row as [string[], string[], string[], string[], boolean]
    const members = rows.map((each) => memberFrom(each)).filter((member) => member !== null)
    return { index, membership: { voters, votersOutgoing, learners, learnersNext, autoLeave }, members }
  } catch {
    return null
  }
}

/**
 * Opens what is kept in `directory`. What can't be read is thrown away: it is a second copy, and its loss must not keep a node from starting.
 * @throws ERR_STORE_FAILED
 */
export async function openKeepsake(disk: Disk, directory: string): Promise<Slots> {
  try {
    return await openSlots(disk, directory, name)
  } catch (error) {
    if (!isHoldfastError(error, 'ERR_STORE_CORRUPT'))
      throw isHoldfastError(error) ? error : storeFailed(`${name}: could not be opened`, error)
  }
  try {
    for (const slot of [0, 1]) await disk.rm(join(directory, `${name}.${slot}`), { force: true })
    return await openSlots(disk, directory, name)
  } catch (error) {
    throw isHoldfastError(error) ? error : storeFailed(`${name}: could not be opened`, error)
  }
}
