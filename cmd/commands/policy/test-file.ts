/**
 * The file of `policy test`: who may what, and who may not.
 *
 *     policy "team" { file = "team.hcl" }
 *     subject "dev" { policies = ["team", "default"] }
 *     may "dev"     { read = ["secret/data/team/x"] }
 *     may_not "dev" { update = ["secret/data/team/x"] }
 */
import { HoldfastError } from '#base/errors.ts'
import { blocksOf, parseHcl, refuseAt, toPlain, type HclBlock, type HclItem, type HclObject } from '#base/hcl.ts'
import { code, durationOf, objectOf, quoted, readKeys, stringOf, stringsOf, textOf, timeOf, valueOf } from '#policies/parse-values.ts'
import type { IdentityRecord } from '#policies/types.ts'
import { operations, type Operation, type Situation } from './situation.ts'

const fileCharsMax = 1024 * 1024
const checksMax = 10_000

export interface TestSubject {
  readonly name: string
  readonly line: number
  readonly policies: readonly string[]
  readonly identity: IdentityRecord | null
  /** The name of the environment variable that holds its token; '': none. */
  readonly tokenEnv: string
  readonly situation: Partial<Situation>
}

export interface Check {
  readonly line: number
  readonly subject: string
  readonly may: boolean
  readonly operation: Operation
  readonly path: string
  readonly situation: Partial<Situation>
  readonly why: string
}

export interface TestFile {
  /** By name: a path beside the file, or the text itself. */
  readonly policies: ReadonlyMap<string, { readonly file: string } | { readonly text: string }>
  readonly subjects: ReadonlyMap<string, TestSubject>
  readonly checks: readonly Check[]
}

type Draft<T> = { -readonly [K in keyof T]: T[K] }
type Readers<T> = Readonly<Record<string, (draft: T, item: HclItem) => void>>

/** @throws HoldfastError ERR_POLICY_SYNTAX, naming the line. */
export function parseTestFile(text: string): TestFile {
  const root = parseHcl(text, { charsMax: fileCharsMax, depthMax: 16, code })
  const known = ['policy', 'subject', 'may', 'may_not']
  for (const item of root.items) {
    if (!known.includes(item.key)) refuseAt(item, known.map(quoted).join(', '), `key ${quoted(item.key)}`, code)
  }
  const policies = byLabel(root, 'policy', policyOf)
  const subjects = byLabel(root, 'subject', subjectOf)
  const checks = [...checksOf(root, 'may', subjects), ...checksOf(root, 'may_not', subjects)].toSorted((a, b) => a.line - b.line)
  if (checks.length === 0) throw new HoldfastError(code, 'expected at least one "may" or "may_not", got none')
  if (checks.length > checksMax) throw new HoldfastError(code, `expected at most ${checksMax} checks, got ${checks.length}`)
  return { policies, subjects, checks }
}

function byLabel<T>(root: HclObject, key: string, read: (block: HclBlock, name: string) => T): Map<string, T> {
  const found = new Map<string, T>()
  for (const block of blocksOf(root, key, 1, code)) {
    const name = block.labels[0] ?? ''
    if (found.has(name)) refuseAt(block, `${key} ${quoted(name)} once`, 'it a second time', code)
    found.set(name, read(block, name))
  }
  return found
}

function policyOf(block: HclBlock): { file: string } | { text: string } {
  const draft: { file?: string; text?: string } = {}
  readKeys(
    draft,
    block.body,
    { file: (target, item) => (target.file = stringOf(item)), text: (target, item) => (target.text = stringOf(item)) },
    'a key that a policy can have',
  )
  if (draft.file !== undefined && draft.text === undefined) return { file: draft.file }
  if (draft.text !== undefined && draft.file === undefined) return { text: draft.text }
  return refuseAt(block, '"file" or "text" in a policy', 'both or none', code)
}

const boolOf = (item: HclItem): boolean => {
  const value = valueOf(item)
  return value.kind === 'bool' ? value.value : refuseAt(value, `true or false for ${quoted(item.key)}`, `a ${value.kind}`, code)
}

const mapOf = (item: HclItem): Record<string, string> =>
  Object.fromEntries(objectOf(item).items.map((entry) => [entry.key, stringOf(entry)]))

/** "never" is the lifetime of a token that has no end. */
const lifetimeOf = (item: HclItem): number | null =>
  item.value.kind === 'string' && item.value.value === 'never' ? null : durationOf(item)

/** What a subject and a check can both say; the check goes before. */
const situationReaders: Readers<{ situation: Partial<Draft<Situation>> }> = {
  at: ({ situation }, item) => (situation.nowMs = timeOf(item)),
  address: ({ situation }, item) => (situation.clientAddress = stringOf(item)),
  token_ttl: ({ situation }, item) => (situation.tokenTtlSeconds = lifetimeOf(item)),
}

