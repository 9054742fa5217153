/** Names that stand in record after record (fields, mounts, operations, addresses), as JSON strings that are made once. */
const namesMax = 4_096
/** A longer one is no name. */
const charsMax = 128

/** They are in the clear in the audit's lines too; whoever holds them forgets them when the barrier closes. */
export class QuotedNames {
  readonly #names = new Map<string, string>()

  /** `name` as JSON.stringify has it. */
  of(name: string): string {
    const known = this.#names.get(name)
    if (known !== undefined) return known
    const text = JSON.stringify(name)
    if (name.length > charsMax) return text
    // Emptied when full: keeping an order would cost more, with every name of every record, than writing them again now and then.
    if (this.#names.size >= namesMax) this.#names.clear()
    this.#names.set(name, text)
    return text
  }
}
