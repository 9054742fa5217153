/**
 * Atomicity of a register without versions (kv version 1), where no two writes write the same value: Gibbons and Korach, "Testing shared
 * memories", 1997. With unique values each read names its write, so nothing is searched: a write and its reads are a cluster, which is
 * - a forward zone from its first return to its last call, where that lies in order: during it the register surely held this value;
 * - else a backward zone from its last call to its first return: it may have taken place entirely at any instant in it.
 * Atomic exactly if no read ends before its write begins, no two forward zones overlap, and no backward zone lies inside a forward one.
 */

export interface RegisterOperation {
  readonly id: number
  readonly client: string
  readonly key: string
  readonly kind: 'read' | 'write'
  /** Written or read; null is read before the first write. */
  readonly value: string | null
  readonly callAt: number
  /** Null: a write of unknown outcome. A read without an answer is not part of a history. */
  readonly returnAt: number | null
}

interface Zone {
  readonly value: string | null
  /** First return and last call of the cluster. */
  readonly firstReturn: number
  readonly lastCall: number
}

/** One sentence for each violation; none if the history of this one key is linearizable. */
export function checkRegister(operations: readonly RegisterOperation[]): string[] {
  const writes = new Map<string | null, RegisterOperation>()
  for (const operation of operations.filter(({ kind }) => kind === 'write')) {
    if (writes.has(operation.value)) throw new Error(`expected each value to be written once, got ${operation.value} twice`)
    writes.set(operation.value, operation)
  }
  const clusters = Map.groupBy(operations, ({ value }) => value)
  const violations: string[] = []
  const zones: Zone[] = []
  for (const [value, members] of clusters) {
    const write = writes.get(value)
    const reads = members.filter(({ kind }) => kind === 'read')
    if (write === undefined && value !== null) violations.push(`${value} was read (${nameOf(reads[0])}), but never written`)
    const early = write === undefined ? undefined : reads.find(({ returnAt }) => (returnAt as number) < write.callAt)
    if (early !== undefined) violations.push(`${value} was read (${nameOf(early)}) before its write was called`)
    // A write of unknown outcome that nobody saw may never have happened.
    if (write?.returnAt === null && reads.length === 0) continue
    const born = value === null ? -Infinity : Infinity
    zones.push({
      value,
      firstReturn: Math.min(born, ...members.map(({ returnAt }) => returnAt ?? Infinity)),
      lastCall: Math.max(...members.map(({ callAt }) => callAt)),
    })
  }
  return [...violations, ...overlaps(zones)]
}

function overlaps(zones: readonly Zone[]): string[] {
  const isForward = (zone: Zone): boolean => zone.firstReturn < zone.lastCall
  const forward = zones.filter(isForward).toSorted((a, b) => a.firstReturn - b.firstReturn)
  const violations: string[] = []
  let widest: Zone | undefined
  for (const zone of forward) {
    if (widest !== undefined && zone.firstReturn < widest.lastCall)
      violations.push(`${widest.value} and ${zone.value} would both have to be the value at one time`)
    if (widest === undefined || zone.lastCall > widest.lastCall) widest = zone
  }
  for (const zone of zones.filter((each) => !isForward(each))) {
    const around = forward.find(({ firstReturn, lastCall }) => firstReturn < zone.lastCall && zone.firstReturn < lastCall)
    if (around !== undefined) violations.push(`${zone.value} happened while ${around.value} would have to be the value all along`)
  }
  return violations
}

function nameOf(operation: RegisterOperation | undefined): string {
  return operation === undefined ? 'nobody' : `operation ${operation.id} of ${operation.client}`
}
