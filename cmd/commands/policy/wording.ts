/** Decisions in words, the same whether this process made them or a server. */
import type { DecisionReason } from '#policies/types.ts'

/** What `sys/policies/explain` answers, and what is shown. */
export interface Explained {
  readonly path: string
  readonly operation: string
  readonly allowed: boolean
  readonly reason: DecisionReason
  readonly root: boolean
  readonly rule: { readonly pattern: string; readonly policies: readonly string[] } | null
  readonly pagination_limit: number
  readonly list_filter: string | null
  readonly candidates: readonly {
    readonly pattern: string
    readonly capabilities: readonly string[]
    readonly active: boolean
    readonly parts: readonly { readonly policy: string; readonly line: number; readonly failed_condition: string | null }[]
  }[]
}

const because: Readonly<Record<DecisionReason, string>> = {
  allowed: 'the rule grants it',
  root: 'the token is root',
  help: 'help is always allowed',
  open: 'the path asks for no token',
  'no rule': 'no rule matches the path',
  deny: 'the rule denies',
  'no capability': 'the rule that decides does not grant it; others are not asked',
  'no sudo': 'the path needs the sudo capability besides',
  'wrapping ttl': 'the rule asks for response wrapping of another length, or for any',
  'pagination limit': "the page that is asked for does not keep the rule's limit, or none is named where the rule requires it",
  parameters: 'a parameter is missing, denied or not among the allowed ones',
}

/** One line: who decided, and why. */
export function verdict({ allowed, reason, rule }: Explained): string {
  const by = rule === null ? '' : ` by ${JSON.stringify(rule.pattern)} (${rule.policies.join(', ')})`
  return `${allowed ? 'allowed' : 'denied'}${by}: ${because[reason] ?? reason}`
}

/** The whole of it, for people. */
export function explanation(explained: Explained): string {
  const lines = [`${explained.operation} ${explained.path}`, verdict(explained)]
  if (explained.pagination_limit > 0) lines.push(`a page has at most ${explained.pagination_limit} entries`)
  if (explained.list_filter !== null) lines.push(`entries are shown where ${JSON.stringify(explained.list_filter)} may be read`)
  if (explained.candidates.length > 0) lines.push('', 'Rules that match the path, in the order in which they are asked:')
  let decided = false
  for (const { pattern, capabilities, active, parts } of explained.candidates) {
    const what = active ? (decided ? 'not asked' : 'decides') : 'not there'
    decided ||= active
    lines.push(`  ${JSON.stringify(pattern)}  ${what}${active ? `  [${capabilities.join(', ')}]` : ''}`)
    for (const { policy, line, failed_condition: failed } of parts) {
      lines.push(`    ${policy}, line ${line}${failed === null ? '' : `: condition ${failed} fails`}`)
    }
  }
  return `${lines.join('\n')}\n`
}
