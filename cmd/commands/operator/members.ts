/**
 * `operator members`: the cluster at a glance. Who belongs to it is asked of the cluster; whether each is sealed and how far it has
 * applied is asked of each by itself, since only it knows.
 */
import type { Client } from '#client/client.ts'
import { ApiError } from '#client/errors.ts'
import { paintOf, type Paint } from '../../cli/colors.ts'
import { readData } from '../../cli/common.ts'
import { RefusedError, type Command, type CommandContext } from '../../cli/types.ts'

type Data = Readonly<Record<string, unknown>>
const probeMsMax = 2_000

export interface Member {
  readonly node: string
  readonly role: 'leader' | 'follower' | 'learner'
  readonly address: string
  readonly cluster_address: string
  readonly sealed: boolean | null
  readonly applied_index: number | null
  /** Entries between the furthest commit that any node reports and what this one has applied. */
  readonly applied_lag: number | null
  /** The format levels that its release understands, as the leader last heard. */
  readonly format_levels: string | null
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const hostPort = (address: string): string => address.replace(/^[a-z]+:\/\//, '').replace(/\/.*$/, '')

async function probe(
  context: CommandContext,
  address: string,
): Promise<{ sealed: boolean | null; applied: number | null; committed: number }> {
  const unknown = { sealed: null, applied: null, committed: 0 }
  if (address === '') return unknown
  const { Client: Made } = await import('#client/client.ts')
  const { systemClock } = await import('#base/clock.ts')
  const { systemRandom } = await import('#base/random.ts')
  const { tls = {} } = (await context.client()).options
  // Without a token: these routes need none, and the address came from an answer, not from the user.
  const client = new Made({ addresses: [address], tls, timeoutMs: probeMsMax, retriesMax: 0 }, { clock: systemClock, random: systemRandom })
  try {
    const [seal, leader] = await Promise.all(
      ['sys/seal-status', 'sys/leader'].map(async (path) => (await client.raw({ method: 'GET', path, retry: false })).json),
    )
    const applied = leader?.['raft_applied_index']
    return {
      sealed: typeof seal?.['sealed'] === 'boolean' ? seal['sealed'] : null,
      applied: typeof applied === 'number' ? applied : null,
      committed: Number(leader?.['raft_committed_index'] ?? 0),
    }
  } catch {
    return unknown // It does not answer: that is what the table says of it.
  } finally {
    await client.close()
  }
}

async function apiAddresses(client: Client): Promise<readonly { names: readonly string[]; api: string }[]> {
  const answer = await client.raw({ method: 'GET', path: 'sys/ha-status' })
  const nodes = (answer.json?.data?.['nodes'] ?? answer.json?.['nodes'] ?? []) as readonly Data[]
  return nodes.map((node) => ({
    names: [text(node['hostname']), text(node['node_id']), hostPort(text(node['cluster_address']))],
    api: text(node['api_address']),
  }))
}

function levelsOf(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null
  const { min, max } = value as Data
  return min === max ? String(min) : `${String(min)}-${String(max)}`
}

/** @throws RefusedError that leads elsewhere when nobody leads: the server's own hint would lead back to this command. */
async function configurationOf(context: CommandContext): Promise<Data> {
  try {
    return await readData(context, 'sys/storage/raft/configuration')
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 503) throw error
    throw new RefusedError(
      `the cluster could not say who belongs to it: ${error.message}`,
      'with nobody leading each node is asked by itself: holdfast status -address=URL',
    )
  }
}

async function membersOf(context: CommandContext): Promise<readonly Member[]> {
  const data = await configurationOf(context)
  const servers = ((data['config'] as Data | undefined)?.['servers'] ?? []) as readonly Data[]
  const addresses = await apiAddresses(await context.client())
  const seen = await Promise.all(
    servers.map(async (server) => {
      const cluster = text(server['address'])
      const names = [text(server['node_id']), hostPort(cluster)]
      const api =
        text(server['api_address']) || (addresses.find((node) => node.names.some((name) => name !== '' && names.includes(name)))?.api ?? '')
      return { server, cluster, api, probed: await probe(context, api) }
    }),
  )
  const committed = Math.max(0, ...seen.map(({ probed }) => probed.committed))
  return seen.map(({ server, cluster, api, probed }) => ({
    node: text(server['node_id']),
    role: server['leader'] === true ? 'leader' : server['voter'] === false ? 'learner' : 'follower',
    address: api,
    cluster_address: cluster,
    sealed: probed.sealed,
    applied_index: probed.applied,
    format_levels: levelsOf(server['format_levels']),
    applied_lag: probed.applied === null ? null : Math.max(0, committed - probed.applied),
  }))
}

/** Beyond this many entries a member is said to lag: a heartbeat's worth is nothing to speak of. */
const lagShownMin = 100

/** Who leads, who lags, who is sealed, who is silent: one line. */
export function glance(members: readonly Member[], paint: Paint): string {
  const names = (some: readonly Member[]): string => some.map(({ node }) => node).join(', ')
  const leader = members.find(({ role }) => role === 'leader')
  const sealed = members.filter((member) => member.sealed === true)
  const silent = members.filter((member) => member.sealed === null)
  const lagging = members.filter(({ applied_lag: lag }) => lag !== null && lag >= lagShownMin)
  const parts = [
    leader === undefined ? paint('red', 'nobody leads') : `${paint('green', leader.node)} leads`,
    ...(sealed.length === 0 ? [] : [paint('red', `sealed: ${names(sealed)}`)]),
    ...(silent.length === 0 ? [] : [paint('red', `no answer: ${names(silent)}`)]),
    ...(lagging.length === 0 ? [] : [paint('yellow', `lagging: ${names(lagging)}`)]),
  ]
  const fine = sealed.length + silent.length + lagging.length === 0 && leader !== undefined
  return `${members.length} node(s): ${parts.join('; ')}${fine ? '; all open and up to date' : ''}`
}

export const membersCommand: Command = {
  path: ['operator', 'members'],
  sendsSeveral: true,
  synopsis: 'Show the nodes of the cluster: role, seal, lag, address',
  args: '',
  argsMin: 0,
  argsMax: 0,
  examples: ['holdfast operator members', 'holdfast operator members -format=json'],
  run: async (context) => {
    const members = await membersOf(context)
    await context.output.table(
      ['Node', 'Role', 'Sealed', 'Applied Lag', 'Address', 'Cluster Address', 'Formats'],
      members.map((member) => [
        member.node,
        member.role,
        member.sealed === null ? 'no answer' : String(member.sealed),
        member.applied_lag === null ? 'unknown' : String(member.applied_lag),
        member.address || 'unknown',
        member.cluster_address,
        member.format_levels ?? 'unknown',
      ]),
      members,
    )
    // For people: which program reads it must not find a line more some day.
    if (context.output.format === 'table' && context.io.stdoutIsTty) context.output.text(`\n${glance(members, paintOf(context.io))}\n`)
  },
}
