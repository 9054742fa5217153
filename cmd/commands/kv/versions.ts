/** kv undelete, destroy, enable-versioning. */
import { firstArg, printWritten, trimSlashes } from '../../cli/common.ts'
import { apiPath, historyCommand, kvPath, mountFlag, requireVersion2 } from '../../cli/kv-paths.ts'
import { UsageError, type Command, type CommandContext, type FlagSpec } from '../../cli/types.ts'
import { versionsOf } from './data.ts'

const flags: Readonly<Record<string, FlagSpec>> = {
  ...mountFlag,
  versions: { type: 'list', placeholder: 'N[,N...]', description: 'Which versions; needed.' },
}

const change =
  (kind: 'undelete' | 'destroy', done: string) =>
  async (context: CommandContext): Promise<void> => {
    const versions = versionsOf(context)
    if (versions.length === 0)
      throw new UsageError(
        `kv ${kind} expected -versions=N, got none`,
        `see which there are: ${historyCommand(context.flags, firstArg(context))}`,
      )
    const client = await context.client()
    const at = await kvPath(client, context.flags, firstArg(context))
    requireVersion2(at)
    await printWritten(context, await client.write(apiPath(at, kind), { versions }), `${done}: ${apiPath(at, kind)}`)
  }

export const kvVersionCommands: readonly Command[] = [
  {
    path: ['kv', 'undelete'],
    synopsis: 'Take back the deletion of versions',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast kv undelete -versions=3 secret/app'],
    flags,
    run: change('undelete', 'Data written to'),
  },
  {
    path: ['kv', 'destroy'],
    synopsis: 'Remove the data of versions for good',
    args: 'PATH',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast kv destroy -versions=1,2 secret/app'],
    flags,
    run: change('destroy', 'Data written to'),
  },
  {
    path: ['kv', 'enable-versioning'],
    synopsis: 'Make a version 1 engine keep versions from now on (for good)',
    args: 'MOUNT',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast kv enable-versioning secret'],
    run: async (context) => {
      const mount = trimSlashes(firstArg(context))
      const secret = await (await context.client()).write(`sys/mounts/${mount}/tune`, { options: { version: '2' } })
      await printWritten(context, secret, `Tuned the secrets engine at: ${mount}/`)
    },
  },
]
