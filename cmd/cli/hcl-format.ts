/**
 * The canonical text of a policy: two spaces a level, a block a path, a key a line, one empty line between blocks, capabilities in their
 * order and once. JSON becomes HCL. What it means does not change, and comments stay with what they are about.
 */
import { capabilityNames } from '#policies/parse.ts'
import { parseTree, type Entry, type Item, type ObjectValue, type Value } from './hcl-tree.ts'

const lineCharsMax = 120

/** @param source a text that `parseHcl` takes. */
export function formatHcl(source: string): string {
  const json = /^\s*\{/.test(source)
  const { entries, rest } = parseTree(source)
  const folded = entries.flatMap((entry) => foldPath(entry))
  const lines: string[] = []
  for (const [i, entry] of folded.entries()) {
    const blocks = isBlock(entry) || (i > 0 && isBlock(folded[i - 1]!))
    const [first, ...others] = [...entry.before]
    const before = first === '' ? others : first === undefined ? [] : [first, ...others]
    if (i > 0 && (blocks || first === '')) lines.push('')
    lines.push(...indented(before, ''), ...itemLines(entry, '', 0, json))
  }
  lines.push(...indented(rest, ''))
  return tidy(lines)
}

const isBlock = ({ node }: Entry<Item>): boolean => node.value.kind === 'object'

/** No empty lines at the ends, and none in a row. */
function tidy(lines: readonly string[]): string {
  const text = lines
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .replace(/^\n+|\n+$/g, '')
  return text === '' ? '' : `${text}\n`
}

/** `path = { "a" = { ... } }` and lists of such objects as blocks, one a path, as HCL's readers write them. */
function foldPath(entry: Entry<Item>): Entry<Item>[] {
  const { key, labels, value } = entry.node
  if (bare(key) !== 'path') return [entry]
  const fold = (inner: Value, names: readonly string[], before: string[], after: string): Entry<Item>[] => {
    const asIs: Entry<Item>[] = [{ before, node: { key: 'path', labels: names, value: inner }, after }]
    if ((inner.kind !== 'list' && inner.kind !== 'object') || (inner.kind === 'object' && names.length > 0)) return asIs
    const parts: [Value, readonly string[], Entry<unknown>][] =
      inner.kind === 'list'
        ? inner.entries.map((one) => [one.node, names, one])
        : inner.entries.map((one) => [one.node.value, [one.node.key, ...one.node.labels], one])
    const found = parts.flatMap(([value, labels, one], i) =>
      fold(value, labels, i === 0 ? [...before, ...one.before] : one.before, one.after),
    )
    return found.length === 0 ? asIs : withRest(found, after === '' ? inner.rest : [...inner.rest, after])
  }
  return fold(value, labels, entry.before, entry.after)
}

/** Comments at the end of what is folded go behind its last block's own. */
function withRest(found: Entry<Item>[], rest: readonly string[]): Entry<Item>[] {
  const last = found.at(-1)
  if (!last || last.node.value.kind !== 'object') return found
  last.node.value.rest.push(...rest)
  return found
}

const indented = (lines: readonly string[], pad: string): string[] => lines.map((line) => (line === '' ? '' : pad + line))
const bare = (key: string): string => (key.startsWith('"') ? key.slice(1, -1) : key)

/** Names that need no quotes get none, but for parameters, which are data. */
function keyText(key: string, level: number, json: boolean): string {
  const name = bare(key)
  if (level < 2 && /^[\p{L}_][\p{L}\p{N}_-]*$/u.test(name)) return name
  return quoted(key, json)
}

/** JSON's strings have escapes that HCL's have not. */
function quoted(text: string, json: boolean): string {
  if (!text.startsWith('"')) return `"${text}"`
  return json ? JSON.stringify(JSON.parse(text)).replaceAll(/\\[bf]/g, (escape) => (escape === '\\b' ? '\\u0008' : '\\u000c')) : text
}

const behind = (after: string): string => (after === '' ? '' : ` ${after}`)

/** `level`: 0 at the top, 1 in a path, 2 below. */
function itemLines({ node, after }: Entry<Item>, pad: string, level: number, json: boolean): string[] {
  const { key, labels, value } = node
  const name = [keyText(key, level, json), ...labels.map((label) => quoted(label, json))].join(' ')
  const asBlock = level === 0 || labels.length > 0 || (level === 1 && bare(key) === 'conditions')
  const head = value.kind === 'object' && asBlock ? `${name} ` : `${name} = `
  const canonical = level === 1 && bare(key) === 'capabilities' ? inOrder(value) : value
  // The keys of conditions are names, as those of a path are.
  return ended(valueLines(canonical, pad + head, pad, bare(key) === 'conditions' ? 0 : level, json), after)
}

/** With a comment behind the last line; a here document's end must stand alone. */
function ended(lines: string[], after: string): string[] {
  if (after === '') return lines
  const last = lines.at(-1) ?? ''
  const alone = lines.length > 1 && !/[\]}]$/.test(last)
  return alone ? [...lines, after] : [...lines.slice(0, -1), last + behind(after)]
}

