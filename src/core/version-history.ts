/** Which versions this cluster has run, and since when: the leader notes its own, once. */
import type { Barrier, ReadView, Section } from '#barrier/types.ts'
import { checkVersion } from '#base/formats.ts'
import { HoldfastError } from '#base/errors.ts'
import type { LeaderJob } from './jobs.ts'

const formatVersion = 1
const versionsSection: Section = { namespace: 'root', mount: 'sys/versions' }
/** Soon after a node has begun to lead; it is a look at a variable from then on. */
const everyMs = 2_000
/** A version a line, over years. What comes beyond is not noted. */
const versionsMax = 256

export interface RunVersion {
  readonly version: string
  readonly buildDate: string
  /** The leader's clock when it first led, ms. */
  readonly sinceMs: number
}

interface StoredVersion extends Omit<RunVersion, 'version'> {
  readonly format: number
}

/** The oldest first. @throws ERR_UPGRADE_REQUIRED for a record of another format. */
export async function readVersions(view: ReadView): Promise<readonly RunVersion[]> {
  const names = await view.list(versionsSection, '', { limit: versionsMax })
  const found = await Promise.all(
    names.map(async (version): Promise<RunVersion | null> => {
      const stored = await view.get(versionsSection, version)
      return stored === null ? null : decode(version, stored)
    }),
  )
  return found.filter((each) => each !== null).toSorted((a, b) => a.sinceMs - b.sinceMs)
}

function decode(version: string, bytes: Uint8Array): RunVersion {
  const { format, buildDate, sinceMs } = JSON.parse(Buffer.from(bytes).toString('utf8')) as StoredVersion
  if (!checkVersion('a version that was run', formatVersion, format))
    throw new HoldfastError('ERR_STORE_CORRUPT', 'expected the record of a version to carry a format, got none')
  return { version, buildDate, sinceMs }
}

/** Notes the version of whoever leads, the first time that it leads. Once that stands it is not looked at again in this process. */
export function versionJob(barrier: Barrier, version: string, buildDate: string): LeaderJob {
  let noted = false
  const run = async (nowMs: number): Promise<void> => {
    if (noted) return
    await barrier.transact(async (transaction) => {
      if ((await transaction.get(versionsSection, version)) !== null) return
      if ((await transaction.list(versionsSection, '', { limit: versionsMax })).length >= versionsMax) return
      const stored: StoredVersion = { format: formatVersion, buildDate, sinceMs: nowMs }
      transaction.put(versionsSection, version, Buffer.from(JSON.stringify(stored)))
    })
    noted = true
  }
  return { name: 'note the version', everyMs, inside: true, run }
}
