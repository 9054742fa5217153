/**
 * The checker's slow twin: it tries every order of the whole history, all keys together, with every subset of the
 * operations of unknown outcome. No memory, no exchange of operations, no split by key, and not a line shared with the
 * checker (only the type of an operation). For at most a dozen operations.
 */
import type { Operation } from './history.ts'

export function isLinearizableSlowly(history: readonly Operation[]): boolean {
  return canFinish([...history], {})
}

/** Register contents as [version, value]; a missing key is [0, null]. */
type Registers = Readonly<Record<string, readonly [number, string | null]>>

function canFinish(rest: readonly Operation[], registers: Registers): boolean {
  if (rest.every((operation) => operation.returnAt === null)) return true
  return rest.some((operation, i) => {
    const others = rest.filter((_, j) => j !== i)
    if (others.some((other) => other.returnAt !== null && other.returnAt < operation.callAt)) return false
    // Happening never is covered by being left over at the end.
    return successors(operation, registers[operation.key] ?? [0, null]).some((after) =>
      canFinish(others, { ...registers, [operation.key]: after }),
    )
  })
}

/** The register's possible contents after the operation: none if it could not have answered so, or one. */
function successors(operation: Operation, [version, value]: readonly [number, string | null]): (readonly [number, string | null])[] {
  const known = operation.returnAt !== null
  if (operation.kind === 'delete') return [[version, null]]
  if (operation.kind === 'get') {
    const wrong = known && (operation.output?.version !== version || operation.output.value !== value)
    return wrong ? [] : [[version, value]]
  }
  if (operation.kind === 'put') return known && operation.output?.version !== version + 1 ? [] : [[version + 1, operation.input.value]]
  const writes = version === operation.input.expected
  const after: readonly [number, string | null] = writes ? [version + 1, operation.input.value] : [version, value]
  if (!known) return [after]
  if (operation.output?.applied !== writes) return []
  return operation.output.version === null || operation.output.version === after[0] ? [after] : []
}
