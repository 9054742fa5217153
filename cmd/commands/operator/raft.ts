/** operator raft: list-peers, verify, scrub, join, join-token, remove-peer, promote, demote. */
import { existsSync } from 'node:fs'
import { call, fieldFlag, firstArg, given, printWritten, readData } from '../../cli/common.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'

type Data = Readonly<Record<string, unknown>>

async function listPeers(context: CommandContext): Promise<void> {
  const data = await readData(context, 'sys/storage/raft/configuration')
  const servers = ((data['config'] as Data | undefined)?.['servers'] ?? []) as readonly Data[]
  const rows = servers.map((server) => [
    String(server['node_id']),
    String(server['address']),
    server['leader'] === true ? 'leader' : 'follower',
    String(server['voter']),
  ])
  await context.output.table(['Node', 'Address', 'State', 'Voter'], rows, data)
}

/** Exits with 2 where the members do not all agree. */
async function verify(context: CommandContext): Promise<void> {
  const data = await readData(context, 'sys/storage/raft/verify')
  const nodes = (data['nodes'] ?? []) as readonly Data[]
  const shown = (value: unknown): string => (value === null || value === undefined ? '-' : String(value as string | number | boolean))
  const rows = nodes.map((node) => {
    const scrub = node['last_scrub'] as Data | null
    const last = scrub ? `${shown(scrub['time'])} ${scrub['ok'] === true ? 'ok' : 'FAILED'}` : '-'
    const role = node['leader'] === true ? 'leader' : node['voter'] === true ? 'follower' : 'learner'
    return [shown(node['node_id']), role, shown(node['state']), shown(node['index']), shown(node['digest']), last]
  })
  await context.output.table(['Node', 'Role', 'State', 'Index', 'Digest', 'Last scrub'], rows, data)
  if (data['agree'] === true) return
  const names = nodes.filter((node) => node['agrees'] !== true).map((node) => `${shown(node['node_id'])} (${shown(node['state'])})`)
  throw new RefusedError(
    `expected the same state on every member, got another or none from: ${names.join(', ')}`,
    'a member that differs fetches its state again by itself; look at it once more in a minute',
  )
}

async function scrub(context: CommandContext): Promise<void> {
  await printWritten(
    context,
    await call(context, { method: 'POST', path: 'sys/storage/raft/scrub', body: {} }),
    'This node reads its state from the disk now; holdfast operator raft verify shows the result.',
  )
}

/** PEM text as it is, or the file that is named (with or without '@'). */
function pem(context: CommandContext, flag: string): string | undefined {
  const value = context.flags.string(flag)
  if (value === undefined || value.includes('-----BEGIN')) return value
  const path = value.replace(/^@/, '')
  if (!existsSync(path)) throw new UsageError(`-${flag} expected PEM text or a file, got neither`)
  return context.io.readFile(path)
}

async function join(context: CommandContext): Promise<void> {
  const [address] = context.args
  const asked = context.flags.string('join-token')
  const token = asked === '-' ? await context.io.readSecret('Join token (will be hidden)') : asked
  const body = given({
    leader_api_addr: address,
    token,
    leader_ca_cert: pem(context, 'leader-ca-cert'),
    leader_client_cert: pem(context, 'leader-client-cert'),
    leader_client_key: pem(context, 'leader-client-key'),
    leader_tls_servername: context.flags.string('leader-tls-server-name'),
    retry: context.flags.bool('retry') || undefined,
    non_voter: context.flags.bool('non-voter') || undefined,
  })
  const answer = await call(context, { method: 'POST', path: 'sys/storage/raft/join', body })
  const joined = answer?.['joined'] ?? answer?.data?.['joined']
  await context.output.rows([['Joined', joined]], { joined })
  if (joined === false)
    throw new RefusedError('the node has not joined yet', 'give it unseal keys, or a join token: holdfast operator raft join-token')
}

async function joinToken(context: CommandContext): Promise<void> {
  const body = given({ ttl: context.flags.string('ttl'), non_voter: context.flags.bool('non-voter') || undefined })
  const answer = await call(context, { method: 'POST', path: 'sys/storage/raft/join-token', body })
  if (!answer?.data) throw new RefusedError('the server answered no join token')
  await context.output.secret(answer)
}

async function joinTokens(context: CommandContext): Promise<void> {
  const answer = await call(context, { method: 'GET', path: 'sys/storage/raft/join-token', query: { list: 'true' } })
  const infos = Object.entries((answer?.data?.['key_info'] ?? {}) as Readonly<Record<string, Data>>)
  const rows = infos.map(([id, info]) => [id, String(info['expiration']), String(info['non_voter']), String(info['used'])])
  await context.output.table(['Id', 'Expires', 'Non-voter', 'Used'], rows, answer?.data ?? {})
}

