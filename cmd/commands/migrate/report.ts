/** What came out: a line for everything but what is equal, then the sums. Names and reasons, never a value. */
import type { Output } from '../../cli/output.ts'
import { statuses, type Account, type Entry, type Status } from './runner.ts'

/** In a dry run nothing has happened yet. */
const planned: Readonly<Record<Status, string>> = {
  copied: 'copy',
  overwritten: 'overwrite',
  equal: 'equal',
  skipped: 'skip',
  conflict: 'conflict',
  failed: 'failed',
}

/** Problems last: they stand where the eye is when the command ends. */
const ordered = (entries: readonly Entry[]): readonly Entry[] => {
  const order: readonly Status[] = ['copied', 'overwritten', 'equal', 'skipped', 'conflict', 'failed']
  return entries.toSorted((a, b) => order.indexOf(a.status) - order.indexOf(b.status) || (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
}

export async function printReport(output: Output, account: Account, dryRun: boolean): Promise<void> {
  const { counts, leftOff } = account
  const entries = ordered(account.entries)
  const word = (status: Status): string => (dryRun ? planned[status] : status)
  const rows = entries.map(({ status, kind, path, reason }) => [word(status), kind, path, reason ?? ''])
  const items = entries.map(({ status, ...rest }) => ({ status: word(status), ...rest }))
  const sums = Object.fromEntries(statuses.map((status) => [word(status), counts[status]]))
  if (rows.length > 0 || output.format !== 'table')
    await output.table(['Action', 'Kind', 'Path', 'Why'], rows, { dry_run: dryRun, counts: sums, items, left_off: leftOff })
  if (leftOff > 0) output.note(`and ${leftOff} more, of which only the sums tell`)
  const line = statuses.map((status) => `${counts[status]} ${word(status)}`).join(', ')
  output.say(`${rows.length > 0 ? '\n' : ''}${dryRun ? 'Dry run, nothing was written' : 'Done'}: ${line}`)
  if (counts.conflict > 0) output.note('hint: -overwrite puts what the source has in place of what is in conflict')
}
