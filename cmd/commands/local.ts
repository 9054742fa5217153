/** version and completion: what needs no server. */
import { holdfastVersion } from '#core/version.ts'
import { completionScript, completionShells } from '../cli/completion.ts'
import { nearest } from '#base/suggest.ts'
import { UsageError, type Command } from '../cli/types.ts'

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
]
