/** policy test: a file of who may what, checked against policy files or a server. For CI. */
import { dirname, isAbsolute, join } from 'node:path'
import { systemClock } from '#base/clock.ts'
import type { CompiledAcl, Policy } from '#policies/types.ts'
import { call, firstArg, given } from '../../cli/common.ts'
import { exitCodes, RefusedError, UsageError, type Command, type CommandContext } from '../../cli/types.ts'
import { builtinText, compileFor, explainHere, parseNamed, type Situation } from './situation.ts'
import { parseTestFile, type Check, type TestFile, type TestSubject } from './test-file.ts'
import { verdict, type Explained } from './wording.ts'

interface Result {
  readonly check: Check
  readonly ok: boolean
  readonly explained: Explained
}

async function runTests(context: CommandContext): Promise<number> {
  const path = firstArg(context)
  const file = parseTestFile(path === '-' ? await context.io.readStdin() : context.io.readFile(path))
  const asker = new Asker(context, file, path === '-' ? '.' : dirname(path))
  const results: Result[] = []
  for (const check of file.checks) {
    const explained = await asker.ask(check)
    results.push({ check, explained, ok: explained.allowed === check.may })
  }
  const failed = results.filter(({ ok }) => !ok).length
  if (context.output.format === 'table') print(context, path, results, failed)
  else await context.output.rows([], { checks: results.length, failed, results: results.map(shown) })
  return failed === 0 ? exitCodes.ok : exitCodes.refused
}

const expectation = ({ subject, may, operation, path }: Check): string => `${subject} may ${may ? '' : 'not '}${operation} ${path}`

function print({ output, flags }: CommandContext, file: string, results: readonly Result[], failed: number): void {
  for (const { check, explained, ok } of results) {
    if (ok && !flags.bool('verbose')) continue
    const why = check.why === '' ? '' : ` (${check.why})`
    output.say(`${ok ? 'ok  ' : 'FAIL'} ${file}:${check.line}: ${expectation(check)}${why}: ${verdict(explained)}`)
  }
  output.say(`${results.length} check(s), ${failed} failed`)
}

const shown = ({ check, explained, ok }: Result): Record<string, unknown> => ({
  ok,
  line: check.line,
  subject: check.subject,
  may: check.may,
  operation: check.operation,
  path: check.path,
  ...(check.why === '' ? {} : { why: check.why }),
  allowed: explained.allowed,
  reason: explained.reason,
  rule: explained.rule,
})

/** Answers the checks of one file, each subject's policies compiled once. */
class Asker {
  readonly #context: CommandContext
  readonly #file: TestFile
  readonly #folder: string
  readonly #online: boolean
  readonly #nowMs = systemClock.nowMs()
  readonly #policies = new Map<string, Policy>()
  readonly #acls = new Map<string, CompiledAcl>()

  constructor(context: CommandContext, file: TestFile, folder: string) {
    this.#context = context
    this.#file = file
    this.#folder = folder
    this.#online = context.flags.bool('online')
  }

  async ask(check: Check): Promise<Explained> {
    const subject = this.#file.subjects.get(check.subject)!
    const own: Partial<Situation> = { ...subject.situation, ...check.situation }
    if (subject.tokenEnv !== '') return this.#askServer(subject, check, own)
    const situation: Situation = {
      sudo: false,
      parameters: {},
      limit: undefined,
      wrapTtlSeconds: 0,
      nowMs: this.#nowMs,
      clientAddress: undefined,
      tokenTtlSeconds: undefined,
      ...own,
    }
    return explainHere(await this.#aclOf(subject, situation.nowMs), check.path, check.operation, situation)
  }

  /** By time: what has expired at one is there at another. */
  async #aclOf(subject: TestSubject, nowMs: number): Promise<CompiledAcl> {
    const key = `${nowMs} ${subject.name}`
    const known = this.#acls.get(key)
    if (known) return known
    const policies: Policy[] = []
    for (const name of subject.policies) policies.push(await this.#policy(name, subject))
    const acl = compileFor(policies, subject.identity, nowMs)
    this.#acls.set(key, acl)
    return acl
  }

  async #policy(name: string, subject: TestSubject): Promise<Policy> {
    const known = this.#policies.get(name)
    if (known) return known
    const policy = parseNamed(name, await this.#text(name, subject))
    this.#policies.set(name, policy)
    return policy
  }

  /** From the file, else from the server, else the one that is built in. */
  async #text(name: string, subject: TestSubject): Promise<string> {
    const source = this.#file.policies.get(name)
    if (source && 'text' in source) return source.text
    if (source) return this.#context.io.readFile(isAbsolute(source.file) ? source.file : join(this.#folder, source.file))
    if (this.#online && name !== 'root') return this.#stored(name)
    const text = builtinText(name)
    if (text !== null) return text
    throw new UsageError(
      `policy "${name}" of subject "${subject.name}" expected to be in the file, got none of this name`,
      `write: policy "${name}" { file = "${name}.hcl" }, or ask a server with -online`,
    )
  }

  async #stored(name: string): Promise<string> {
    const secret = await (await this.#context.client()).read(`sys/policies/acl/${name}`)
    const text = secret?.data?.['policy']
    if (typeof text !== 'string') throw new RefusedError(`policy "${name}" expected to be on the server, got none of this name`)
    return text
  }

  async #askServer(
    subject: TestSubject,
    check: Check,
    { parameters, limit, wrapTtlSeconds, ...rest }: Partial<Situation>,
  ): Promise<Explained> {
    if (!this.#online) throw new UsageError(`subject "${subject.name}" has a token_env: only a server can be asked`, 'add -online')
    if (Object.keys(rest).length > 0) {
      throw new UsageError(
        `subject "${subject.name}" has a token: at, address, token_ttl and sudo are what the server sees, not what the file says`,
      )
    }
    const token = this.#context.io.env[subject.tokenEnv]
    if (token === undefined || token === '')
      throw new UsageError(`the environment variable ${subject.tokenEnv} expected to hold a token, got nothing`)
    const body = given({ path: check.path, operation: check.operation, parameters, limit, wrap_ttl: wrapTtlSeconds })
    const secret = await call(this.#context, { method: 'POST', path: 'sys/policies/explain', body, token, idempotent: true })
    if (!secret?.data) throw new RefusedError('the server answered nothing')
    return secret.data as unknown as Explained
  }
}

export const testCommand: Command = {
  path: ['policy', 'test'],
  synopsis: 'Check a file of who may what, and who may not',
  args: 'FILE | -',
  argsMin: 1,
  argsMax: 1,
  description:
    'The file names policies, subjects and what they may do (docs/policies.md has all of its words):\n\n' +
    '  policy "team" { file = "team.hcl" }\n' +
    '  subject "dev" { policies = ["team", "default"] }\n' +
    '  may "dev" { read = ["secret/data/team/x"] }\n' +
    '  may_not "dev" { update = ["secret/data/team/x"] }\n\n' +
    'Without -online no server is asked. Exit code 0: all as the file says; 2: not all; 1: used wrongly.',
  examples: [
    'holdfast policy test access.test.hcl',
    'holdfast policy test -online access.test.hcl',
    'holdfast policy test -format=json access.test.hcl',
  ],
  flags: {
    online: {
      type: 'bool',
      description: 'Read policies that the file does not have from the server, and ask it for subjects with a token_env.',
    },
    verbose: { type: 'bool', description: 'Print what is as it should be, too.' },
  },
  run: runTests,
}
