/** Pieces of text that stand in record after record, made once. */
const piecesMax = 4_096
/** A longer name is not kept. */
const charsMax = 128

/**
 * `text` in one piece: what was put together from others is a tree to V8, and walked through again in each line that it becomes part of.
 * It must be what JSON.stringify gives: of half a surrogate pair nothing would be left.
 */
export const inOnePiece = (text: string): string => Buffer.from(text).toString()

/** At most so many pieces by their keys. Emptied when full: keeping an order would cost more, with every record, than making them again now and then. */
class Pieces<T> {
  readonly #pieces = new Map<string, T>()

  get(key: string): T | undefined {
    return this.#pieces.get(key)
  }

  keep(key: string, piece: T): T {
    if (key.length > charsMax) return piece
    if (this.#pieces.size >= piecesMax) this.#pieces.clear()
    this.#pieces.set(key, piece)
    return piece
  }
}

interface Field {
  /** `"name":`, and with a comma before it. */
  readonly first: string
  readonly next: string
}

export interface MountNames {
  readonly mount_type?: string | undefined
  readonly mount_accessor?: string | undefined
  readonly mount_point?: string | undefined
}

/** Names of fields, mounts, operations and addresses. They are in the clear in the audit's lines too; whoever holds them forgets them when the barrier closes. */
export class QuotedNames {
  readonly #names = new Pieces<string>()
  readonly #fields = new Pieces<Field>()
  readonly #mounts = new Pieces<{ readonly of: MountNames; readonly text: string }>()

  /** `name` as JSON.stringify has it. */
  of(name: string): string {
    return this.#names.get(name) ?? this.#names.keep(name, JSON.stringify(name))
  }

  /** What stands before a field's value. */
  field(name: string): Field {
    const known = this.#fields.get(name)
    if (known !== undefined) return known
    const first = inOnePiece(`${JSON.stringify(name)}:`)
    return this.#fields.keep(name, { first, next: inOnePiece(`,${first}`) })
  }

  /** The fields of a mount, each with a comma before it. */
  mount(of: MountNames): string {
    const { mount_type: type, mount_accessor: accessor, mount_point: point } = of
    if (accessor === undefined) return mountText(of)
    const known = this.#mounts.get(accessor)
    // A mount that was moved keeps its accessor.
    if (known !== undefined && known.of.mount_point === point && known.of.mount_type === type) return known.text
    return this.#mounts.keep(accessor, {
      of: { mount_type: type, mount_accessor: accessor, mount_point: point },
      text: inOnePiece(mountText(of)),
    }).text
  }
}

function mountText({ mount_type: type, mount_accessor: accessor, mount_point: point }: MountNames): string {
  let text = ''
  if (type !== undefined) text += `,"mount_type":${JSON.stringify(type)}`
  if (accessor !== undefined) text += `,"mount_accessor":${JSON.stringify(accessor)}`
  if (point !== undefined) text += `,"mount_point":${JSON.stringify(point)}`
  return text
}
