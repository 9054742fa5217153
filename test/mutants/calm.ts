/**
 * The fault-free run that every mutant must pass: a bug that shows without any fault would say nothing about the tests.
 * Three nodes elect, take 100 proposals and serve reads: first the cores alone on the simulator, then whole replicas with their stores.
 * Exits 0 when all went well.
 */
import { calm, drawOptions, type Options } from '#test/sim/options.ts'
import { Prng } from '#test/sim/prng.ts'
import { World } from '#test/sim/world.ts'
import { calmReplicas } from './calm-replicas.ts'

const ticksMax = 3_000
const proposalsMin = 100
const readsMin = 20

/** Three voters, unsealed, with room in every queue: what production looks like on a good day. */
function isOrdinary(options: Options): boolean {
  const { voters, preVote, checkQuorum, lease, chances } = options
  const roomy = options.inflightMessagesMax >= 8 && options.inflightBytesMax >= 1_000 && options.pendingReadsMax >= 4
  const wide = options.uncommittedBytesMax >= 2_000 && options.committedBytesMax >= 10_000 && options.appendBytesMax >= 400
  const swift = options.latency[1] <= 60 && options.diskLatency[1] <= 50 && options.applyLatency[1] <= 50
  return voters === 3 && preVote && checkQuorum && lease === undefined && chances.sealedAtStart === 0 && roomy && wide && swift
}

function ordinarySeed(): number {
  for (let seed = 1; seed < 100_000; seed += 1) if (isOrdinary(drawOptions(new Prng(seed), seed))) return seed
  throw new Error('expected a seed that draws an ordinary cluster, got none')
}

function calmCores(): void {
  const world = new World(ordinarySeed())
  const nodes = [...world.nodes.values()]
  world.chances = { ...calm, compact: 0, write: 0, read: 0 }
  world.network.weather = calm
  // Only what a client could see: the oracles look into disks and messages, and know of promises that no fault has put to the test.
  const blind = (): void => {}
  Object.assign(world.oracle, { leader: blind, appended: blind, committed: blind, persisted: blind, sent: blind, dropped: blind })
  let [proposals, ticks] = [0, 0]
  // With no chances of anything, "breaking things" only lets time pass.
  for (; ticks < ticksMax && proposals < proposalsMin; ticks += 1) {
    world.breakThings(1)
    const leader = nodes.find((node) => node.status()?.ready === true)
    if (leader === undefined) continue
    const before = leader.status()?.lastIndex ?? 0
    leader.write(1)
    proposals += (leader.status()?.lastIndex ?? 0) - before
    for (const node of nodes) node.read()
  }
  world.breakThings(10 * world.options.electionTicks)
  const states = new Set(nodes.map((node) => node.disk.state.digest))
  const open = nodes.reduce((sum, node) => sum + node.openReads, 0)
  const expected = proposalsMin + readsMin
  if (proposals >= proposalsMin && states.size === 1 && open === 0 && world.operations >= expected) return
  throw new Error(`expected ${expected} operations and one state, got ${world.operations}, ${states.size} states, ${open} open reads`)
}

calmCores()
await calmReplicas(proposalsMin, readsMin)
