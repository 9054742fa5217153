/**
 * `holdfast run -- COMMAND`: secrets for one process, in its environment or in files in memory, and the process anew when they change.
 *
 * The process gets neither the token nor the address that brought the secrets: an application that prints its environment gives away what it was given, and
 * no way to more.
 */
import type { Client } from '#client/client.ts'
import { TokenKeeper } from '#client/token-keeper.ts'
import { parseDurationMs } from '#base/duration.ts'
import { UsageError, type Command, type CommandContext } from '../../cli/types.ts'
import { allOf, handOver, oneOf, sameHandedOver, type Binding, type HandedOver } from './bindings.ts'
import { Child, passSignals, type Signals } from './child.ts'
import { PrivateFiles } from './private-files.ts'
import { RunSecrets } from './secrets.ts'

const onChange = ['restart', 'signal', 'exit'] as const
type OnChange = (typeof onChange)[number]
/** What ends `-on-change=exit`: neither a code of ours nor a common one of applications, so that a supervisor can tell. */
const changedCode = 75
const intervalMsMin = 100
/** Variables by which we, or another command of ours, were told where the secrets are and who asks. */
const ours = /^(HOLDFAST|VAULT|BAO)_(\w*TOKEN|\w*ADDR|NAMESPACE|CLIENT_KEY|WRAP_TTL|TOKEN_HELPER|MFA)$/

interface Options {
  readonly bindings: readonly Binding[]
  readonly watch: boolean
  readonly intervalMs: number
  readonly onChange: OnChange
  readonly signal: NodeJS.Signals
  readonly graceMs: number
}

function optionsOf({ flags }: CommandContext): Options {
  const prefix = flags.string('prefix') ?? ''
  const bindings = [
    ...flags.list('secret').map((path) => allOf(path, prefix)),
    ...flags.list('env').map((text) => oneOf('variable', text)),
    ...flags.list('file').map((text) => oneOf('file', text)),
  ]
  if (bindings.length === 0)
    throw new UsageError('run expected -secret, -env or -file, got none', 'holdfast run -secret=secret/app -- COMMAND')
  const duration = (name: string, standard: string): number => parseDurationMs(flags.string(name) ?? standard, { what: `-${name}` })
  const intervalMs = duration('interval', '30s')
  if (intervalMs < intervalMsMin) throw new UsageError(`-interval expected at least ${intervalMsMin}ms, got less`)
  return {
    bindings,
    watch: flags.bool('watch'),
    intervalMs,
    onChange: onChange.find((one) => one === flags.string('on-change')) ?? 'restart',
    signal: `SIG${(flags.string('signal') ?? 'HUP').replace(/^SIG/, '')}` as NodeJS.Signals,
    graceMs: duration('kill-after', '10s'),
  }
}

/** What the process will find in its environment. */
function environmentFor(context: CommandContext, handed: HandedOver, paths: ReadonlyMap<string, string>): Record<string, string> {
  const { flags, io } = context
  const kept = flags.bool('pure') ? ['PATH', 'HOME', 'USER', 'LANG', 'TERM', 'TZ'] : Object.keys(io.env)
  const inherited = kept.flatMap((name) => {
    const value = io.env[name]
    return value === undefined || (ours.test(name) && !flags.bool('keep-token')) ? [] : [[name, value] as const]
  })
  return { ...Object.fromEntries(inherited), ...Object.fromEntries(handed.variables), ...Object.fromEntries(paths) }
}

/** One run, from the first reading to the end of the process. */
class Run {
  readonly #context: CommandContext
  readonly #options: Options
  readonly #secrets: RunSecrets
  readonly #files: PrivateFiles | null
  readonly #client: Client
  #handed: HandedOver
  #over = false
  child: Child | null = null

  constructor(context: CommandContext, options: Options, client: Client, secrets: RunSecrets) {
    this.#context = context
    this.#options = options
    this.#client = client
    this.#secrets = secrets
    this.#handed = handOver(options.bindings, secrets.fields)
    this.#files = this.#handed.files.size === 0 ? null : new PrivateFiles(context.io.env)
  }

  async #start(): Promise<Child> {
    const paths = this.#files?.write(this.#handed.files) ?? new Map<string, string>()
    this.child = await Child.start(this.#context.args, environmentFor(this.#context, this.#handed, paths))
    return this.child
  }

