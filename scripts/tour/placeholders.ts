/** What differs from run to run, replaced by something of the same width, so that tables keep their shape. */
export class Placeholders {
  readonly #known: (readonly [RegExp, string])[] = []

  /** Every occurrence of `text` becomes `shown`. With `after`, only where one of these words stands before it: a pid may be any number. */
  add(text: string, shown: string, after?: string): void {
    const escaped = text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    this.#known.push([new RegExp(`(?<=${after ?? ''})(?<!\\w)${escaped}(?!\\w)`, 'g'), shown])
  }

  apply(text: string): string {
    const replaced = this.#known.reduce((rest, [pattern, shown]) => rest.replace(pattern, shown), text)
    return replaced
      .replace(
        /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g,
        (_, fraction: string | undefined) => `YYYY-MM-DDThh:mm:ss${fraction === undefined ? '' : '.sss'}Z`,
      )
      .replace(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '00000000-1111-2222-3333-444444444444')
  }
}
