/**
 * Every format that lies on a disk or travels between nodes, with a sample, its reader, and the same sample as another release would have written it:
 * docs/internals/formats.md, the fixtures of each release and the refusal of unknown versions are all held by this list.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { crc32c } from '@node-rs/crc32'
import { Envelope } from '#barrier/envelope.ts'
import { Keyring } from '#barrier/keyring.ts'
import { sealBox } from '#barrier/aead.ts'
import { decodeJob, decodeRenaming, encodeJob, encodeRenaming } from '#barrier/renaming-record.ts'
import { decodeRing, decodeRingState, encodeRingState, ringHead, ringPlace } from '#barrier/ring.ts'
import { decodeKeyUses, encodeKeyUses } from '#barrier/uses.ts'
import type { ErrorCode } from '#base/errors.ts'
import { releasedFormats } from '#base/formats.ts'
import type { RandomSource } from '#base/random.ts'
import { SecretBytes } from '#base/secret.ts'
import { EntryType, MessageType, type Membership, type MembershipChange } from '#raft/index.ts'
import { decodeLease, encodeLease } from '#leases/records.ts'
import { decodeKept, encodeKept } from '#core/once.ts'
import type { Request } from '#core/types.ts'
import { Forwarding } from '#node/forwarding.ts'
import { ForwardSeal } from '#node/forward-seal.ts'
import { decodeRecord as decodeIdentity, encodeRecord as encodeIdentity } from '#identity/records.ts'
import { decodeNamespace, encodeNamespace } from '#namespaces/record.ts'
import { decodeQuota, encodeQuota } from '#quotas/store.ts'
import { decodeCommand, encodeCommand, ordersRestore } from '#replica/command.ts'
import { decodeUpdate, directoryOp, emptyDirectory, encodeUpdate, levelOp, readDirectory, updateDirectory } from '#replica/directory.ts'
import { membershipChangeIn, withMacs } from '#replica/entries.ts'
import { Keepsake } from '#replica/keepsake.ts'
import { encodeFormats, formatsFrom } from '#replica/levels.ts'
import { encodeMessage, messageFrom } from '#replica/messages.ts'
import { decodeHeader, encodeHeader } from '#replica/snapshots.ts'
import { encodeMembershipChange } from '#raft/index.ts'
import { openBackup, sealBackup } from '#seal/backup.ts'
import { encodeSealConfig, parseSealConfig } from '#seal/config.ts'
import { encodeWrapped, parseWrapped } from '#seal/wrapped.ts'
import type { ReplicaStatus } from '#replica/types.ts'
import { preambleBytes } from '#snapshots/blocks.ts'
import { inspectSnapshotFile } from '#snapshots/inspect.ts'
import { decodeRestored, encodeRestored } from '#snapshots/restored.ts'
import { decodeRun, decodeSchedule, encodeStoredRecord } from '#snapshots/schedule.ts'
import { AckFile } from '#store/ack.ts'
import { decodeBase, encodeBase } from '#store/base.ts'
import { nodeDisk } from '#store/disk.ts'
import { decodeFence, encodeFence } from '#store/fence.ts'
import { openHardState } from '#store/hardstate.ts'
import { chainOrigin, clusterTag, decodeRecord, encodeRecord } from '#store/record.ts'
import { openSlots } from '#store/slots.ts'
import { decodeStaged, encodeStaged } from '#store/staged.ts'
import { decodeMeta, emptyMeta, encodeMeta } from '#store/statemeta.ts'
import { decodeSnapshot, encodeSnapshot } from '#store/stream.ts'
import type { Op, StateView } from '#store/types.ts'
import { createClusterCa } from '#transport/certificates.ts'
import { createIdentity, loadIdentity, saveIdentity } from '#transport/identity.ts'
import { encodeFrame, FrameDecoder, FrameKind, frameValue } from '#transport/frames.ts'
import { answerChallenge, makeChallenge } from '#transport/join-challenge.ts'
import { decode, encode } from '#transport/msgpack.ts'
import { pieces, snapshotFile, snapshotPairs } from './snapshot-file.ts'

export interface Format {
  readonly name: string
  /** The version that this release writes. */
  readonly version: number
  /** Where it is found, for the table. */
  readonly where: string
  /** Replicated or sent, so written in the cluster's level; or this node's own. */
  readonly kind: 'cluster' | 'local'
  /** What reading another version yields. */
  readonly unknown: ErrorCode
  /** Why no sample of it is kept among the fixtures. */
  readonly unrecorded?: string
  sample(): Promise<Uint8Array> | Uint8Array
  /** What production reads there, as plain data. */
  read(bytes: Uint8Array): unknown
  /** The sample with another version: whole, checksums and all, so that nothing else is wrong with it. */
  newer(bytes: Uint8Array): Uint8Array
}

