/**
 * A rolling upgrade under all faults: nodes of this release are restarted one by one as nodes of the next (which writes level 2, a rehearsal, as soon as
 * everybody reads it) and, until the level is raised, back. Whoever goes back too late must refuse in words, and is then upgraded again.
 */
import { isHoldfastError } from '#base/errors.ts'
import { releasedFormats, rehearsalLevel, type FormatRange } from '#base/formats.ts'
import type { ReplicaSettings } from '#replica/index.ts'
import type { Prng } from '../prng.ts'
import type { Plan } from './draw.ts'
import type { SimNode } from './node.ts'
import type { World } from './world.ts'

export const nextFormats: FormatRange = { min: releasedFormats.min, max: rehearsalLevel }

/** The release was exchanged: the node is started with the other one from now on. Returns false where there is nothing to exchange. */
export function exchangeRelease(world: World, node: SimNode, formats: FormatRange): boolean {
  if (node.lost || node.formats === formats) return false
  // A cluster is founded by this release: one that the next founds begins at its level, and there is no way back.
  if (world.oracle.committedMax === 0) return false
  node.formats = formats
  if (node.up) {
    if (world.random.chance(0.7)) node.stop()
    else node.kill('kill')
  }
  return true
}

/** The way back: allowed until the level is raised, and in some seeds tried after it, too. */
export function downgrade(world: World, node: SimNode): boolean {
  if (node.formats !== nextFormats) return false
  if (world.oracle.raiseSeen && !world.random.chance(0.2)) return false
  if (world.oracle.raiseSeen) world.count('downgrade-too-late')
  return exchangeRelease(world, node, releasedFormats)
}

/** A node that can't read what the cluster writes is right to refuse, if the level was raised. Its operator then starts the newer release. */
export function refusedRightly(world: World, node: SimNode, code: string): boolean {
  if (code !== 'ERR_UPGRADE_REQUIRED' || !world.oracle.raiseSeen || node.life?.formats !== releasedFormats) return false
  world.count('upgrade-required')
  node.formats = nextFormats
  return true
}

/** An older release asks to join a cluster that was raised: refused, upgraded, and asks again. */
export function upgradeJoiner(world: World, node: SimNode, error: unknown): void {
  if (!isHoldfastError(error, 'ERR_UPGRADE_REQUIRED')) return
  world.count('join-upgrade-required')
  exchangeRelease(world, node, nextFormats)
}

/** Phase two: whoever is too old by now is upgraded; in half of the seeds everybody is, and then the level must rise. */
export function finishRolling(world: World): void {
  if (!world.plan.rolling) return
  const all = world.random.chance(0.5)
  if (!all && !world.oracle.raiseSeen) return
  for (const node of world.nodes.values()) if (exchangeRelease(world, node, nextFormats)) world.count('upgrade')
}

/** Told at each start of a node. */
export function noteMixed(world: World): void {
  const live = [...world.nodes.values()].flatMap(({ life }) => (life === null ? [] : [life.formats.max]))
  if (new Set(live).size > 1) world.count('mixed')
}

/** In some seeds every start of a node draws some settings anew: configurations are rolled out like releases. */
export function settingsOf({ settings, mixedSettings }: Plan, random: Prng): Plan['settings'] {
  if (!mixedSettings) return settings
  const { electionTicks } = settings
  const free: Partial<ReplicaSettings> = {
    heartbeatTicks: random.pick([1, 2]),
    sealedElectionFactor: random.pick([2, 3]),
    appendBytesMax: random.pick([1, 200, 2_000, 100_000]),
    inflightMessagesMax: random.pick([1, 4, 64]),
    trailingEntries: random.pick([0, 4, 20, 1_000]),
    applyEntriesMax: random.pick([1, 3, 100]),
  }
  // A lease is worth what the others promise: there these are the same on all nodes.
  if (settings.leaseReads === true) return { ...settings, ...free, preVote: random.chance(0.5) }
  // One of the two is everywhere, as in any cluster that may be relied on (draw.ts).
  const rules = settings.checkQuorum ? { preVote: random.chance(0.5) } : { preVote: true, checkQuorum: random.chance(0.5) }
  return {
    ...settings,
    ...free,
    ...rules,
    electionTicks: random.pick([electionTicks, Math.round(electionTicks * 1.5)]),
  }
}
