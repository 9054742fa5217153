/** policy list, read, write, delete, fmt. */
import { renameSync, writeFileSync } from 'node:fs'
import { parseHcl } from '#base/hcl.ts'
import { firstArg, printWritten, readData, trimSlashes } from '../cli/common.ts'
import { formatHcl } from '../cli/hcl-format.ts'
import { RefusedError, UsageError, type Command, type CommandContext } from '../cli/types.ts'

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

async function format(context: CommandContext): Promise<void> {
  const path = firstArg(context)
  const text = path === '-' ? await context.io.readStdin() : context.io.readFile(path)
  // First, so that a file that means nothing is left alone and its fault is named with its line.
  parseHcl(text)
  const formatted = formatHcl(text)
  if (path === '-') return context.output.text(formatted)
  if (formatted !== text) {
    writeFileSync(`${path}.new`, formatted)
    renameSync(`${path}.new`, path)
  }
  context.output.say(`Success! Formatted policy: ${path}`)
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
    synopsis: 'Lay out a policy file, after checking its syntax',
    args: 'FILE | -',
    argsMin: 1,
    argsMax: 1,
    local: true,
    examples: ['holdfast policy fmt team.hcl'],
    run: format,
  },
]
