/** From a command line to an exit code: find the command, parse, run it, and word what went wrong. */
import { systemClock } from '#base/clock.ts'
import { HoldfastError, isHoldfastError, wellKnown } from '#base/errors.ts'
import { systemRandom } from '#base/random.ts'
import type { Client } from '#client/client.ts'
import type { Call } from '#client/types.ts'
import { findCommand, parseArgs, type Found, type Parsed } from './args.ts'
import { allFlags, commandHelp, groupHelp, unionFlags } from './help.ts'
import type { Io } from './io.ts'
import { mountQuestion } from './kv-paths.ts'
import { Output } from './output.ts'
import { clientOptions, fromEnvironment, noTokenHint, outputFormat } from './settings.ts'
import { nearest } from '#base/suggest.ts'
import { exitCodes, RefusedError, UsageError, type Command } from './types.ts'

/** Ends the command early with nothing more to say (-output-curl-string). */
export class Finished extends Error {}

/** Never throws for what a user can cause; prints `error:` and `hint:` lines instead. */
export async function runCli(argv: readonly string[], commands: readonly Command[], io: Io): Promise<number> {
  try {
    if (argv.length === 1 && /^--?v(ersion)?$/.test(argv[0] ?? '')) return await runCli(['version'], commands, io)
    const found = findCommand(argv, commands, unionFlags(commands))
    if ('command' in found) return await runCommand(found, commands, io)
    return showGroup(found.words, found.unknown, argv, commands, io)
  } catch (error) {
    return report(error, io)
  }
}

function showGroup(
  words: readonly string[],
  unknown: string | null,
  argv: readonly string[],
  commands: readonly Command[],
  io: Io,
): number {
  const asked = argv.some((word) => /^--?h(elp)?$/.test(word))
  if (unknown === null || unknown === 'help') {
    const help = groupHelp(words, commands)
    if (asked || unknown === 'help') io.out(help)
    else io.err(help)
    return asked || unknown === 'help' ? exitCodes.ok : exitCodes.usage
  }
  const names = [
    ...new Set(
      commands.filter((command) => words.every((word, at) => command.path[at] === word)).map((command) => command.path[words.length] ?? ''),
    ),
  ]
  const near = nearest(unknown, names)
  const prefix = ['holdfast', ...words].join(' ')
  throw new UsageError(
    `unknown command "${[...words, unknown].join(' ')}"`,
    near === null ? `${prefix} -help lists what there is` : `did you mean "${prefix} ${near}"?`,
  )
}

async function runCommand({ command, rest }: Found, commands: readonly Command[], io: Io): Promise<number> {
  const parsed = parseArgs(rest, allFlags(command))
  if (parsed.flags.has('help') || parsed.flags.has('h')) {
    io.out(commandHelp(command))
    return exitCodes.ok
  }
  checkArgCount(command, parsed.args.length)
  const opened: Client[] = []
  const instead = command.local ? null : insteadOf(parsed)
  if (instead !== null && command.sendsSeveral) throw severalRequests(command)
  try {
    const code = await command.run({
      command,
      commands,
      io,
      args: parsed.args,
      flags: parsed.flags,
      output: outputOf(command, parsed, io),
      client: async () => {
        if (opened[0] === undefined) opened.push(await openClient(parsed, io, instead))
        return opened[0] as Client
      },
    })
    return code ?? exitCodes.ok
  } catch (error) {
    if (error instanceof Finished) return exitCodes.ok
    // Said here, where it is known: to ask about a policy would send the newcomer who forgot to log in the wrong way.
    if (isHoldfastError(error) && error.status === 403 && opened[0]?.options.token === undefined)
      throw new RefusedError(error.message, noTokenHint)
    throw error
  } finally {
    await opened[0]?.close()
  }
}

function outputOf(command: Command, { flags }: Parsed, io: Io): Output {
  const field = command.flags?.['field'] === undefined ? undefined : flags.string('field')
  return new Output(outputFormat(flags, io), field, io)
}

