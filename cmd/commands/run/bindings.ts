/** What `holdfast run` was asked to hand over: which secret, or which field of it, becomes which variable or file. */
import { variableName, variableText } from '../../cli/bulk-formats.ts'
import type { Fields } from '../../cli/kv-tree.ts'
import { UsageError } from '../../cli/types.ts'

export type Binding =
  /** Every field, under its own name. */
  | { readonly kind: 'all'; readonly path: string; readonly prefix: string }
  | { readonly kind: 'variable' | 'file'; readonly name: string; readonly path: string; readonly field: string }

/** `-secret=PATH`. */
export const allOf = (path: string, prefix: string): Binding => ({ kind: 'all', path: trimmed(path), prefix })

/** `NAME=PATH#FIELD` of -env or -file. @throws UsageError */
export function oneOf(kind: 'variable' | 'file', text: string): Binding {
  const [, name = '', path = '', field = ''] = /^([^=]+)=(.+)#([^#]+)$/s.exec(text) ?? []
  const flag = kind === 'file' ? 'file' : 'env'
  if (name === '') throw new UsageError(`-${flag} expected NAME=PATH#FIELD, such as -${flag}=DB_PASSWORD=secret/app#password`)
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new UsageError(`a variable can't be called ${JSON.stringify(name)}`)
  return { kind, name, path: trimmed(path), field }
}

const trimmed = (path: string): string => {
  const text = path.replace(/^\/+|\/+$/g, '')
  if (text === '') throw new UsageError('expected the path of a secret, got an empty one')
  return text
}

export interface HandedOver {
  readonly variables: ReadonlyMap<string, string>
  /** By the variable that will hold the file's path. */
  readonly files: ReadonlyMap<string, string>
}

/** @throws UsageError naming what is missing, or what two secrets both want to be. No value is named. */
export function handOver(bindings: readonly Binding[], secrets: ReadonlyMap<string, Fields>): HandedOver {
  const variables = new Map<string, string>()
  const files = new Map<string, string>()
  const set = (into: Map<string, string>, name: string, text: string, path: string): void => {
    if (variables.has(name) || files.has(name)) {
      throw new UsageError(`${name} is wanted twice, the second time for ${path}`, 'give one of them another name: -env=NAME=PATH#FIELD')
    }
    // The kernel ends a variable at the first zero byte: the process would get half a secret.
    if (into === variables && text.includes('\0'))
      throw new UsageError(`${name} can't be a variable: its value has a zero byte`, 'use -file')
    into.set(name, text)
  }
  for (const binding of bindings) {
    const fields = secrets.get(binding.path) ?? {}
    if (binding.kind === 'all') {
      for (const [key, value] of Object.entries(fields))
        set(variables, `${binding.prefix}${variableName(key)}`, variableText(value), binding.path)
      continue
    }
    if (!Object.hasOwn(fields, binding.field)) {
      throw new UsageError(`${binding.path} has no field ${JSON.stringify(binding.field)}`, `it has: ${Object.keys(fields).join(', ')}`)
    }
    set(binding.kind === 'file' ? files : variables, binding.name, variableText(fields[binding.field]), binding.path)
  }
  return { variables, files }
}

/** True if a process that has `a` would get the same from `b`. */
export function sameHandedOver(a: HandedOver, b: HandedOver): boolean {
  const same = (one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): boolean =>
    one.size === other.size && [...one].every(([name, text]) => other.get(name) === text)
  return same(a.variables, b.variables) && same(a.files, b.files)
}