const clusterId = 'fixture'
const member = { id: 'a', clusterAddress: 'a:8201', apiAddress: 'https://a:8200', fingerprint: 'ab12', voter: true }
const membership: Membership = { voters: ['a', 'b'], votersOutgoing: [], learners: ['c'], learnersNext: [], autoLeave: false }
const meta = { ...emptyMeta, applied: 7, appliedTerm: 2, membership, leaderTimeMs: 1_700_000_000_000 }
const entry = { index: 5, term: 2, type: EntryType.command, data: Buffer.from('an entry') }
const orderToRestore = { id: 's', digest: new Uint8Array(4).fill(9), incarnation: 4 }
const place = Buffer.from([0x10, 1, 2])
const rootKey = createHash('sha256').update('the root key of the fixtures').digest()
const addMember: MembershipChange = { steps: [{ kind: 'add-learner', node: 'a' }], joint: 'auto', context: encodeUpdate({ put: member }) }

/** The same bytes each time: what it seals must open again years later, and need not be secret. */
function fixedRandom(): RandomSource {
  let drawn = 0
  return {
    bytes: (length) => {
      const out = new Uint8Array(length)
      for (let at = 0; at < length; at += 32) {
        drawn += 1
        out.set(
          createHash('sha256')
            .update(`fixture ${drawn}`)
            .digest()
            .subarray(0, Math.min(32, length - at)),
          at,
        )
      }
      return out
    },
  }
}

/** Adds one to the byte at `at`, and mends the checksum over `checked` that follows it. */
function raise(at: number, checked?: (bytes: Buffer) => readonly [number, number]): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    const out = Buffer.from(bytes)
    out[at] = (out[at] ?? 0) + 1
    if (checked === undefined) return out
    const [from, end] = checked(out)
    out.writeUInt32BE(crc32c(out.subarray(from, end)), end)
    return out
  }
}

const allBefore = (bytes: Buffer): readonly [number, number] => [0, bytes.length - 4]

function viewOf(...ops: readonly Op[]): StateView {
  const held = new Map(ops.map(({ key, value }) => [Buffer.from(key).toString('hex'), value]))
  const refuse = (): never => {
    throw new Error('not in a fixture')
  }
  return {
    meta,
    get: (key) => held.get(Buffer.from(key).toString('hex')) ?? undefined,
    entriesFrom: refuse,
    keyCursor: refuse,
    release: () => {},
  }
}