  /** @returns the exit code. */
  async untilEnd(signals: Signals): Promise<number> {
    let child = await this.#start()
    for (;;) {
      const over = await this.#waitFor(child)
      if (over !== null) return over.code
      // The process may end while nobody answers: that is told at once.
      const next = await Promise.race([this.#changed(), child.ended])
      if (typeof next === 'object') {
        this.#over = true
        return next.code
      }
      if (!next) continue
      const code = await this.#act(child, signals)
      if (code !== null) return code
      child = this.child ?? child
    }
  }

  /** null: time to look for changes. */
  async #waitFor(child: Child): Promise<{ readonly code: number } | null> {
    const watching = this.#options.watch ? this.#options.intervalMs : Infinity
    const delayMs = Math.min(watching, Math.max(intervalMsMin, this.#secrets.dueInMs()))
    if (delayMs === Infinity) return await child.ended
    let cancel = (): void => {}
    const elapsed = new Promise<null>((resolve) => {
      const timer = this.#client.tools.clock.setTimer(Math.min(delayMs, 86_400_000), () => resolve(null))
      cancel = () => timer.cancel()
    })
    try {
      return await Promise.race([child.ended, elapsed])
    } finally {
      cancel()
    }
  }

  /** A cluster that is away for a while is no reason to stop what runs: it goes on with what it has. */
  async #changed(): Promise<boolean> {
    try {
      await this.#secrets.refresh()
      const next = handOver(this.#options.bindings, this.#secrets.fields)
      if (sameHandedOver(this.#handed, next)) return false
      this.#handed = next
      return true
    } catch (error) {
      if (!this.#over)
        this.#context.output.note(`holdfast run: could not look for changes: ${error instanceof Error ? error.message : 'unknown failure'}`)
      return false
    }
  }

  /** @returns the exit code when that is the end. */
  async #act(child: Child, signals: Signals): Promise<number | null> {
    const { onChange: action, signal, graceMs } = this.#options
    this.#context.output.note(`holdfast run: the secrets changed: ${action === 'signal' ? signal : action}`)
    if (action === 'signal') {
      // Variables of a running process can't be changed: its files can.
      this.#files?.write(this.#handed.files)
      child.signal(signal)
      return null
    }
    await child.stop(graceMs)
    if (signals.ended) return (await child.ended).code
    if (action === 'exit') return changedCode
    await this.#start()
    return null
  }

  [Symbol.dispose](): void {
    this.#files?.remove()
  }
}

async function run(context: CommandContext): Promise<number> {
  const options = optionsOf(context)
  const client = await context.client()
  // Renewed for as long as the process runs; one that does not end, or can't be looked at, is used as it is. What is only to be printed sends nothing.
  const printed = context.flags.bool('output-policy') || context.flags.bool('output-curl-string')
  if (printed && options.bindings.length > 1)
    throw new UsageError(
      'run expected one secret to print the request for, got several',
      'holdfast kv get -output-policy prints it for each',
    )
  const keeper = printed ? null : await TokenKeeper.start(client).catch(() => null)
  const asked = keeper?.client ?? client
  try {
    const secrets = await RunSecrets.open(
      asked,
      context.flags,
      options.bindings.map(({ path }) => path),
    )
    try {
      using running = new Run(context, options, asked, secrets)
      using signals = passSignals(() => running.child)
      return await running.untilEnd(signals)
    } finally {
      for (const path of await secrets.revoke())
        context.io.err(
          `warning: what ${path} lent could not be given back, and is valid until its lease ends: holdfast lease revoke -prefix ${path}\n`,
        )
    }
  } finally {
    keeper?.stop()
  }
}

export const runCommand: Command = {
  path: ['run'],
  synopsis: 'Run a program with secrets in its environment or in files, and again when they change',
  args: '-- COMMAND [ARGUMENT ...]',
  argsMin: 1,
  argsMax: Infinity,
  description:
    'Nothing is written to a disk: files lie in memory (XDG_RUNTIME_DIR or /dev/shm), readable by you alone, for as long as the program runs; their paths are in the variables. ' +
    'The program does not get the token. Signals are passed on, and its exit code is ours. What is lent is renewed, and given back at the end.',
  examples: [
    'holdfast run -secret=secret/app -- node server.js',
    'holdfast run -env=PGPASSWORD=secret/db#password -- psql -h db',
    'holdfast run -watch -interval=10s -file=TLS_KEY_FILE=secret/web#key -on-change=signal -- nginx -g "daemon off;"',
  ],
  flags: {
    secret: {
      type: 'list',
      placeholder: 'PATH',
      description: 'All fields of this secret as variables (db-password: DB_PASSWORD); may be given several times.',
    },
    prefix: { type: 'string', placeholder: 'TEXT', description: 'What the names of those variables begin with.' },
    env: { type: 'list', placeholder: 'NAME=PATH#FIELD', description: 'One field as one variable; may be given several times.' },
    file: {
      type: 'list',
      placeholder: 'NAME=PATH#FIELD',
      description: 'One field as a file, whose path the variable has; may be given several times.',
    },
    watch: { type: 'bool', description: 'Look for changes while it runs.' },
    interval: { type: 'string', placeholder: 'DURATION', description: 'How often; 30s.' },
    'on-change': {
      type: 'string',
      values: onChange,
      description: `restart it (the default), send it -signal, or end it, with code ${changedCode}.`,
    },
    signal: {
      type: 'string',
      placeholder: 'NAME',
      description: 'Signal of -on-change=signal; HUP.',
      values: ['HUP', 'USR1', 'USR2', 'TERM', 'INT'],
    },
    'kill-after': { type: 'string', placeholder: 'DURATION', description: 'How long it may take to end before it is killed; 10s.' },
    pure: { type: 'bool', description: 'Of the environment here hand over PATH, HOME, USER, LANG, TERM and TZ only.' },
    'keep-token': { type: 'bool', description: 'Hand over HOLDFAST_TOKEN, HOLDFAST_ADDR and their kind too.' },
    mount: { type: 'string', placeholder: 'PATH', description: 'Where the kv engine is mounted; the paths are then below it.' },
  },
  run,
}