async function revokeJoinToken(context: CommandContext): Promise<void> {
  const id = firstArg(context)
  const answered = await call(context, { method: 'DELETE', path: `sys/storage/raft/join-token/${id}` })
  await printWritten(context, answered, 'Nobody can join by this token any more.')
}

async function removePeer(context: CommandContext): Promise<void> {
  const node = firstArg(context)
  await printWritten(
    context,
    await call(context, { method: 'POST', path: 'sys/storage/raft/remove-peer', body: { server_id: node } }),
    `Removed node ${node}.`,
  )
}

async function setVoter(context: CommandContext, verb: 'promote' | 'demote'): Promise<void> {
  const node = firstArg(context)
  const answered = await call(context, { method: 'POST', path: `sys/storage/raft/${verb}`, body: { server_id: node } })
  const done = verb === 'promote' ? `Node ${node} votes as soon as it has caught up.` : `Node ${node} does not vote any more.`
  await printWritten(context, answered, done)
}

const file = (description: string) => ({ type: 'string', placeholder: 'PEM|FILE', description }) as const

export const raftCommands: readonly Command[] = [
  {
    path: ['operator', 'raft', 'list-peers'],
    synopsis: 'List the members',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast operator raft list-peers'],
    run: listPeers,
  },
  {
    path: ['operator', 'raft', 'verify'],
    synopsis: 'Compare the states of all members',
    args: '',
    argsMin: 0,
    argsMax: 0,
    description: 'Exits with 2 unless all members have the same state. A member that differs from a majority fetches its state again.',
    examples: ['holdfast operator raft verify'],
    run: verify,
  },
  {
    path: ['operator', 'raft', 'scrub'],
    synopsis: "Read a node's whole state from its disk, in the background",
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast operator raft scrub -address=https://node2:8200'],
    run: scrub,
  },
  {
    path: ['operator', 'raft', 'join'],
    synopsis: 'Make a new node join a cluster',
    args: '[LEADER_API_ADDRESS]',
    argsMin: 0,
    argsMax: 1,
    description: 'Run it against the new node (-address). Without a join token the node proves by its unseal keys that it may.',
    examples: ['holdfast operator raft join -address=https://node4:8200 -join-token=- https://node1:8200 < join-token'],
    flags: {
      'join-token': { type: 'string', placeholder: 'TOKEN|-', description: 'One-time token; "-" reads it from standard input.' },
      'leader-ca-cert': file("Authority of the leader's API certificate."),
      'leader-client-cert': file('Certificate to show to the leader.'),
      'leader-client-key': file('Its key.'),
      'leader-tls-server-name': { type: 'string', placeholder: 'NAME', description: "Name to expect in the leader's certificate." },
      retry: { type: 'bool', description: 'Go on trying.' },
      'non-voter': { type: 'bool', description: 'As a learner, which does not vote.' },
    },
    run: join,
  },
  {
    path: ['operator', 'raft', 'join-token'],
    synopsis: 'Make a one-time token with which a node may join',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast operator raft join-token -ttl=10m -field=token > join-token'],
    flags: {
      ...fieldFlag,
      ttl: { type: 'string', placeholder: 'DURATION', description: 'How long it is good for.' },
      'non-voter': { type: 'bool', description: 'For a learner.' },
    },
    run: joinToken,
  },
  {
    path: ['operator', 'raft', 'join-tokens'],
    synopsis: 'List the open join tokens, by id',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast operator raft join-tokens'],
    run: joinTokens,
  },
  {
    path: ['operator', 'raft', 'revoke-join-token'],
    synopsis: 'Revoke a join token',
    args: 'ID',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast operator raft revoke-join-token 2vJk8Q4hT0c'],
    run: revokeJoinToken,
  },
  {
    path: ['operator', 'raft', 'remove-peer'],
    synopsis: 'Remove a node from the cluster: it is cut off at once',
    args: 'NODE',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast operator raft remove-peer node3'],
    run: removePeer,
  },
  {
    path: ['operator', 'raft', 'promote'],
    synopsis: 'Make a learner a voter, once it has caught up',
    args: 'NODE',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast operator raft promote node4'],
    run: (context) => setVoter(context, 'promote'),
  },
  {
    path: ['operator', 'raft', 'demote'],
    synopsis: 'Make a voter a learner, which copies but does not vote',
    args: 'NODE',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast operator raft demote node4'],
    run: (context) => setVoter(context, 'demote'),
  },
]
