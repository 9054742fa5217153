/** version and completion: what needs no server, and what the scripts of completion ask of one. */
import { holdfastVersion } from '#core/version.ts'
import { systemClock } from '#base/clock.ts'
import { systemRandom } from '#base/random.ts'
import { findCommand, parseArgs } from '../cli/args.ts'
import { kindOf, offers } from '../cli/complete-values.ts'
import { completionScript, completionShells } from '../cli/completion.ts'
import { allFlags, unionFlags } from '../cli/help.ts'
import { clientOptions } from '../cli/settings.ts'
import { nearest } from '#base/suggest.ts'
import { UsageError, type Command, type CommandContext } from '../cli/types.ts'

/** Somebody waits with a finger on the key. */
const completionMsMax = 1_500

/** What may stand at the last of the words; empty where it is nothing of the server's, or the server does not tell in time. Never throws. */
async function valuesFor({ args, commands, io }: CommandContext): Promise<string[]> {
  try {
    const typed = args.at(-1) ?? ''
    const found = findCommand(args.slice(0, -1), commands, unionFlags(commands))
    if (!('command' in found) || found.command.local === true) return []
    const parsed = parseArgs(found.rest, allFlags(found.command))
    const kind = kindOf(found.command.path, parsed.args.length)
    // Standard input is the shell's.
    if (kind === null || parsed.flags.string('token') === '-') return []
    const { Client } = await import('#client/client.ts')
    const options = { ...(await clientOptions(parsed.flags, io)), timeoutMs: completionMsMax, retriesMax: 0 }
    const client = new Client(options, { clock: systemClock, random: systemRandom })
    try {
      return await offers(client, kind, typed)
    } finally {
      await client.close()
    }
  } catch {
    return []
  }
}

export const localCommands: readonly Command[] = [
  {
    path: ['version'],
    synopsis: 'Print the version',
    args: '',
    argsMin: 0,
    argsMax: 0,
    local: true,
    examples: ['holdfast version'],
    run: async ({ output }) => {
      await (output.format === 'table' ? output.text(`Holdfast v${holdfastVersion}\n`) : output.rows([], { version: holdfastVersion }))
    },
  },
  {
    path: ['completion'],
    synopsis: 'Print a completion script for a shell',
    args: completionShells.join('|'),
    argsMin: 1,
    argsMax: 1,
    local: true,
    examples: ['source <(holdfast completion bash)', 'holdfast completion fish | source'],
    run: async ({ args, commands, output }) => {
      const asked = args[0] ?? ''
      const shell = completionShells.find((one) => one === asked)
      if (shell !== undefined) return output.text(completionScript(shell, commands))
      const near = nearest(asked, completionShells)
      throw new UsageError(`completion expected one of ${completionShells.join(', ')}`, near === null ? undefined : `did you mean ${near}?`)
    },
  },
  {
    path: ['complete'],
    synopsis: 'Print what may stand at the cursor: asked by the scripts of completion',
    args: '-- WORD ...',
    argsMin: 1,
    argsMax: Infinity,
    local: true,
    description:
      'The words of a command line, the last of them as far as it is typed. Mounts, policies, roles, namespaces, members and paths of secrets are asked of the ' +
      'server, with your token; what has other characters than letters, digits and . / @ + ~ _ - is left out.',
    examples: ['holdfast complete -- kv get secret/da'],
    run: async (context) => {
      for (const value of await valuesFor(context)) context.io.out(`${value}\n`)
    },
  },
]
