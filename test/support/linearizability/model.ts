/** The register that a history is held against: what each operation does to one key, and what it must have answered. */
import type { Operation } from './history.ts'

export interface State {
  /** Number of writes so far. */
  readonly version: number
  /** `null`: never written, or deleted. */
  readonly value: string | null
}

export const empty: State = { version: 0, value: null }

/**
 * The state after the operation, or `undefined` if it could not have answered as it did in this state. One of unknown
 * outcome fits everywhere. A state that does not change is returned as the same object.
 */
export function apply(state: State, operation: Operation): State | undefined {
  switch (operation.kind) {
    case 'get': {
      const { output } = operation
      return output === null || (output.version === state.version && output.value === state.value) ? state : undefined
    }
    case 'put': {
      const next = { version: state.version + 1, value: operation.input.value }
      return operation.output === null || operation.output.version === next.version ? next : undefined
    }
    case 'cas': {
      const { input, output } = operation
      const applied = input.expected === state.version
      const next = applied ? { version: state.version + 1, value: input.value } : state
      if (output === null) return next
      return output.applied === applied && (output.version ?? next.version) === next.version ? next : undefined
    }
    case 'delete':
      return state.value === null ? state : { version: state.version, value: null }
  }
}

/** Why an operation cannot be next in this state, as one line for a person. */
export function whyNot(state: State, operation: Operation): string {
  const at = `the register is at ${describeState(state)}`
  if (apply(state, operation) !== undefined) return `${at}; it fits here, but whatever follows it then does not`
  return `${at}, so it should have answered ${expectedAnswer(state, operation)}, but answered ${describeOutput(operation)}`
}

function expectedAnswer(state: State, operation: Operation): string {
  if (operation.kind === 'get') return describeState(state)
  if (operation.kind === 'cas' && operation.input.expected !== state.version) return `refused at v${state.version}`
  return `${operation.kind === 'cas' ? 'applied ' : ''}v${state.version + 1}`
}

export function describeState({ version, value }: State): string {
  return `v${version} ${value === null ? '(none)' : JSON.stringify(value)}`
}

export function describeInput(operation: Operation): string {
  if (operation.kind === 'put') return `put ${JSON.stringify(operation.input.value)}`
  if (operation.kind === 'cas') return `cas v${operation.input.expected} ${JSON.stringify(operation.input.value)}`
  return operation.kind
}

export function describeOutput(operation: Operation): string {
  if (operation.returnAt === null) return 'unknown'
  if (operation.kind === 'delete' || operation.output === null) return 'done'
  if (operation.kind === 'get') return describeState(operation.output)
  if (operation.kind === 'put') return `v${operation.output.version}`
  const { applied, version } = operation.output
  if (applied) return `applied v${version}`
  return version === null ? 'refused' : `refused at v${version}`
}
