/**
 * Whom recoveries of this node have left out of their lists: `identity/left-out.json`, fingerprints of keys. A node that is to be filled anew knows no
 * members, and lets in whomever the cluster's authority has certified; those who were left out have been, too. If they run on after all, with the vote of
 * one that was laid aside they could be a majority of before, which goes on beside the recovered cluster.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { HoldfastError } from '#base/errors.ts'
import type { RecoveryPlan } from '#replica/recovery-plan.ts'
import type { Member } from '#replica/types.ts'
import { writeDurably } from './data-folder.ts'

type LeftOut = Pick<Member, 'id' | 'fingerprint'>

const pathIn = (dataDir: string): string => join(dataDir, 'identity', 'left-out.json')

/** Durably notes who of `known`, and of those left out before, is not in `plan`. @throws ERR_STORE_CORRUPT for an earlier note that can't be read */
export function noteLeftOut(dataDir: string, known: readonly Member[], plan: RecoveryPlan): void {
  const goesOn = new Set(plan.members.map(({ id }) => id))
  const named = new Map([...read(dataDir), ...known].map(({ id, fingerprint }) => [fingerprint, { id, fingerprint }]))
  writeDurably(pathIn(dataDir), JSON.stringify([...named.values()].filter(({ id }) => !goesOn.has(id))))
}

/** The fingerprints of their keys; empty where there was no recovery. @throws ERR_STORE_CORRUPT */
export function leftOutIn(dataDir: string): ReadonlySet<string> {
  return new Set(read(dataDir).map(({ fingerprint }) => fingerprint))
}

function read(dataDir: string): readonly LeftOut[] {
  try {
    return parse(readFileSync(pathIn(dataDir), 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    // Not taken for none: then they would be let in.
    throw new HoldfastError(
      'ERR_STORE_CORRUPT',
      `left-out.json: expected a list of nodes that a recovery has left out, got something else`,
      {
        cause: error,
        hint: `if this node has been filled since, or those nodes are gone for good, delete ${pathIn(dataDir)}`,
      },
    )
  }
}

function parse(text: string): readonly LeftOut[] {
  const rows: unknown = JSON.parse(text)
  const isRow = (row: unknown): row is LeftOut =>
    typeof row === 'object' &&
    row !== null &&
    'id' in row &&
    typeof row.id === 'string' &&
    'fingerprint' in row &&
    typeof row.fingerprint === 'string'
  if (!Array.isArray(rows) || !rows.every(isRow)) throw new TypeError('expected rows of an id and a fingerprint')
  return rows
}
