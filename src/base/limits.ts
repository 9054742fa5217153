import { assert } from './assert.ts'

/** Every bound of the server, named with its unit last. What an operator may change is in the configuration; these are its defaults. */
export const limits = {
  requestBodyBytesMax: 32 * 1024 * 1024,
  requestHeaderBytesMax: 16 * 1024,
  requestDurationMsMax: 90_000,
  jsonDepthMax: 64,
  jsonStringsMax: 1_000,
  pathBytesMax: 4_096,
  pathSegmentBytesMax: 1_024,
  storageValueBytesMax: 1024 * 1024,
  transactionBytesMax: 8 * 1024 * 1024,
  transactionAttemptsMax: 32,
  entryBytesMax: 9 * 1024 * 1024,
  appendBytesMax: 12 * 1024 * 1024,
  frameBytesMax: 16 * 1024 * 1024,
  uncommittedBytesMax: 64 * 1024 * 1024,
  forwardBodyBytesMax: 33 * 1024 * 1024,
  ttlSecondsMax: 768 * 3600,
  ttlSecondsDefault: 768 * 3600,
  listEntriesPerTurn: 256,
  valueCacheBytesMax: 32 * 1024 * 1024,
  /** What a server keeps of opened values unless it is configured: a hundred thousand secrets of 400 bytes. */
  serverCacheBytesMax: 96 * 1024 * 1024,
} as const

assert(limits.entryBytesMax > limits.transactionBytesMax, 'one log entry must be able to carry the largest transaction')
assert(limits.appendBytesMax > limits.entryBytesMax, 'one append must be able to carry the largest entry')
assert(limits.frameBytesMax > limits.appendBytesMax, 'one frame must be able to carry the largest append')
