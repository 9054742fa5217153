import { expect, test } from 'vitest'
import { encodeMembershipChange } from '#raft/index.ts'
import type { Entry } from '#raft/types.ts'
import { Announced } from '#replica/announced.ts'
import { encodeUpdate } from '#replica/directory.ts'
import type { Member } from '#replica/types.ts'

const member = (id: string): Member => ({ id, clusterAddress: `${id}:1`, apiAddress: `https://${id}`, fingerprint: `f ${id}`, voter: true })

function adds(index: number, id: string): Entry {
  const data = encodeMembershipChange({
    steps: [{ kind: 'add-voter', node: id }],
    joint: 'auto',
    context: encodeUpdate({ put: member(id) }),
  })
  return { index, term: 1, type: 2, data }
}

const removes = (index: number, id: string): Entry => ({
  index,
  term: 1,
  type: 2,
  data: encodeMembershipChange({ steps: [{ kind: 'remove', node: id }], joint: 'auto', context: encodeUpdate({ remove: id }) }),
})

test('whom the log names is reachable until the state speaks for itself; what the state knows comes first', () => {
  const announced = new Announced()
  const known = [member('n1')]
  expect(announced.with(known)).toBe(known)
  expect(announced.note([adds(5, 'n2'), removes(6, 'n1'), { index: 7, term: 1, type: 0, data: new Uint8Array(3) }])).toBe(true)
  expect(announced.note([removes(8, 'n1')])).toBe(false)
  expect(announced.with(known).map(({ id }) => id)).toEqual(['n1', 'n2'])
  expect(announced.with([{ ...member('n2'), fingerprint: 'newer' }])).toEqual([{ ...member('n2'), fingerprint: 'newer' }])
  announced.forget(4)
  expect(announced.with(known).length).toBe(2)
  announced.forget(5)
  expect(announced.with(known)).toBe(known)
})
