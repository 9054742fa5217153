/**
 * `holdfast bench`: load on the server that is spoken to. The generator is that of `npm run bench` (bench/load), in a process of its own: what it costs is told
 * apart from what the server costs, and nothing that this command does slows it.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ClientOptions } from '#client/types.ts'
import type { Flags } from '../cli/args.ts'
import { type Command, type CommandContext, exitCodes, type FlagSpec, UsageError } from '../cli/types.ts'
import { Child, passSignals } from './run/child.ts'

const generator = fileURLToPath(new URL('../../bench/load/main.ts', import.meta.url))

/** Handed on as they are; their values are checked there. */
const handedOn: Readonly<Record<string, FlagSpec>> = {
  work: {
    type: 'string',
    placeholder: 'A,B',
    description:
      'What to do: kv-read, kv-write, kv-mixed, kv-list, token-create, token-lookup, login, login-password, cas, sizes. Default: kv-read,kv-write.',
  },
  connections: { type: 'string', placeholder: 'N[,N]', description: 'At once, 1 to 1,024; several: one after the other. Default 64.' },
  seconds: { type: 'string', placeholder: 'N', description: 'Measured in each turn; 5.' },
  turns: { type: 'string', placeholder: 'N', description: 'How often; 3.' },
  rate: {
    type: 'string',
    placeholder: 'N',
    description:
      'Requests a second, whatever the answers do, or N% of what the server answers without a rate. Default: as many as it answers.',
  },
  secrets: { type: 'string', placeholder: 'N', description: 'How many are read and written; 1,000.' },
  size: { type: 'string', placeholder: 'BYTES', description: 'Of each; 400.' },
  'policy-rules': { type: 'string', placeholder: 'N', description: 'Of the token that is measured; 20. 0: the token as given.' },
  compare: {
    type: 'string',
    placeholder: 'URL',
    description: 'Another server that speaks /v1, in turns with this one; its token: HOLDFAST_BENCH_COMPARE_TOKEN.',
  },
  json: { type: 'string', placeholder: 'FILE', description: 'Keeps the figures there.' },
}

async function bench(context: CommandContext): Promise<number> {
  const { options } = await context.client()
  refuseWhatItLacks(options)
  const token = typeof options.token === 'function' ? options.token() : options.token
  if (token === undefined) throw new UsageError('bench expected a token, got none', 'log in first: holdfast login')
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  try {
    const caPath = options.tls?.ca === undefined ? null : join(folder, 'ca.pem')
    if (caPath !== null) writeFileSync(caPath, options.tls?.ca ?? '')
    // The token not as an argument, which everybody on the machine can read. Started so that it takes away what it made when a signal ends it.
    const command = [process.execPath, generator, ...argumentsFor(options.addresses, caPath, context.flags)]
    const child = await Child.start(command, { ...(process.env as Record<string, string>), VAULT_TOKEN: token })
    using _ = passSignals(() => child)
    return (await child.ended).code === 0 ? exitCodes.ok : exitCodes.refused
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** @throws UsageError for what the generator can't do, sooner than with a refusal from the server that names something else. */
function refuseWhatItLacks({ namespace, tls }: ClientOptions): void {
  if (namespace !== undefined && namespace !== '')
    throw new UsageError(
      'bench expected the root namespace, got another',
      'leave out -namespace and VAULT_NAMESPACE: what is measured is the same there',
    )
  if (tls?.cert !== undefined || tls?.serverName !== undefined || tls?.skipVerify === true)
    throw new UsageError(
      'bench expected TLS by an authority alone, got a client certificate, another server name, or a switch that trusts everybody',
      'give the authority: -ca-cert=FILE',
    )
}

export function argumentsFor(addresses: readonly string[], caPath: string | null, flags: Pick<Flags, 'string'>): string[] {
  const given = Object.keys(handedOn).flatMap((name) => {
    const value = flags.string(name)
    return value === undefined ? [] : [`--${name}=${value}`]
  })
  return [`--address=${addresses.join(',')}`, ...(caPath === null ? [] : [`--ca=${caPath}`]), ...given]
}

export const benchCommand: Command = {
  path: ['bench'],
  sendsSeveral: true,
  synopsis: 'Put load on the server, and say what it answers and how fast',
  args: '',
  argsMin: 0,
  argsMax: 0,
  description:
    'Makes a mount, a policy and a token named bench-..., and removes them. The token must be able to do so. With several addresses, connections are dealt to them in turn. ' +
    'More of it, and clusters that it starts itself: npm run bench -- --help.',
  examples: [
    'holdfast bench',
    'holdfast bench -work=kv-mixed -connections=16,64,256 -seconds=10 -json=figures.json',
    'holdfast bench -rate=500 -work=kv-write',
  ],
  flags: handedOn,
  run: bench,
}
