/** YAML with every digit of a number: what JSON kept as text (#base/exact-json.ts) is an integer of any size here, and back. */
import { isExactNumber, parseExactJson } from '#base/exact-json.ts'

const aliasesMax = 100

/** `value` as YAML. A long number with a point is as near as a double comes to it: YAML knows no other. */
export async function yamlOf(value: unknown): Promise<string> {
  const { stringify } = await import('yaml')
  return stringify(
    deep(value, (one) => (isExactNumber(one) ? (/^-?\d+$/.test(one.rawJSON) ? BigInt(one.rawJSON) : Number(one.rawJSON)) : one)),
  )
}

/** What a YAML text says, its long integers as JSON keeps them. Without its own tags and merges: a file of secrets is data. @throws what the parser throws, which may quote the text. */
export async function parseYaml(text: string): Promise<unknown> {
  const { parse } = await import('yaml')
  return deep(parse(text, { maxAliasCount: aliasesMax, intAsBigInt: true }), (one) =>
    typeof one !== 'bigint'
      ? one
      : BigInt(Number(one)) === one && Number.isSafeInteger(Number(one))
        ? Number(one)
        : parseExactJson(String(one)),
  )
}

function deep(value: unknown, change: (one: unknown) => unknown): unknown {
  const changed = change(value)
  if (changed !== value || typeof changed !== 'object' || changed === null || isExactNumber(changed)) return changed
  if (Array.isArray(changed)) return changed.map((one) => deep(one, change))
  return Object.fromEntries(Object.entries(changed).map(([key, one]) => [key, deep(one, change)]))
}
