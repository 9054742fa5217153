/** From the text of one file to the draft. */
import { isHoldfastError } from '#base/errors.ts'
import { blocksOf, parseHcl } from '#base/hcl.ts'
import type { HclBlock, HclObject, HclPlace } from '#base/hcl.ts'
import type { Draft, Section } from './draft.ts'
import type { KeyTable } from './key.ts'
import { auditOptionKeys, sealKeys, userLockoutTypes } from './keys.ts'
import type { AuditType, SealKind } from './keys.ts'
import { nearest } from './problems.ts'
import type { Problems } from './problems.ts'
import type { Origin } from './types.ts'

const topBlocks: ReadonlySet<string> = new Set(['listener', 'storage', 'seal', 'audit', 'telemetry', 'user_lockout'])
const none: ReadonlySet<string> = new Set()

/** Reads `text` into `draft`; `name` stands in every message. Never throws: what is wrong goes to `problems`. */
export function readFileText(draft: Draft, name: string, text: string, problems: Problems): void {
  const reader = new Reader(draft, name, problems)
  reader.guarded(() => reader.read(parseHcl(text)))
}

class Reader {
  readonly #draft: Draft
  readonly #name: string
  readonly #problems: Problems

  constructor(draft: Draft, name: string, problems: Problems) {
    this.#draft = draft
    this.#name = name
    this.#problems = problems
  }

  /** A syntax error, or a block of another shape, is one problem among others. */
  guarded(run: () => void): void {
    try {
      run()
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_CONFIG')) throw error
      this.#problems.addText(`${this.#name}: ${error.message}${error.hint === undefined ? '' : ` (${error.hint})`}`)
    }
  }

  #origin(place: HclPlace): Origin {
    return `${this.#name}:${place.line}`
  }

  read(root: HclObject): void {
    this.#keys(this.#draft.top, root, topBlocks)
    this.#blocks(root, 'listener', 1, (block) => this.#listener(block))
    this.#blocks(root, 'storage', 1, (block) => this.#storage(block))
    this.#blocks(root, 'seal', 1, (block) => this.#seal(block))
    this.#blocks(root, 'audit', 2, (block) => this.#audit(block))
    this.#blocks(root, 'user_lockout', 1, (block) => this.#userLockout(block))
    this.#blocks(root, 'telemetry', 0, (block) => this.#keys(this.#draft.telemetry, block.body, none))
  }

  #blocks(body: HclObject, key: string, labelCount: number, each: (block: HclBlock) => void): void {
    this.guarded(() => {
      for (const block of blocksOf(body, key, labelCount)) each(block)
    })
  }

  /** Puts every key of `body` but `blocks` into `section`; `prefix` is that of a block inside it. */
  #keys(section: Section, body: HclObject, blocks: ReadonlySet<string>, prefix = ''): void {
    const seen = new Set<string>()
    for (const item of body.items) {
      if (blocks.has(item.key)) continue
      const name = prefix + item.key
      const origin = this.#origin(item)
      const def = section.definition(name)
      if (def === null && item.value.kind === 'object' && holdsBlock(section.table, name)) {
        this.#keys(section, item.value, none, `${name}.`)
      } else if (def === null) {
        const near = nearest(item.key, [...Object.keys(section.table).map((key) => key.slice(prefix.length)), ...blocks])
        this.#problems.add(origin, section.keyPath(name), 'a known key', 'another', near === null ? undefined : `did you mean "${near}"?`)
      } else if (seen.has(name) && def.kind !== 'any') {
        this.#problems.add(origin, section.keyPath(name), 'it once', 'it twice in one block')
      } else section.set(name, item.value, origin, this.#problems)
      seen.add(name)
    }
  }

  #listener(block: HclBlock): void {
    const origin = this.#origin(block)
    const [type = ''] = block.labels
    if (type !== 'tcp') {
      const hint = type === 'unix' ? 'listen on 127.0.0.1 instead' : undefined
      return this.#problems.add(origin, `listener.${type}`, 'listener "tcp"', JSON.stringify(type), hint)
    }
    this.#keys(this.#draft.addListener(origin), block.body, none)
  }

  #storage(block: HclBlock): void {
    const origin = this.#origin(block)
    const [type = ''] = block.labels
    if (type !== 'raft') {
      const hint = 'each node holds the data itself: write storage "raft" { path = "/var/lib/holdfast" }'
      return this.#problems.add(origin, `storage.${type}`, 'storage "raft"', JSON.stringify(type), hint)
    }
    this.#keys(this.#draft.raftSection(origin), block.body, new Set(['retry_join']))
    this.#blocks(block.body, 'retry_join', 0, (join) => this.#keys(this.#draft.addRetryJoin(this.#origin(join)), join.body, none))
  }

  #seal(block: HclBlock): void {
    const origin = this.#origin(block)
    const [kind = ''] = block.labels
    if (!Object.hasOwn(sealKeys, kind)) {
      const near = nearest(kind, Object.keys(sealKeys))
      const expected = `one of ${Object.keys(sealKeys).join(', ')}`
      return this.#problems.add(origin, 'seal', expected, JSON.stringify(kind), near === null ? undefined : `did you mean "${near}"?`)
    }
    this.#keys(this.#draft.addSeal(kind as SealKind, origin), block.body, none)
  }

  #userLockout(block: HclBlock): void {
    const origin = this.#origin(block)
    const [asked = ''] = block.labels
    const type = userLockoutTypes.find((known) => known === asked)
    if (type === undefined) {
      return this.#problems.add(origin, 'user_lockout', `one of ${userLockoutTypes.join(', ')}`, JSON.stringify(asked))
    }
    this.#keys(this.#draft.userLockout(type, origin), block.body, none)
  }

  #audit(block: HclBlock): void {
    const origin = this.#origin(block)
    const [type = '', name = ''] = block.labels
    if (!Object.hasOwn(auditOptionKeys, type)) {
      const expected = `one of ${Object.keys(auditOptionKeys).join(', ')}`
      return this.#problems.add(
        origin,
        'audit',
        expected,
        JSON.stringify(type),
        'write audit "file" "NAME" { options { file_path = "..." } }',
      )
    }
    const draft = this.#draft.addAudit(type as AuditType, name, origin)
    this.#keys(draft.section, block.body, new Set(['options']))
    this.#blocks(block.body, 'options', 0, (options) => this.#keys(draft.options, options.body, none))
  }
}

function holdsBlock(table: KeyTable, name: string): boolean {
  return Object.keys(table).some((key) => key.startsWith(`${name}.`))
}
