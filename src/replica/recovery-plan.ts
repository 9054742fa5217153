/**
 * The list of members with which an operator goes on after a majority was lost for good: as the peers' `peers.json`, one object a member. It is an
 * operator's word, and stands above what log and state say of the members; so it is checked like any input.
 */
import { HoldfastError } from '#base/errors.ts'
import type { NodeId } from '#raft/types.ts'

/** Enough for eleven members with long names. */
const textCharactersMax = 65_536
const membersMax = 64
const idBytesMax = 255

export interface PlannedMember {
  readonly id: NodeId
  /** host:port of its node-to-node listener; null: as it was. */
  readonly clusterAddress: string | null
  readonly voter: boolean
}

export interface RecoveryPlan {
  /** In the order of the file: the first voter's log is the one that counts. */
  readonly members: readonly PlannedMember[]
}

/** Whose log counts: all others are filled from it. */
export function firstVoter({ members }: RecoveryPlan): NodeId {
  return members.find(({ voter }) => voter)?.id ?? ''
}

/** @throws ERR_MEMBERSHIP for whatever is not a list of members, each once, with at least one voter */
export function parseRecoveryPlan(text: string): RecoveryPlan {
  if (text.length > textCharactersMax) throw refused(`at most ${textCharactersMax} characters, got ${text.length}`)
  const rows = parse(text)
  if (!Array.isArray(rows) || rows.length === 0 || rows.length > membersMax) throw refused(`a list of 1 to ${membersMax} members`)
  const members = rows.map((row: unknown, at) => memberOf(row, at + 1))
  const twice = members.find(({ id }, at) => members.findIndex((other) => other.id === id) !== at)
  if (twice !== undefined) throw refused(`each member once, got '${twice.id}' twice`)
  const addresses = members.flatMap(({ clusterAddress }) => (clusterAddress === null ? [] : [clusterAddress]))
  if (new Set(addresses).size !== addresses.length) throw refused('an address of its own for each member, got one twice')
  if (!members.some(({ voter }) => voter)) throw refused('at least one voter, got none')
  return { members }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw refused('JSON, got something else')
  }
}

function memberOf(row: unknown, position: number): PlannedMember {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) throw refused(`an object as member ${position}`)
  const { id, address = null, non_voter: nonVoter = false, ...others } = row as Record<string, unknown>
  const strange = Object.keys(others)[0]
  if (strange !== undefined) throw refused(`id, address and non_voter as member ${position}, got '${strange.slice(0, 64)}' too`)
  if (typeof id !== 'string' || id === '' || Buffer.byteLength(id) > idBytesMax) throw refused(`an id as member ${position}`)
  if (address !== null && (typeof address !== 'string' || !isHostAndPort(address))) throw refused(`host:port as the address of '${id}'`)
  if (typeof nonVoter !== 'boolean') throw refused(`true or false as non_voter of '${id}'`)
  return { id, clusterAddress: address as string | null, voter: !nonVoter }
}

function isHostAndPort(text: string): boolean {
  const match = /^(?<host>[\w.-]{1,255}|\[[0-9a-fA-F:.]{2,45}\]):(?<port>\d{1,5})$/.exec(text)
  const port = Number(match?.groups?.['port'] ?? 0)
  return port >= 1 && port <= 65_535
}

function refused(expected: string): HoldfastError {
  return new HoldfastError('ERR_MEMBERSHIP', `peers.json: expected ${expected}`, {
    hint: 'for example [{"id": "node1", "address": "10.0.0.1:8201", "non_voter": false}]; see docs/recovery.md',
  })
}
