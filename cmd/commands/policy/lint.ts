/** policy lint: what is probably wrong with policies. */
import { systemClock } from '#base/clock.ts'
import { lintPolicies, type Finding } from '#policies/lint.ts'
import { exitCodes, type Command, type CommandContext } from '../../cli/types.ts'
import { readPolicyFile } from './situation.ts'

async function lint(context: CommandContext): Promise<number> {
  const texts = await Promise.all(
    context.args.map(async (path) => ({
      name: path,
      text: path === '-' ? await context.io.readStdin() : readPolicyFile(context.io, path),
    })),
  )
  const apart = context.flags.bool('apart')
  const nowMs = systemClock.nowMs()
  const findings = apart ? texts.flatMap((text) => lintPolicies([text], nowMs)) : lintPolicies(texts, nowMs)
  const errors = findings.filter(({ level }) => level === 'error').length
  if (context.output.format === 'table') print(context, findings, errors)
  else await context.output.rows([], { findings, errors, warnings: findings.length - errors })
  const fails = context.flags.bool('errors-only') ? errors > 0 : findings.length > 0
  return fails ? exitCodes.refused : exitCodes.ok
}

function print({ output }: CommandContext, findings: readonly Finding[], errors: number): void {
  for (const { policy, line, level, message, hint } of findings) {
    output.say(`${policy}:${line}: ${level}: ${message}`)
    if (hint !== undefined) output.say(`  hint: ${hint}`)
  }
  output.say(findings.length === 0 ? 'Nothing found.' : `${errors} error(s), ${findings.length - errors} warning(s)`)
}

export const lintCommand: Command = {
  path: ['policy', 'lint'],
  synopsis: 'Say what is probably wrong with policy files',
  args: 'FILE ... | -',
  argsMin: 1,
  argsMax: 256,
  local: true,
  description:
    'Unknown keys and capabilities; rules that can never match or never decide; words that do nothing; conditions that a wider rule undoes.\n' +
    'Several files are looked at together, as the policies of one token. Exit code 0: nothing found; 2: something was; 1: used wrongly.',
  examples: [
    'holdfast policy lint team.hcl',
    'holdfast policy lint -apart policies/*.hcl',
    'holdfast policy lint -format=json team.hcl base.hcl',
  ],
  flags: {
    apart: { type: 'bool', description: 'Look at each file alone: they are not for one token.' },
    'errors-only': { type: 'bool', description: 'Exit with 0 when there are only warnings.' },
  },
  run: lint,
}