/** The lines of a value; the first one begins with `head`. */
function valueLines(value: Value, head: string, pad: string, level: number, json: boolean): string[] {
  if (value.kind === 'string') return [head + quoted(value.text, json)]
  if (value.kind === 'raw') return (head + value.text).split('\n')
  return value.kind === 'list' ? listLines(value, head, pad, level, json) : objectLines(value, head, pad, level, json)
}

function objectLines({ entries, rest }: ObjectValue, head: string, pad: string, level: number, json: boolean): string[] {
  if (entries.length === 0 && rest.every((line) => line === '')) return [`${head}{}`]
  const inner = `${pad}  `
  const body = entries.flatMap((entry) => [...indented(entry.before, inner), ...itemLines(entry, inner, level + 1, json)])
  return [`${head}{`, ...trimmed([...body, ...indented(rest, inner)]), `${pad}}`]
}

/** Without empty lines at the ends. */
function trimmed(lines: readonly string[]): string[] {
  const first = lines.findIndex((line) => line !== '')
  const last = lines.findLastIndex((line) => line !== '')
  return first < 0 ? [] : lines.slice(first, last + 1)
}

const plain = (entry: Entry<Value>): boolean =>
  entry.after === '' &&
  entry.before.every((line) => line === '') &&
  (entry.node.kind === 'string' || (entry.node.kind === 'raw' && !entry.node.text.includes('\n')))

function listLines(list: Value & { kind: 'list' }, head: string, pad: string, level: number, json: boolean): string[] {
  const { entries, rest } = list
  const texts = entries.map(({ node }) => valueLines(node, '', '', 2, json).join('\n'))
  const line = `${head}[${texts.join(', ')}]`
  if (entries.every(plain) && rest.every((one) => one === '') && (line.length <= lineCharsMax || entries.length < 2)) return [line]
  const inner = `${pad}  `
  const body = entries.flatMap(({ before, node, after }) => {
    const lines = valueLines(node, inner, inner, Math.max(level + 1, 2), json)
    const last = lines.at(-1) ?? ''
    const comma = node.kind === 'raw' && lines.length > 1 ? [...lines, `${inner},`] : [...lines.slice(0, -1), `${last},`]
    return [...indented(before, inner), ...comma.slice(0, -1), (comma.at(-1) ?? '') + behind(after)]
  })
  return [`${head}[`, ...trimmed([...body, ...indented(rest, inner)]), `${pad}]`]
}

/** Capabilities in their order, each once; as they are when something is said about one of them. */
function inOrder(value: Value): Value {
  if (value.kind !== 'list' || value.rest.some((line) => line !== '') || !value.entries.every(plain)) return value
  const rank = ({ node }: Entry<Value>): number => {
    const at = node.kind === 'string' ? (capabilityNames as readonly string[]).indexOf(bare(node.text)) : -1
    return at < 0 ? capabilityNames.length : at
  }
  const once = new Map(value.entries.map((entry) => [JSON.stringify(entry.node), { ...entry, before: [] }]))
  return { ...value, entries: [...once.values()].toSorted((a, b) => rank(a) - rank(b)) }
}
