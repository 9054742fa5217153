/** holdfast migrate: kv, policies, login methods and identities of another server, through its API, into this cluster. */
import type { Client } from '#client/client.ts'
import { trimSlashes } from '../../cli/common.ts'
import { exitCodes, RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'
import { systemClock } from '#base/clock.ts'
import { checkSides, sourceClient, sourceFlags } from './source.ts'
import { printReport } from './report.ts'
import { Account, runStages, type RunOptions } from './runner.ts'
import { stagesOf } from './stages.ts'
import { kinds, type Kind, type Sides } from './types.ts'

const atOnce = { least: 1, usual: 8, most: 32 } as const

function optionsOf({ flags, io }: CommandContext, account: Account): RunOptions {
  const parallel = flags.int('parallel') ?? atOnce.usual
  if (parallel < atOnce.least || parallel > atOnce.most) throw new UsageError(`-parallel expected ${atOnce.least} to ${atOnce.most}`)
  return {
    dryRun: flags.bool('dry-run'),
    overwrite: flags.bool('overwrite'),
    atOnce: parallel,
    progress: (stage) => {
      if (!io.stderrIsTty || account.looked % 20 !== 0) return
      io.err(`\r\u001b[K${stage}: looked at ${account.looked}, copied ${account.counts.copied}, failed ${account.counts.failed}`)
    },
  }
}

function kindsOf({ flags }: CommandContext): ReadonlySet<Kind> {
  const asked = flags.list('only').flatMap((one) => one.split(','))
  if (asked.length === 0) return new Set(kinds)
  return new Set(
    asked.map((one) => {
      const kind = kinds.find((known) => known === one)
      if (kind === undefined) throw new UsageError(`-only expected some of ${kinds.join(', ')}, got something else`)
      return kind
    }),
  )
}

function mountsOf({ flags }: CommandContext): ReadonlySet<string> | null {
  const asked = flags.list('mount').map(trimSlashes)
  return asked.length === 0 ? null : new Set(asked)
}

async function migrate(context: CommandContext): Promise<number> {
  const { io } = context
  const wanted = { kinds: kindsOf(context), mounts: mountsOf(context) }
  const account = new Account()
  const options = optionsOf(context, account)
  const to = (await context.client()).with({ wrapTtl: '' })
  const from = await sourceClient(context, to)
  try {
    await run({ from, to, nowMs: () => systemClock.nowMs() }, wanted, account, options, context)
  } finally {
    await from.close()
    if (io.stderrIsTty) io.err('\r\u001b[K')
  }
  return account.counts.conflict + account.counts.failed > 0 ? exitCodes.refused : exitCodes.ok
}

async function run(
  sides: Sides,
  wanted: Parameters<typeof stagesOf>[1],
  account: Account,
  options: RunOptions,
  context: CommandContext,
): Promise<void> {
  await checkSides(sides.from, sides.to)
  const stages = await stagesOf(sides, wanted)
  const missing = await missingMounts(sides.from, wanted.mounts)
  if (missing.length > 0) throw new RefusedError(`the source has no ${missing.join(', ')}`, 'login methods are named as auth/PATH')
  try {
    await runStages(stages, account, options)
  } catch (error) {
    await printReport(context.output, account, options.dryRun)
    context.output.note('stopped before its end; the same command again goes on where it stopped')
    throw error
  }
  await printReport(context.output, account, options.dryRun)
}

/** A mount that was mistyped must not look like one that has nothing in it. */
async function missingMounts(from: Client, asked: ReadonlySet<string> | null): Promise<readonly string[]> {
  if (asked === null) return []
  const { mountsOf: known } = await import('./mounts.ts')
  const [secrets, methods] = [await known(from, 'mounts'), await known(from, 'auth')]
  return [...asked].filter((path) => !secrets.has(path) && !(path.startsWith('auth/') && methods.has(path.slice('auth/'.length))))
}

export const migrateCommand: Command = {
  path: ['migrate'],
  sendsSeveral: true,
  synopsis: 'Copy secrets, policies, login methods and identities from Vault, OpenBao or another Holdfast',
  args: '',
  argsMin: 0,
  argsMax: 0,
  description:
    'Through the API of both: nothing is written to the source, and no value is printed. What the target has already, the same, is left; what it has otherwise is a conflict, ' +
    'left unless -overwrite is given, and the exit code is then 2. The same command again goes on where one stopped, and copies what the source has got since. ' +
    'What no API shows (passwords, secret ids, keys of engines, tokens) is named in the report, with what to do. docs/migrate.md has it step by step.',
  examples: [
    'holdfast migrate -from-address=https://vault:8200 -from-token-file=vault.token -dry-run',
    'holdfast migrate -from-address=https://vault:8200 -from-token-file=vault.token -only=kv,policies -mount=secret',
    'holdfast migrate -from-address=https://vault:8200 -from-token=- -from-namespace=team -namespace=team -format=json',
  ],
  flags: {
    ...sourceFlags,
    'dry-run': { type: 'bool', description: 'Read both sides, say what would be copied, and write nothing.' },
    overwrite: { type: 'bool', description: 'Where the target has something else: replace it, all versions of a secret included.' },
    only: { type: 'list', placeholder: 'KIND[,KIND...]', description: `Some of ${kinds.join(', ')}; all unless said.` },
    mount: { type: 'list', placeholder: 'PATH', description: 'Only this engine or method (auth/PATH); may be given several times.' },
    parallel: {
      type: 'int',
      placeholder: 'N',
      description: `Things copied at a time, ${atOnce.least} to ${atOnce.most} (default ${atOnce.usual}).`,
    },
  },
  run: migrate,
}