type Instead = 'curl' | 'policy'

/** What would be printed would be the first request, or a policy for it alone, with which the command fails. */
const severalRequests = ({ path }: Command): UsageError =>
  new UsageError(
    `${path.join(' ')} sends several requests, so none of them is printed`,
    'holdfast read, write and list print theirs, as do kv get, put and list',
  )

/** What is printed instead of sending the request. */
function insteadOf({ flags }: Parsed): Instead | null {
  if (flags.bool('output-curl-string')) return 'curl'
  return flags.bool('output-policy') ? 'policy' : null
}

async function openClient({ flags }: Parsed, io: Io, instead: Instead | null): Promise<Client> {
  const options = await clientOptions(flags, io)
  const { Client: Made } = await import('#client/client.ts')
  const client = new Made(options, { clock: systemClock, random: systemRandom })
  if (instead === null) return client
  const send = client.raw.bind(client)
  const { curlCommand } = await import('./curl.ts')
  const { policyFor } = await import('./needed-policy.ts')
  // The request that the command is about is printed; nothing is sent.
  const show = async (call: Call, more = ''): Promise<never> => {
    io.out(instead === 'curl' ? `${curlCommand(client.describe(call))}${more}\n` : await policyFor(call, options.namespace, send))
    throw new Finished()
  }
  // Asking which engine lies at a path is no part of what is asked for: without its answer the request could not be made.
  client.raw = (call) => (call.path.startsWith(mountQuestion) ? send(call) : show(call))
  client.download = (call) => show(call)
  client.upload = (call) => show(call, ' --data-binary @FILE')
  return client
}

function checkArgCount(command: Command, count: number): void {
  if (count >= command.argsMin && count <= command.argsMax) return
  const expected =
    command.argsMin === command.argsMax
      ? String(command.argsMin)
      : command.argsMax === Infinity
        ? `at least ${command.argsMin}`
        : `${command.argsMin} to ${command.argsMax}`
  throw new UsageError(
    `holdfast ${command.path.join(' ')} expected ${expected} argument(s), got ${count}`,
    `usage: holdfast ${command.path.join(' ')} ${command.args}`,
  )
}

function report(error: unknown, io: Io): number {
  const color = io.stderrIsTty && fromEnvironment(io, 'CLI_NO_COLOR') === undefined && io.env['NO_COLOR'] === undefined
  const paint = (code: number, text: string): string => (color ? `\u001b[${code}m${text}\u001b[0m` : text)
  const print = (message: string, hint: string | undefined, code: number): number => {
    io.err(`${paint(31, 'error:')} ${message.trim()}\n`)
    if (hint !== undefined) io.err(`${paint(36, 'hint:')} ${hint}\n`)
    return code
  }
  if (error instanceof UsageError) return print(error.message, error.hint, exitCodes.usage)
  if (error instanceof RefusedError) return print(error.message, error.hint, exitCodes.refused)
  if (isHoldfastError(error))
    return print(error.message, error.hint ?? hintFor(error), isUsage(error) ? exitCodes.usage : exitCodes.refused)
  // Of the machine: a disk that is full, a folder that may not be written. Its message names what was tried, and no content.
  if (error instanceof Error && 'syscall' in error) return print(error.message, undefined, exitCodes.refused)
  throw error
}

/** Refused before anything was sent: the command line is at fault. */
const isUsage = (error: HoldfastError): boolean => error.code !== 'ERR_UPSTREAM'

function hintFor(error: HoldfastError): string | undefined {
  const words = error.errors.join(' ')
  if (words.includes(wellKnown.sealed)) return 'unseal it: holdfast operator unseal'
  if (words.includes(wellKnown.notInitialized)) return 'initialise the cluster: holdfast operator init'
  if (error.status === 403)
    return 'is the token right and still valid (holdfast token lookup), and does a policy allow this? The same command with -output-policy prints what it needs'
  if (words.includes('no handler for route')) return 'see what is mounted: holdfast secrets list'
  return undefined
}
