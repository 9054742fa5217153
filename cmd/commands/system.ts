/** What the server can do besides, a row each: quotas, roles, password policies, levels of the log, locked names, tools. */
import { simpleCommand, type Simple } from '../cli/simple.ts'
import type { Command, FlagSpec } from '../cli/types.ts'

/** list, read, write, delete of things that have a name. */
function named(family: string, thing: string, api: string, example: string): readonly Simple[] {
  return [
    { name: `${family} list`, synopsis: `List the ${thing}s`, method: 'LIST', api, examples: [`holdfast ${family} list`] },
    {
      name: `${family} read`,
      synopsis: `Show a ${thing}`,
      args: 'NAME',
      method: 'GET',
      api: `${api}/{NAME}`,
      examples: [`holdfast ${family} read ${example.split(' ')[0]}`],
    },
    {
      name: `${family} write`,
      synopsis: `Make or change a ${thing}`,
      description: `Its fields: holdfast path-help ${api}/x`,
      args: 'NAME',
      pairs: true,
      method: 'POST',
      api: `${api}/{NAME}`,
      examples: [`holdfast ${family} write ${example}`],
      done: `Wrote the ${thing}.`,
    },
    {
      name: `${family} delete`,
      synopsis: `Delete a ${thing}`,
      args: 'NAME',
      method: 'DELETE',
      api: `${api}/{NAME}`,
      examples: [`holdfast ${family} delete ${example.split(' ')[0]}`],
      done: `Deleted the ${thing} (if it existed).`,
    },
  ]
}

const levels = ['trace', 'debug', 'info', 'warn', 'error'] as const
const levelFlag: Readonly<Record<string, FlagSpec>> = {
  level: { type: 'string', values: levels, description: 'From which level on lines are written.' },
}

const rows: readonly Simple[] = [
  ...named('quota rate-limit', 'rate limit', 'sys/quotas/rate-limit', 'global rate=1000'),
  ...named('quota lease-count', 'lease count', 'sys/quotas/lease-count', 'db path=database/ max_leases=500'),
  ...named('token role', 'role of tokens', 'auth/token/roles', 'ci allowed_policies=ci orphan=true token_period=24h'),
  ...named('password-policy', 'password policy', 'sys/policies/password', 'long policy=@long.hcl'),
  {
    name: 'password-policy generate',
    synopsis: 'Make a password by a policy',
    args: 'NAME',
    method: 'GET',
    api: 'sys/policies/password/{NAME}/generate',
    examples: ['holdfast password-policy generate -field=password long'],
  },
  {
    name: 'token accessors',
    synopsis: 'List the accessors of all tokens; needs sudo',
    method: 'LIST',
    api: 'auth/token/accessors',
    examples: ['holdfast token accessors'],
  },
  {
    name: 'token tidy',
    synopsis: 'Remove what ended tokens have left behind',
    method: 'POST',
    api: 'auth/token/tidy',
    examples: ['holdfast token tidy'],
    done: 'Tidying the tokens.',
  },
  {
    name: 'lease count',
    synopsis: 'Count the leases that could not be taken back, by mount',
    method: 'GET',
    api: 'sys/leases/count',
    query: { type: 'irrevocable' },
    examples: ['holdfast lease count -field=lease_count'],
  },
  {
    name: 'lease irrevocable',
    synopsis: 'Show the leases that could not be taken back, and why',
    method: 'GET',
    api: 'sys/leases',
    query: { type: 'irrevocable' },
    examples: ['holdfast lease irrevocable -format=json'],
  },
  {
    name: 'lease tidy',
    synopsis: 'Remove what ended leases have left behind',
    method: 'POST',
    api: 'sys/leases/tidy',
    examples: ['holdfast lease tidy'],
    done: 'Tidying the leases.',
  },
  {
    name: 'operator host-info',
    synopsis: 'Show the machine of a node',
    method: 'GET',
    api: 'sys/host-info',
    examples: ['holdfast operator host-info'],
  },
  {
    name: 'operator in-flight',
    synopsis: 'Show the requests that a node is answering now',
    method: 'GET',
    api: 'sys/in-flight-req',
    examples: ['holdfast operator in-flight -address=https://node2:8200'],
  },
  {
    name: 'operator config',
    synopsis: "Show a node's configuration, without its secrets",
    method: 'GET',
    api: 'sys/config/state/sanitized',
    examples: ['holdfast operator config -format=yaml'],
  },
  {
    name: 'operator version-history',
    synopsis: 'Show the versions that the cluster has run',
    method: 'LIST',
    api: 'sys/version-history',
    examples: ['holdfast operator version-history'],
  },
  {
    name: 'operator log-level read',
    synopsis: 'Show the levels of the log',
    method: 'GET',
    api: 'sys/loggers',
    examples: ['holdfast operator log-level read'],
  },
  {
    name: 'operator log-level set',
    synopsis: 'Change the level of the log of a node, until it is restarted',
    method: 'POST',
    api: 'sys/loggers',
    flags: levelFlag,
    examples: ['holdfast operator log-level set -level=debug'],
    done: 'Changed the level of the log.',
  },
  {
    name: 'operator log-level reset',
    synopsis: 'Take back the level that the configuration says',
    method: 'DELETE',
    api: 'sys/loggers',
    examples: ['holdfast operator log-level reset'],
    done: 'The level is as the configuration says.',
  },
  {
    name: 'operator locked-users',
    synopsis: 'Show the names that are locked after wrong logins',
    method: 'GET',
    api: 'sys/locked-users',
    examples: ['holdfast operator locked-users'],
  },
  {
    name: 'operator unlock-user',
    synopsis: 'Let a locked name try again',
    args: 'ACCESSOR NAME',
    method: 'POST',
    api: 'sys/locked-users/{ACCESSOR}/unlock/{NAME}',
    examples: ['holdfast operator unlock-user auth_userpass_1a2b3c4d alice'],
    done: 'It may try again (if it was locked).',
  },
  {
    name: 'tools random',
    synopsis: 'Random bytes from the server',
    args: 'BYTES',
    method: 'POST',
    api: 'sys/tools/random/{BYTES}',
    pairs: true,
    examples: ['holdfast tools random -field=random_bytes 32', 'holdfast tools random 32 format=hex'],
  },
  {
    name: 'plugin list',
    synopsis: 'List what is built in: engines and login methods',
    method: 'GET',
    api: 'sys/plugins/catalog',
    examples: ['holdfast plugin list'],
  },
]

export const systemCommands: readonly Command[] = rows.map(simpleCommand)
