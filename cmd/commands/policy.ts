/** policy list, read, write, delete, fmt; the rest of `policy` is in policy/. */
import { renameSync, writeFileSync } from 'node:fs'
import { parseHcl } from '#base/hcl.ts'
import { firstArg, printWritten, readData, trimSlashes } from '../cli/common.ts'
import { formatHcl } from '../cli/hcl-format.ts'
import { exitCodes, RefusedError, UsageError, type Command, type CommandContext } from '../cli/types.ts'
import { explainCommand } from './policy/explain.ts'
import { lintCommand } from './policy/lint.ts'
import { testCommand } from './policy/test.ts'

const pathOf = (context: CommandContext): string => `sys/policies/acl/${trimSlashes(firstArg(context)).toLowerCase()}`

async function list(context: CommandContext): Promise<void> {
  const keys = (await (await context.client()).list('sys/policies/acl'))?.data?.['keys']
  if (!Array.isArray(keys)) throw new RefusedError('no policies found')
  const names = keys.map(String)
  if (context.output.format === 'table') context.output.text(names.map((name) => `${name}\n`).join(''))
  else await context.output.list(names)
}

async function read(context: CommandContext): Promise<void> {
  const data = await readData(context, pathOf(context))
  const policy = data['policy']
  if (context.output.format === 'table') context.output.text(`${String(policy).trimEnd()}\n`)
  else await context.output.rows([], { policy })
}

async function write(context: CommandContext): Promise<void> {
  const [, source = ''] = context.args
  const policy = source === '-' ? await context.io.readStdin() : context.io.readFile(source.replace(/^@/, ''))
  if (policy.trim() === '') throw new UsageError('the policy is empty', source === '-' ? 'it is read from standard input' : undefined)
  const secret = await (await context.client()).write(pathOf(context), { policy })
  await printWritten(context, secret, `Uploaded policy: ${trimSlashes(firstArg(context)).toLowerCase()}`)
}

async function remove(context: CommandContext): Promise<void> {
  const secret = await (await context.client()).delete(pathOf(context))
  await printWritten(context, secret, `Deleted policy: ${trimSlashes(firstArg(context)).toLowerCase()}`)
}

async function format(context: CommandContext): Promise<number> {
  const path = firstArg(context)
  const text = path === '-' ? await context.io.readStdin() : context.io.readFile(path)
  // First, so that a file that means nothing is left alone and its fault is named with its line.
  parseHcl(text)
  const formatted = formatHcl(text)
  const json = /^\s*\{/.test(text)
  if (context.flags.bool('check')) return check(context, path, formatted === text || json)
  if (path === '-') context.output.text(formatted)
  else if (json) {
    throw new RefusedError(`${path} expected HCL, got JSON`, `to have it as HCL: holdfast policy fmt - < ${path}`)
  } else {
    if (formatted !== text) {
      writeFileSync(`${path}.new`, formatted)
      renameSync(`${path}.new`, path)
    }
    context.output.say(`Success! Formatted policy: ${path}`)
  }
  return exitCodes.ok
}

function check({ output }: CommandContext, path: string, canonical: boolean): number {
  if (!canonical) output.say(`${path} is not in its canonical form`)
  return canonical ? exitCodes.ok : exitCodes.refused
}

export const policyCommands: readonly Command[] = [
  {
    path: ['policy', 'list'],
    synopsis: 'List the policies',
    args: '',
    argsMin: 0,
    argsMax: 0,
    examples: ['holdfast policy list'],
    run: list,
  },
  {
    path: ['policy', 'read'],
    synopsis: 'Print a policy',
    args: 'NAME',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast policy read team'],
    run: read,
  },
  {
    path: ['policy', 'write'],
    synopsis: 'Make or change a policy',
    args: 'NAME FILE | -',
    argsMin: 2,
    argsMax: 2,
    examples: [
      'holdfast policy write team team.hcl',
      `echo 'path "secret/data/*" { capabilities = ["read"] }' | holdfast policy write team -`,
    ],
    run: write,
  },
  {
    path: ['policy', 'delete'],
    synopsis: 'Delete a policy',
    args: 'NAME',
    argsMin: 1,
    argsMax: 1,
    examples: ['holdfast policy delete team'],
    run: remove,
  },
  {
    path: ['policy', 'fmt'],
    synopsis: 'Lay out a policy file in its canonical form, after checking its syntax',
    args: 'FILE | -',
    argsMin: 1,
    argsMax: 1,
    local: true,
    description:
      'A block a path, a key a line, two spaces a level; comments stay with what they are about, and nothing changes in what the policy means.\n' +
      "A FILE is written in place; '-' is standard input to standard output, and turns JSON into HCL.",
    examples: ['holdfast policy fmt team.hcl', 'holdfast policy fmt -check team.hcl', 'holdfast policy fmt - < team.json'],
    flags: { check: { type: 'bool', description: 'Change nothing: exit with 2 when the file is not in its canonical form.' } },
    run: format,
  },
  lintCommand,
  testCommand,
  explainCommand,
]
