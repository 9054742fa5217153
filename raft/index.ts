/** Raft as a pure state machine: everything that drivers need, and nothing else. See README.md for the driver's duties. */
export { RaftInvariantError } from './assert.ts'
export { applyMembershipEntry, decodeMembershipChange, encodeMembershipChange } from './codec.ts'
export { createRaft } from './core.ts'
export { changeMembership, emptyMembership, isJoint, membersMax, membersOf } from './membership.ts'
export * from './types.ts'