/** Bytes of the file `name` that `write` leaves in a folder of its own. */
async function fileOf(name: string, write: (directory: string) => Promise<void>): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-format-'))
  try {
    await write(directory)
    return await readFile(join(directory, name))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** What `read` gives of a folder that holds `files`. */
async function folderOf<T>(files: Readonly<Record<string, Uint8Array>>, read: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-format-'))
  try {
    for (const [name, bytes] of Object.entries(files)) {
      await mkdir(dirname(join(directory, name)), { recursive: true })
      await writeFile(join(directory, name), bytes)
    }
    return await read(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces)
}

function frameOf(bytes: Uint8Array): unknown {
  const [frame] = new FrameDecoder(1_000_000).push(bytes)
  return frame === undefined ? null : frameValue(frame)
}

const forwarded: Request = {
  id: 'r-1',
  operation: 'update',
  path: 'secret/a',
  namespace: '',
  token: 'not a token',
  body: { a: 1 },
  query: {},
  headers: { 'x-a': 'b' },
  clientAddress: '10.1.2.3',
  wrapTtlSeconds: 0,
  method: 'POST',
  ticket: { boot: 1_700_000_000_000, slot: 0, serial: 1 },
}
const forwardBarrier = { derivedKey: () => new SecretBytes(new Uint8Array(createHash('sha256').update('forwarding').digest())) }

/** The end of forwarding at `self`, while `leader` leads; `seen`: what it was asked to carry out. */
function forwarder(
  self: string,
  leader: string,
  send: (sealed: Uint8Array) => Promise<Uint8Array>,
): { forwarding: Forwarding; seen: Request[] } {
  const seen: Request[] = []
  const status = { leader } as ReplicaStatus
  const forwarding = new Forwarding({
    barrier: forwardBarrier,
    random: fixedRandom(),
    replica: { nodeId: self, status: () => status, onStatus: () => () => {} },
    transport: () => ({ request: (_to, _kind, body) => send(body) }),
    handle: async (request) => {
      seen.push(request)
      return { status: 204, headers: {}, body: new Uint8Array() }
    },
  })
  return { forwarding, seen }
}

const directory = updateDirectory({ ...emptyDirectory, incarnation: 3 }, { put: member })
const opValue = ({ value }: Op): Uint8Array => value ?? new Uint8Array()
const withLevel = (bytes: Uint8Array): StateView => viewOf({ key: new Uint8Array([0x09]), value: bytes }, directoryOp(directory))

export const formats: readonly Format[] = [
  {
    name: 'command',
    version: 2,
    where: 'log entries of type 0',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeCommand({
        timeMs: 1_700_000_000_000,
        sections: [
          {
            section: Buffer.from('s'),
            ops: [
              { key: place, value: Buffer.from('v') },
              { key: Buffer.from([0x10, 9]), value: null },
            ],
          },
        ],
        directory: { put: member },
      }),
    read: (bytes) => decodeCommand(bytes),
    newer: raise(0),
  },
  {
    name: 'member update',
    version: 1,
    where: 'commands and membership changes',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeUpdate({ put: member }),
    read: (bytes) => decodeUpdate(bytes),
    newer: raise(1),
  },
  {
    name: 'membership change',
    version: 1,
    where: 'log entries of type 2 (`raft/codec.ts`)',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeMembershipChange(addMember),
    read: (bytes) => membershipChangeIn(bytes),
    newer: raise(0),
  },
  {
    name: 'signed membership change',
    version: 1,
    where: "a membership change's context",
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeMembershipChange(withMacs(addMember, new Uint8Array(32).fill(1), new Uint8Array(32).fill(2))),
    read: (bytes) => membershipChangeIn(bytes),
    // Behind version, joint, one step ('a') and the length of the context.
    newer: raise(3 + 3 + 4),
  },
  {
    name: 'raft message',
    version: 1,
    where: 'between nodes, in a frame',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => {
      const more = { logIndex: 4, logTerm: 2, commit: 3, entries: [entry] }
      return encode(encodeMessage({ version: 1, type: MessageType.append, from: 'a', to: 'b', term: 2, ...more }, releasedFormats.max))
    },
    read: (bytes) => messageFrom(decode(bytes), 'a', 'b'),
    newer: (bytes) => encode({ ...(decode(bytes) as object), version: releasedFormats.max + 1 }),
  },
  {
    name: 'formats announcement, members hint, replica check',
    version: 1,
    where: 'between nodes, in a frame; never changes: it comes before any agreement',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encode(encodeFormats({ min: 1, max: 2 })),
    // As the driver does: what is none of them must be a message.
    read: (bytes) => formatsFrom(decode(bytes)) ?? messageFrom(decode(bytes), 'a', 'b'),
    newer: (bytes) => encode({ ...(decode(bytes) as object), version: 2 }),
  },
  {
    name: 'order to restore',
    version: 2,
    where: 'log entries of type 0, in the head of a command',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeCommand({ timeMs: 1_700_000_000_000, sections: [], directory: null, restore: orderToRestore }),
    read: (bytes) => ({ ordered: ordersRestore(bytes), command: decodeCommand(bytes) }),
    newer: raise(0),
  },
  {
    name: 'header of a staged snapshot',
    version: 2,
    where: 'before a snapshot between nodes that is to be stored beside the state',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeHeader({ clusterId, term: 2, index: 7, proof: null, incarnation: 4, staged: { id: 's', digest: new Uint8Array(4).fill(9) } }),
    read: (bytes) => decodeHeader(bytes),
    newer: raise(1),
  },
  {
    name: 'snapshot header',
    version: 2,
    where: 'before a snapshot between nodes',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeHeader({ clusterId, term: 2, index: 7, proof: null }),
    read: (bytes) => decodeHeader(bytes),
    newer: raise(1),
  },
  {
    name: 'snapshot stream',
    version: 1,
    where: 'a snapshot between nodes',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => {
      const pairs = async function* (): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
        yield [place, Buffer.from('v')]
        yield [Buffer.from([0x20]), new Uint8Array(300).fill(7)]
      }
      return bytesOf(encodeSnapshot({ clusterId, meta: encodeMeta(clusterId, meta) }, pairs()))
    },
    read: async (bytes) => {
      const found: unknown[] = []
      const stream = async function* (): AsyncGenerator<Uint8Array> {
        yield bytes
      }
      await decodeSnapshot(
        stream(),
        (header) => void found.push(header.clusterId, decodeMeta(header.clusterId, header.meta)),
        async (pairs) => void found.push(...pairs),
      )
      return found
    },
    // The first frame: length 4, kind 1, then a list whose first element is the version.
    newer: raise(6, (bytes) => [4, 5 + bytes.readUInt32BE(0)]),
  },
  {
    name: 'frame',
    version: 1,
    where: 'the stream between nodes',
    kind: 'cluster',
    unknown: 'ERR_FRAME',
    sample: () => encodeFrame(FrameKind.message, { hello: 'there' }, 1_000_000),
    read: frameOf,
    newer: raise(4),
  },
  {
    name: 'member directory',
    version: 2,
    where: 'the replicated state, key 0x08',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => opValue(directoryOp(directory)),
    read: (bytes) => readDirectory(viewOf({ key: new Uint8Array([0x08]), value: bytes }), releasedFormats),
    newer: raise(1, allBefore),
  },
  {
    name: 'format level',
    version: 1,
    where: 'the replicated state, key 0x09; never changes: it is read before anything else',
    kind: 'cluster',
    unknown: 'ERR_STORE_CORRUPT',
    sample: () => opValue(levelOp(releasedFormats.max)),
    read: (bytes) => readDirectory(withLevel(bytes), releasedFormats),
    newer: raise(0, () => [0, 5]),
  },
  {
    name: 'log record',
    version: 1,
    where: '`log/`, one for each entry',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeRecord(clusterTag(clusterId), chainOrigin(clusterTag(clusterId), 4, 2), entry).record,
    read: (bytes) => decodeRecord(clusterTag(clusterId), 5, bytes, null),
    newer: raise(0, allBefore),
  },
  {
    name: 'log base',
    version: 1,
    where: '`log/`, before the first entry',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeBase({ index: 4, term: 2, chain: chainOrigin(clusterTag(clusterId), 4, 2) }, clusterTag(clusterId)),
    read: (bytes) => decodeBase(bytes, clusterTag(clusterId)),
    newer: raise(0, allBefore),
  },
  {
    name: 'state meta',
    version: 3,
    where: '`state/gN/`, key 0x00; in snapshots',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeMeta(clusterId, meta),
    read: (bytes) => decodeMeta(clusterId, bytes),
    newer: raise(1, allBefore),
  },
  {
    name: 'hard state',
    version: 1,
    where: '`hardstate.0`, `hardstate.1`, in slots',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      fileOf('hardstate.0', async (folder) => (await openHardState(nodeDisk, folder, clusterId)).write({ term: 4, vote: 'b', commit: 17 })),
    read: (bytes) =>
      folderOf(
        { 'hardstate.0': bytes, 'hardstate.1': bytes },
        async (folder) => (await openHardState(nodeDisk, folder, clusterId)).current,
      ),
    // Behind the slot's head of 16 bytes a list, and its first element.
    newer: raise(17, allBefore),
  },
  {
    name: 'fence',
    version: 1,
    where: '`fence.0`, `fence.1`, in slots',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeFence({ term: 9, reason: 'log: expected an entry at index 5, got a hole' }),
    read: (bytes) => decodeFence(bytes),
    newer: raise(1),
  },
  {
    name: 'staged state',
    version: 1,
    where: '`state/gN.staged`: what a restore has stored beside the state',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeStaged({ id: 's', term: 2, digest: new Uint8Array(4).fill(9), pairs: 3, bytes: 40 }),
    read: (bytes) => decodeStaged(bytes),
    newer: (bytes) => {
      const [, ...rest] = Buffer.from(bytes).toString('utf8').split('\n')
      const json = rest.join('\n').replace('"version":1', '"version":2')
      return Buffer.from(`${crc32c(json)}\n${json}`)
    },
  },
  {
    name: 'slot',
    version: 1,
    where: '`hardstate.0`, `hardstate.1`, `members.0`, `members.1`, `fence.0`, `fence.1`',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => fileOf('x.0', async (folder) => (await openSlots(nodeDisk, folder, 'x')).write(Buffer.from('payload'))),
    // Only one is newer: an older twin must not be taken in its place.
    read: (bytes) =>
      folderOf({ 'x.0': bytes, 'x.1': olderSlot }, async (folder) => {
        const { current } = await openSlots(nodeDisk, folder, 'x')
        return current === null ? null : { sequence: current.sequence, payload: current.payload }
      }),
    newer: raise(3, allBefore),
  },
  {
    name: 'acknowledged mark',
    version: 1,
    where: '`acknowledged`',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      fileOf('acknowledged', async (folder) => {
        const file = await AckFile.open(nodeDisk, folder)
        await file.lower({ index: 5, chain: new Uint8Array(32).fill(3) })
        await file.close()
      }),
    read: (bytes) =>
      folderOf({ acknowledged: bytes }, async (folder) => {
        const file = await AckFile.open(nodeDisk, folder)
        await file.close()
        return file.mark
      }),
    newer: (bytes) => {
      const slot = (at: number): Uint8Array => raise(0, () => [0, 49])(bytes.subarray(at, at + 53))
      return Buffer.concat([slot(0), new Uint8Array(512 - 53), slot(512)])
    },
  },
  {
    name: 'kept members',
    version: 1,
    where: '`members.0`, `members.1`, in slots',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: async () => {
      let written: Uint8Array = new Uint8Array()
      const slots = { current: null, write: async (payload: Uint8Array) => void (written = payload) }
      await new Keepsake(slots).keep({ index: 7, membership, members: [member] })
      return written
    },
    read: (bytes) => new Keepsake({ current: { sequence: 1, payload: bytes }, write: async () => {} }).kept,
    newer: raise(1),
  },
  {
    name: 'identity',
    version: 1,
    where: '`identity/identity.json`',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    unrecorded: 'a private key has no place in a repository, not even one that opens nothing',
    sample: async () => {
      const random = fixedRandom()
      const ca = await createClusterCa({ clusterId, nowMs: 1_700_000_000_000, random })
      const identity = await createIdentity(ca, { nodeId: 'a', clusterId, nowMs: 1_700_000_000_000, days: 365, random })
      return fileOf('identity/identity.json', (folder) => saveIdentity(folder, identity))
    },
    read: (bytes) =>
      folderOf({ 'identity/identity.json': bytes }, async (folder) => {
        const identity = await loadIdentity(folder)
        return identity === null ? null : { ...identity, privateKeyPem: createHash('sha256').update(identity.privateKeyPem).digest('hex') }
      }),
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version": 1', '"version": 2')),
  },
  {
    name: 'join challenge',
    version: 1,
    where: 'joining by the seal',
    kind: 'local',
    unknown: 'ERR_BAD_REQUEST',
    sample: () => {
      const key = (text: string): SecretBytes => new SecretBytes(new Uint8Array(createHash('sha256').update(text).digest()))
      const options = { processKey: key('p'), rootKey: key('r'), serverId: 'a', nowMs: 1_700_000_000_000, random: fixedRandom() }
      return Buffer.from(makeChallenge(options), 'base64url')
    },
    read: (bytes) => {
      using root = new SecretBytes(new Uint8Array(createHash('sha256').update('r').digest()))
      using key = answerChallenge(Buffer.from(bytes).toString('base64url'), { rootKey: root, serverId: 'a' })
      return createHash('sha256').update(key.reveal()).digest('hex')
    },
    newer: raise(0),
  },
  {
    name: 'forwarded request',
    version: 3,
    where: 'from a follower to the leader, sealed',
    kind: 'cluster',
    unknown: 'ERR_FRAME',
    sample: async () => {
      let sent: Uint8Array = new Uint8Array()
      const { forwarding } = forwarder('a', 'b', async (sealed) => (sent = sealed))
      // No answer comes back: it is the request that is looked at.
      await forwarding.forward(forwarded).catch(() => {})
      return sent
    },
    read: async (bytes) => {
      const { forwarding, seen } = forwarder('b', 'b', async (sealed) => sealed)
      await forwarding.answer('a', bytes)
      return seen[0]
    },
    newer: (bytes) => {
      const seal = new ForwardSeal({ barrier: forwardBarrier, random: fixedRandom() })
      const place = `forward request ${JSON.stringify(['a', 'b'])}`
      const fields = decode(seal.open(place, bytes)) as { version: number }
      return seal.seal(place, encode({ ...fields, version: fields.version + 1 }))
    },
  },
  {
    name: 'repeated request',
    version: 1,
    where: 'behind the barrier, `sys/once`',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    unrecorded: 'none is read ten minutes after it was written',
    sample: () =>
      encodeKept(
        {
          version: 1,
          timeMs: 1_700_000_000_000,
          requestId: 'r',
          fingerprint: 'f',
          operation: 'update',
          endedToken: null,
          sender: { node: 'a', mark: { boot: 1_700_000_000_000, serial: 3 } },
          status: 200,
          headers: { 'content-type': 'application/json' },
          hasAnswer: true,
        },
        Buffer.from('{}\n'),
      ),
    read: decodeKept,
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
  {
    name: 'namespace',
    version: 1,
    where: 'behind the barrier, `sys/namespace`',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeNamespace({
        id: 'aB3dE6',
        uuid: '00000000-0000-4000-8000-000000000001',
        path: 'team/app/',
        parentId: 'f7G8h9',
        customMetadata: { owner: 'platform' },
        state: 'active',
        lock: 'ab'.repeat(32),
        createdMs: 1_700_000_000_000,
      }),
    read: decodeNamespace,
    newer: raise(0),
  },
  {
    name: 'quota',
    version: 1,
    where: 'behind the barrier, `sys/quotas`',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeQuota({
        namespaceId: 'root',
        mountUuid: 'm1',
        suffix: 'data/*',
        role: '',
        inheritable: false,
        rate: 2.5,
        intervalSeconds: 60,
        blockSeconds: 0,
        groupBy: 'ip',
        secondaryRate: 0,
        burst: 10,
      }),
    read: (bytes) => decodeQuota(bytes, 'a quota'),
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
  {
    name: 'entity and group record',
    version: 1,
    where: 'behind the barrier, `sys/identity`',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeIdentity({
        id: 'e1',
        name: 'alice',
        metadata: { team: 'red' },
        policies: ['app'],
        disabled: false,
        aliases: [
          {
            id: 'a1',
            name: 'al',
            mountAccessor: 'auth_userpass_1',
            metadata: {},
            customMetadata: { shift: 'night' },
            local: false,
            mergedFromIds: ['e2'],
            createdMs: 1_700_000_000_000,
            updatedMs: 1_700_000_000_001,
          },
        ],
        groupIds: ['g1'],
        vouched: [{ groupId: 'g2', stamp: 's1', mountAccessor: 'auth_userpass_1' }],
        mergedIds: ['e2'],
        createdMs: 1_700_000_000_000,
        updatedMs: 1_700_000_000_001,
      }),
    read: (bytes) => decodeIdentity('entity', bytes),
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
  {
    name: 'lease',
    version: 1,
    where: 'behind the barrier, `sys/lease`',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeLease({
        kind: 'secret',
        id: 'db/creds/app/k1',
        namespaceId: 'root',
        mountUuid: 'm1',
        type: 'user',
        internal: { user: 'u1' },
        tokenHash: 'ab12',
        issueTimeMs: 1_700_000_000_000,
        expireTimeMs: 1_700_000_060_000,
        lastRenewalTimeMs: null,
        renewable: true,
        endTimeMs: 1_700_000_600_000,
        ending: { dueMs: 1_700_000_010_000, attempts: 1, error: 'away', force: false },
      }),
    read: (bytes) => decodeLease('root', 'db/creds/app/k1', bytes),
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
  {
    name: 'value envelope',
    version: 1,
    where: 'every value behind the barrier',
    kind: 'cluster',
    unknown: 'ERR_DECRYPT',
    sample: () => {
      const keyring = Keyring.create(fixedRandom(), 1_700_000_000_000)
      return new Envelope({ random: fixedRandom(), nodeId: 'a' }).seal(keyring, 1, 2, place, Buffer.from('a value'))
    },
    read: (bytes) =>
      new Envelope({ random: fixedRandom(), nodeId: 'b' }).open(Keyring.create(fixedRandom(), 1_700_000_000_000), place, bytes),
    newer: raise(0),
  },
  {
    name: 'keyring',
    version: 1,
    where: 'the state, sealed in a box under the root key',
    kind: 'cluster',
    unknown: 'ERR_DECRYPT',
    sample: () => Keyring.create(fixedRandom(), 1_700_000_000_000).encode(rootKey, fixedRandom()),
    read: (bytes) => {
      const { version, activeTerm, activeSinceMs } = Keyring.decode(bytes, rootKey)
      return { version, activeTerm, activeSinceMs }
    },
    newer: () => sealBox(rootKey, 'core/keyring', new Uint8Array(200).fill(2), fixedRandom()),
  },
  {
    name: 'box',
    version: 1,
    where: 'the keyring, wrapped root keys, forwarded requests',
    kind: 'cluster',
    unknown: 'ERR_DECRYPT',
    sample: () => Keyring.create(fixedRandom(), 1_700_000_000_000).encode(rootKey, fixedRandom()),
    read: (bytes) => Keyring.decode(bytes, rootKey).activeTerm,
    newer: raise(0),
  },
  {
    name: 'key uses',
    version: 1,
    where: 'the state, `core/key-uses/TERM` and `core/namespace-key-uses/ID/TERM`, in a value envelope',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeKeyUses(1_234_567),
    read: decodeKeyUses,
    newer: raise(0),
  },
  {
    name: 'change of a name key',
    version: 1,
    where: 'the state, `core/name-key/HIDDEN/next`, in a value envelope',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeRenaming('copying', fixedRandom().bytes(64 + 2 * 32)),
    read: (bytes) => {
      const { phase, names } = decodeRenaming(Uint8Array.from(bytes))
      return { phase, names: Buffer.from(names).toString('hex') }
    },
    newer: raise(0),
  },
  {
    name: 'job that changes a name key',
    version: 1,
    where: 'the state, `core/name-key-job/HIDDEN`, in a value envelope',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeJob({ namespace: 'Ab3dEf', keys: 1_234_567, from: Uint8Array.of(0x20, 1, 2, 3) }),
    read: (bytes) => {
      const { namespace, keys, from } = decodeJob(bytes)
      return { namespace, keys, from: Buffer.from(from).toString('hex') }
    },
    newer: raise(0),
  },
  {
    name: "namespace's keyring",
    version: 1,
    where: 'the state, `core/namespace-keyring/ID`: a head in the clear, and a keyring in an envelope or a box',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => {
      const keyring = Keyring.create(fixedRandom(), 1_700_000_000_000, 'ab'.repeat(8))
      return Buffer.concat([ringHead(2, ''), keyring.encode(rootKey, fixedRandom(), ringPlace(keyring.id, ''))])
    },
    read: (bytes) => {
      const { protection, parent, sealed } = decodeRing(bytes)
      const { version, activeTerm } = Keyring.decode(sealed, rootKey, ringPlace('ab'.repeat(8), parent), 'ab'.repeat(8))
      return { protection, parent, version, activeTerm }
    },
    newer: raise(0),
  },
  {
    name: "namespace's seal",
    version: 1,
    where: 'the state, `core/namespace-seal/ID`, in a value envelope',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeRingState({ sealed: true, generation: 7 }),
    read: decodeRingState,
    newer: raise(0),
  },
  {
    name: 'record of a restore',
    version: 1,
    where: 'the replicated state, `core/restored`, in the clear',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeRestored({
        restoredMs: 1_700_000_000_000,
        byNode: 'a',
        sha256: 'ab',
        clusterId: 'another',
        clusterName: null,
        incarnation: 3,
        index: 7,
        createdMs: 1_600_000_000_000,
        confirmedMs: 1_700_000_001_000,
      }),
    read: (bytes) => decodeRestored(bytes),
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
  {
    name: 'seal configuration',
    version: 1,
    where: 'the replicated state, in the clear',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => encodeSealConfig({ type: 'shamir', secret: { shares: 2, threshold: 2, salt: 'c2FsdA==', hashes: ['aa', 'bb'] } }),
    read: (bytes) => parseSealConfig(bytes),
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
  {
    name: 'backup of shares',
    version: 1,
    where: 'the replicated state, `core/unseal-keys-backup` and `core/recovery-keys-backup`, in a box',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => sealBackup(fixedKeys, 'core/unseal-keys-backup', { nonce: 'n', keys: { f00: ['aa'] } }, fixedRandom()),
    read: (bytes) => openBackup(fixedKeys, 'core/unseal-keys-backup', bytes),
    newer: () => sealBox(rootKey, 'core/unseal-keys-backup', Buffer.from(JSON.stringify({ version: 2 })), fixedRandom()),
  },
  {
    name: 'root key wrapped by an auto seal',
    version: 1,
    where: 'the replicated state, in the clear',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    unrecorded: 'without its KMS or HSM nobody could open it',
    sample: () => encodeWrapped({ key_id: 'k', box: '' }),
    read: (bytes) => parseWrapped<{ key_id: string }>('static', bytes, ({ key_id: id }) => id === 'k'),
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
  {
    name: 'snapshot file',
    version: 1,
    where:
      'what `operator raft snapshot save` and schedules write ([snapshot-file.md](snapshot-file.md)); the snapshot stream and the state meta are in it',
    kind: 'local',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () => snapshotFile(snapshotPairs([Buffer.from('one'), Buffer.from('two')])),
    read: (bytes) => inspectSnapshotFile(pieces(bytes)),
    newer: (bytes) => {
      const out = Buffer.from(bytes)
      out.writeUInt16BE(2, preambleBytes - 6)
      out.writeUInt32BE(crc32c(out.subarray(0, preambleBytes - 4)), preambleBytes - 4)
      return out
    },
  },
  {
    name: 'snapshot schedule',
    version: 1,
    where: 'behind the barrier, `sys/snapshots`',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeStoredRecord({
        name: 'nightly',
        intervalMs: 86_400_000,
        retain: 7,
        pathPrefix: 'a',
        filePrefix: 'hf',
        target: { kind: 'local', bytesMax: 0 },
      }),
    read: decodeSchedule,
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
  {
    name: 'snapshot run',
    version: 1,
    where: 'behind the barrier, `sys/snapshots`',
    kind: 'cluster',
    unknown: 'ERR_UPGRADE_REQUIRED',
    sample: () =>
      encodeStoredRecord({
        slotMs: 86_400_000,
        startedMs: 86_400_005,
        node: 'a',
        phase: 'done',
        failures: 0,
        retryAtMs: 0,
        lastSuccess: { slotMs: 86_400_000, startedMs: 86_400_005, endedMs: 86_400_009, url: 'file:///b', bytes: 9, index: 7, node: 'a' },
        lastError: null,
      }),
    read: decodeRun,
    newer: (bytes) => Buffer.from(Buffer.from(bytes).toString().replace('"version":1', '"version":2')),
  },
]

/** A barrier whose derived keys are all the same. */
const fixedKeys = { derivedKey: () => new SecretBytes(Uint8Array.from(rootKey)) }

const olderSlot = Buffer.from('484653310000000000000001000000017800000000', 'hex')
olderSlot.writeUInt32BE(crc32c(olderSlot.subarray(0, olderSlot.length - 4)), olderSlot.length - 4)

/** Plain data as JSON keeps it: bytes as hex, maps as lists. */
export function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, each: unknown) => {
      if (each instanceof Uint8Array) return { hex: Buffer.from(each).toString('hex') }
      const buffer = each as { type?: unknown; data?: unknown } | null
      if (buffer?.type === 'Buffer' && Array.isArray(buffer.data)) return { hex: Buffer.from(buffer.data as number[]).toString('hex') }
      return each
    }) ?? 'null',
  )
}

/** Where what a release wrote is kept. */
export function fixtureFolder(level: number): string {
  return join(import.meta.dirname, '../fixtures/formats', String(level))
}
