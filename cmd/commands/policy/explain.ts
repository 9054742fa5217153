/** policy explain: which rule decided, and why. From files, or by a server for the caller's own token. */
import { systemClock } from '#base/clock.ts'
import { parseDurationSeconds } from '#base/duration.ts'
import { call, firstArg, given } from '../../cli/common.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'
import { compileFor, explainHere, operations, parseNamed, policyNameOf, readPolicyFile, type Operation } from './situation.ts'
import { explanation, type Explained } from './wording.ts'

/** What only files can be asked: a server knows the caller. */
const offlineFlags = ['address-of-caller', 'token-ttl', 'at', 'sudo'] as const

async function explain(context: CommandContext): Promise<void> {
  const { flags } = context
  const operation = (flags.string('operation') ?? 'read') as Operation
  const explained = flags.list('policy').length > 0 ? fromFiles(context, operation) : await fromServer(context, operation)
  if (context.output.format === 'table') context.output.text(explanation(explained))
  else await context.output.rows([], explained)
}

function fromFiles(context: CommandContext, operation: Operation): Explained {
  const { flags, io } = context
  const files = flags.list('policy').flatMap((paths) => paths.split(','))
  const policies = files.map((path) => parseNamed(policyNameOf(path), readPolicyFile(io, path)))
  const ttl = flags.string('token-ttl')
  const nowMs = timeFlag(flags.string('at'))
  return explainHere(compileFor(policies, null, nowMs), firstArg(context), operation, {
    sudo: flags.bool('sudo'),
    parameters: flags.map('parameter') ?? {},
    limit: flags.string('limit'),
    wrapTtlSeconds: parseDurationSeconds(flags.string('wrapping-ttl') ?? 0, { what: '-wrapping-ttl' }),
    nowMs,
    clientAddress: flags.string('address-of-caller'),
    tokenTtlSeconds: ttl === undefined ? undefined : parseDurationSeconds(ttl, { what: '-token-ttl' }),
  })
}

function timeFlag(text: string | undefined): number {
  if (text === undefined) return systemClock.nowMs()
  const timeMs = Date.parse(text)
  if (Number.isNaN(timeMs)) throw new UsageError('-at expected a time, got something else', 'write it as 2026-11-23T09:00:00Z')
  return timeMs
}

async function fromServer(context: CommandContext, operation: Operation): Promise<Explained> {
  const { flags } = context
  const odd = offlineFlags.find((name) => flags.has(name))
  if (odd !== undefined) throw new UsageError(`-${odd} expected -policy beside it: a server knows the caller itself`)
  const body = given({
    path: firstArg(context),
    operation,
    parameters: flags.map('parameter'),
    wrap_ttl: flags.string('wrapping-ttl'),
    limit: flags.string('limit'),
  })
  const secret = await call(context, { method: 'POST', path: 'sys/policies/explain', body, idempotent: true })
  if (!secret?.data) throw new RefusedError('the server answered nothing')
  return secret.data as unknown as Explained
}

export const explainCommand: Command = {
  path: ['policy', 'explain'],
  synopsis: 'Say which rule decides a path, and why',
  args: 'PATH',
  argsMin: 1,
  argsMax: 1,
  description:
    'With -policy the policies of these files are asked, as those of one token; without it the server, about the token that asks. Whether anything lies at\n' +
    'the path is not looked at. A template in a path has no value here: rules with one are left out, unless a server answers.',
  examples: [
    'holdfast policy explain secret/data/app',
    'holdfast policy explain -policy=team.hcl,base.hcl -operation=update -parameter=role=dev secret/data/app',
    'holdfast policy explain -policy=team.hcl -at=2026-11-23T22:30:00Z -address-of-caller=10.0.0.7 secret/data/app',
  ],
  flags: {
    operation: { type: 'string', values: operations, description: 'What would be done there; default: read.' },
    policy: { type: 'list', placeholder: 'FILE,...', description: 'Policies to ask instead of a server; may be repeated.' },
    parameter: { type: 'map', placeholder: 'KEY=VALUE', description: 'A parameter of the request; may be repeated.' },
    limit: { type: 'string', placeholder: 'N', description: 'The page limit that a list would ask for.' },
    'wrapping-ttl': { type: 'string', placeholder: 'DURATION', description: 'The wrapping TTL that would be asked for.' },
    'address-of-caller': { type: 'string', placeholder: 'IP', description: 'With -policy: where the caller is, for source_cidrs.' },
    'token-ttl': { type: 'string', placeholder: 'DURATION', description: "With -policy: the token's lifetime, for max_token_ttl." },
    at: { type: 'string', placeholder: 'TIME', description: 'With -policy: when; default: now.' },
    sudo: { type: 'bool', description: 'With -policy: the path needs the sudo capability.' },
  },
  run: explain,
}
