/** Join requests and answers as they come from the network, checked before anything believes their types. */
import { HoldfastError } from '#base/errors.ts'
import { rangeFrom, type FormatRange } from '#base/formats.ts'
import { parsePeerAddress } from './address.ts'
import type { JoinAnswer, JoinMember, JoinRequest } from './join.ts'

const textCharsMax = 8_192
const nodeIdCharsMax = 255
const membersMax = 1_024

/** @throws ERR_BAD_REQUEST, naming the field. */
export function parseJoinRequest(value: unknown): JoinRequest {
  const record = object(value, 'join request')
  const claim = {
    node_id: nodeId(record['node_id'], 'node_id'),
    csr: text(record['csr'], 'csr'),
    cluster_address: address(record['cluster_address'], 'cluster_address'),
    api_address: text(record['api_address'], 'api_address'),
    voter: flag(record['voter'], 'voter'),
    formats: formatsFrom(record['formats']),
    mac: text(record['mac'], 'mac'),
  }
  const hasToken = record['token_id'] !== undefined
  if (hasToken === (record['challenge'] !== undefined)) throw bad('token_id or challenge', 'exactly one of the two', 'both or none')
  return hasToken
    ? { ...claim, token_id: text(record['token_id'], 'token_id') }
    : { ...claim, challenge: text(record['challenge'], 'challenge') }
}

/** @throws ERR_BAD_REQUEST, naming the field. */
export function parseJoinAnswer(value: unknown): JoinAnswer {
  const record = object(value, 'join answer')
  const members = record['members']
  if (!Array.isArray(members) || members.length > membersMax) throw bad('members', `a list of at most ${membersMax}`, typeof members)
  const incarnation = record['incarnation']
  if (typeof incarnation !== 'number' || !Number.isSafeInteger(incarnation)) throw bad('incarnation', 'an integer', typeof incarnation)
  return {
    cluster_id: text(record['cluster_id'], 'cluster_id'),
    incarnation,
    ca_certificate: text(record['ca_certificate'], 'ca_certificate'),
    certificate: text(record['certificate'], 'certificate'),
    members: members.map(parseMember),
    mac: text(record['mac'], 'mac'),
  }
}

function parseMember(value: unknown): JoinMember {
  const record = object(value, 'member')
  return {
    id: nodeId(record['id'], 'member id'),
    cluster_address: address(record['cluster_address'], 'member cluster_address'),
    api_address: text(record['api_address'], 'member api_address'),
    fingerprint: text(record['fingerprint'], 'member fingerprint'),
    voter: flag(record['voter'], 'member voter'),
  }
}

function object(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(name, 'an object', typeof value)
  return value as Record<string, unknown>
}

function formatsFrom(value: unknown): FormatRange {
  const formats = rangeFrom(value)
  if (formats === null) throw bad('formats', 'a range of levels, min and max', typeof value)
  return formats
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string' || value === '') throw bad(name, 'a text', value === '' ? 'an empty one' : typeof value)
  if (value.length > textCharsMax) throw bad(name, `at most ${textCharsMax} characters`, String(value.length))
  return value
}

/** No control characters: node ids stand in logs, headers and tables. */
function nodeId(value: unknown, name: string): string {
  const id = text(value, name)
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  if (id.length > nodeIdCharsMax || /[\u0000-\u001f\u007f]/.test(id))
    throw bad(name, `at most ${nodeIdCharsMax} printable characters`, 'others')
  return id
}

function address(value: unknown, name: string): string {
  const clusterAddress = text(value, name)
  try {
    parsePeerAddress(clusterAddress)
  } catch {
    throw bad(name, 'host:port', 'another text')
  }
  return clusterAddress
}

function flag(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw bad(name, 'true or false', typeof value)
  return value
}

function bad(name: string, expected: string, got: string): HoldfastError {
  return new HoldfastError('ERR_BAD_REQUEST', `${name}: expected ${expected}, got ${got}`)
}
