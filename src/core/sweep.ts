/**
 * Deleting much without one huge transaction: what is to go is noted in the transaction that made it unreachable, and a job of
 * the leader deletes it in bounded steps. A crash in between loses nothing: the note stays until the last key is gone.
 */
import { inPages } from '#barrier/pages.ts'
import type { Section, Transaction } from '#barrier/types.ts'
import { isHoldfastError } from '#base/errors.ts'
import { encodeStored, parseStored } from './storage.ts'

const sweepSection: Section = { namespace: 'root', mount: 'sys/sweep' }
/** Most steps need the first note alone. */
const notesPerPage = 16
const keysPerStepMax = 512

interface Note {
  readonly section: Section
  readonly prefix: string
}

/** Notes that everything below `prefix` ('' = all) of `section` is to be deleted. */
export function scheduleSweep(transaction: Transaction, section: Section, prefix: string): void {
  const name = Buffer.from(`${section.namespace}\0${section.mount}\0${prefix}`).toString('base64url')
  transaction.put(sweepSection, name, encodeStored({ section, prefix } satisfies Note))
}

/** The namespace of a note, by its name: of those that wait not one is opened. */
const namespaceOf = (name: string): string => Buffer.from(name, 'base64url').toString().split('\0', 1)[0]!

/** Deletes at most so many keys of what is noted; true when more is left. What lies in a namespace that is sealed waits, and holds up nothing else. */
export async function sweepStep(transaction: Transaction, keysMax = keysPerStepMax): Promise<boolean> {
  const sealed = new Set<string>()
  for await (const name of inPages(transaction, sweepSection, '', notesPerPage)) {
    const namespace = namespaceOf(name)
    if (sealed.has(namespace)) continue
    try {
      return await sweepNote(transaction, name, keysMax)
    } catch (error) {
      if (!isHoldfastError(error, 'ERR_NAMESPACE_SEALED')) throw error
      sealed.add(namespace)
    }
  }
  return false
}

async function sweepNote(transaction: Transaction, name: string, keysMax: number): Promise<boolean> {
  const stored = await transaction.get(sweepSection, name)
  if (stored === null) return false
  const { section, prefix } = parseStored<Note>(stored, 'a note of the sweeper')
  const deleted = await sweepSome(transaction, section, prefix, keysMax)
  if (deleted < keysMax) transaction.delete(sweepSection, name)
  return true
}

/** Deletes at most `keysMax` keys below `prefix` ('' = all); gives back how many. */
export async function sweepSome(transaction: Transaction, section: Section, prefix: string, keysMax: number): Promise<number> {
  let deleted = 0
  for (const name of await transaction.list(section, prefix, { limit: keysMax })) {
    if (deleted >= keysMax) break
    const path = prefix === '' ? name : `${prefix}/${name}`
    if (name.endsWith('/')) {
      deleted += await sweepSome(transaction, section, path.slice(0, -1), keysMax - deleted)
    } else {
      transaction.delete(section, path)
      deleted += 1
    }
  }
  return deleted
}