const subjectReaders: Readers<Draft<TestSubject>> = {
  ...situationReaders,
  policies: (draft, item) => (draft.policies = stringsOf(item).map(({ value }) => value.toLowerCase())),
  token_env: (draft, item) => (draft.tokenEnv = stringOf(item)),
  entity: (draft, item) => (draft.identity = entityOf(item)),
}

function subjectOf(block: HclBlock, name: string): TestSubject {
  const draft: Draft<TestSubject> = { name, line: block.line, policies: [], identity: null, tokenEnv: '', situation: {} }
  readKeys(draft, block.body, subjectReaders, 'a key that a subject can have')
  if ((draft.tokenEnv === '') === (draft.policies.length === 0)) {
    refuseAt(block, '"policies" or "token_env" in a subject', 'both or none', code)
  }
  return draft
}

interface EntityDraft {
  id: string
  name: string
  metadata: Record<string, string>
  aliases: IdentityRecord['entity']['aliases'][number][]
  groups: IdentityRecord['groups'][number][]
}

/** `alias "ACCESSOR" { ... }` and `group "NAME" { ... }` may stand several times. */
function entityOf(item: HclItem): IdentityRecord {
  const body = objectOf(item)
  const draft: EntityDraft = { id: '', name: '', metadata: {}, aliases: [], groups: [] }
  const names: Readers<EntityDraft> = {
    id: (target, entry) => (target.id = stringOf(entry)),
    name: (target, entry) => (target.name = stringOf(entry)),
    metadata: (target, entry) => (target.metadata = mapOf(entry)),
    custom_metadata: () => undefined,
  }
  const own = body.items.filter(({ key }) => key !== 'alias' && key !== 'group')
  readKeys(draft, { ...body, items: own }, names, 'a key that an entity can have')
  const fieldsOf = (block: HclBlock): { id: string; name: string; metadata: Record<string, string> } => {
    const inner: EntityDraft = { id: '', name: '', metadata: {}, aliases: [], groups: [] }
    readKeys(inner, block.body, names, 'id, name or metadata')
    return { id: inner.id, name: inner.name, metadata: inner.metadata }
  }
  const customOf = (block: HclBlock): Record<string, string> => {
    const custom = block.body.items.find(({ key }) => key === 'custom_metadata')
    return custom ? mapOf(custom) : {}
  }
  const aliases = blocksOf(body, 'alias', 1, code).map((block) => ({
    ...fieldsOf(block),
    mountAccessor: block.labels[0] ?? '',
    customMetadata: customOf(block),
  }))
  const groups = blocksOf(body, 'group', 1, code).map((block) => ({ ...fieldsOf(block), name: block.labels[0] ?? '' }))
  return { entity: { id: draft.id, name: draft.name, metadata: draft.metadata, aliases }, groups, policies: [] }
}

interface CheckDraft {
  situation: Partial<Draft<Situation>>
  why: string
  asked: { operation: Operation; path: string; line: number }[]
}

const checkReaders: Readers<CheckDraft> = {
  ...situationReaders,
  sudo: ({ situation }, item) => (situation.sudo = boolOf(item)),
  parameters: ({ situation }, item) => (situation.parameters = toPlain(objectOf(item)) as Record<string, unknown>),
  limit: ({ situation }, item) => (situation.limit = textOf(item).value),
  wrap_ttl: ({ situation }, item) => (situation.wrapTtlSeconds = durationOf(item)),
  why: (draft, item) => (draft.why = stringOf(item)),
  ...Object.fromEntries(
    operations.map((operation) => [
      operation,
      (draft: CheckDraft, item: HclItem) =>
        void draft.asked.push(...stringsOf(item).map(({ value, line }) => ({ operation, path: value, line }))),
    ]),
  ),
}

function checksOf(root: HclObject, key: 'may' | 'may_not', subjects: ReadonlyMap<string, TestSubject>): Check[] {
  return blocksOf(root, key, 1, code).flatMap((block) => {
    const subject = block.labels[0] ?? ''
    if (!subjects.has(subject))
      refuseAt(block, `a subject called ${quoted(subject)}`, 'none', code, 'write: subject "NAME" { policies = [...] }')
    const draft: CheckDraft = { situation: {}, why: '', asked: [] }
    readKeys(draft, block.body, checkReaders, 'an operation, or at, address, token_ttl, sudo, parameters, limit, wrap_ttl, why')
    if (draft.asked.length === 0) refuseAt(block, `at least one path in "${key}"`, 'none', code)
    return draft.asked.map((asked) => ({ ...asked, subject, may: key === 'may', situation: draft.situation, why: draft.why }))
  })
}
