/**
 * A snapshot file: what an operator keeps, and a restore reads.
 *
 *   preamble | header block (JSON) | body blocks: the state's own snapshot stream, cut into pieces | seal block (JSON)
 *
 * The seal holds the SHA-256 of everything before it, which anybody can check, and a MAC of that under a key behind the barrier, which only who can open
 * the cluster's seal can check or make. So damage is found without a key, and what somebody has made or altered is found by whoever could restore it.
 * Everything in it is what lies on a node's disk already: ciphertext, and the records that are in the clear there.
 *
 * It stands in a room of its own below the core: it needs the state's stream (store), the clear records and a key (barrier) and the seal's configuration
 * (seal), and is read by the node, by the leader's schedules and by the command line, which has no node.
 */
import { createHash, createHmac } from 'node:crypto'
import { equalSecrets, type SecretBytes } from '#base/secret.ts'
import { BlockKind, BlockReader, bodyBlockBytesMax, damaged, encodeBlock, encodePreamble, type Block } from './blocks.ts'
import { decodeHeader, encodeHeader, type SnapshotFileHeader } from './header.ts'

/** For `BarrierControl.derivedKey`: the same for as long as the cluster lives, and in what is restored from it. */
export const macKeyLabel = 'snapshot file v1'
const macContext = Buffer.from('holdfast snapshot file v1\0')

/** What the file's last block says, once it was found to be true of the rest. */
export interface FileSeal {
  /** Of all bytes before the seal, hex. */
  readonly sha256: string
  readonly mac: Uint8Array
  /** Of the whole file. */
  readonly bytes: number
  readonly bodyBytes: number
}

const macOf = (key: Uint8Array, digest: Uint8Array): Buffer => createHmac('sha256', key).update(macContext).update(digest).digest()

/** Whether the file was sealed by a cluster that has `key`. Constant time. */
export function isSealedBy(seal: FileSeal, key: Uint8Array): boolean {
  return equalSecrets(seal.mac, macOf(key, Buffer.from(seal.sha256, 'hex')))
}

/**
 * The bytes of a file. Holds one piece of `body` at a time. `macKey` is called when all of the body has passed, and what it gives is wiped: a node that was
 * sealed meanwhile ends the file there, with the error that `macKey` throws.
 */
export async function* encodeSnapshotFile(
  header: SnapshotFileHeader,
  body: AsyncIterable<Uint8Array>,
  macKey: () => SecretBytes,
): AsyncGenerator<Uint8Array, void, undefined> {
  const digest = createHash('sha256')
  let number = 0
  let bodyBytes = 0
  const add = (bytes: Buffer): Buffer => {
    digest.update(bytes)
    return bytes
  }
  yield add(encodePreamble())
  yield add(encodeBlock(BlockKind.header, number++, encodeHeader(header)))
  for await (const piece of body) {
    bodyBytes += piece.length
    for (let at = 0; at < piece.length; at += bodyBlockBytesMax)
      yield add(encodeBlock(BlockKind.body, number++, piece.subarray(at, at + bodyBlockBytesMax)))
  }
  const sum = digest.digest()
  using key = macKey()
  const seal = { sha256: sum.toString('hex'), mac: macOf(key.reveal(), sum).toString('hex'), body_bytes: bodyBytes }
  yield encodeBlock(BlockKind.seal, number, Buffer.from(JSON.stringify(seal)))
}

/** A file whose header was read. */
export interface OpenedSnapshotFile {
  readonly header: SnapshotFileHeader
  /**
   * The state's snapshot stream, for `StateStore.receive` or `decodeSnapshot`; read once. Each piece was checked before it is given out, and it ends without
   * an error only when the seal is here, agrees with all of it, and nothing follows: what was taken from it before an error must be thrown away.
   * @throws ERR_SNAPSHOT_DAMAGED, and what the stream throws.
   */
  readonly body: AsyncIterable<Uint8Array>
  /** Bytes of the file that were read so far. */
  readonly position: number
  /** @throws AssertionError before the body was read to its end. */
  seal(): FileSeal
  /** For who does not read the body: lets the stream go. */
  close(): Promise<void>
}

/** Reads as far as the header. @throws ERR_SNAPSHOT_DAMAGED; ERR_UPGRADE_REQUIRED for another version; what `stream` throws. */
export async function openSnapshotFile(stream: AsyncIterable<Uint8Array>): Promise<OpenedSnapshotFile> {
  const file = new FileReader(stream)
  try {
    await file.begin()
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

class FileReader implements OpenedSnapshotFile {
  readonly #blocks: BlockReader
  readonly #digest = createHash('sha256')
  #header: SnapshotFileHeader | null = null
  #seal: FileSeal | null = null

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#blocks = new BlockReader(stream)
  }

  async begin(): Promise<void> {
    this.#digest.update(await this.#blocks.preamble())
    const block = await this.#blocks.block()
    if (block.kind !== BlockKind.header) throw damaged(block.at, this.position, 'expected its header, got another block')
    this.#digest.update(block.bytes)
    const header = decodeHeader(block.payload)
    if (header === null) throw damaged(block.at, this.position, 'expected a header, got something else')
    this.#header = header
  }

  get header(): SnapshotFileHeader {
    if (this.#header === null) throw new Error('expected a file whose header was read')
    return this.#header
  }

  get position(): number {
    return this.#blocks.position
  }

  get body(): AsyncIterable<Uint8Array> {
    return this.#read()
  }

  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    let bodyBytes = 0
    try {
      for (;;) {
        const block = await this.#blocks.block()
        if (block.kind === BlockKind.seal) {
          this.#seal = this.#sealFrom(block, bodyBytes)
          await this.#blocks.expectEnd()
          return
        }
        if (block.kind !== BlockKind.body) throw damaged(block.at, this.position, 'expected a piece of the state, got another block')
        this.#digest.update(block.bytes)
        bodyBytes += block.payload.length
        yield block.payload
      }
    } finally {
      await this.close()
    }
  }

  #sealFrom({ at, payload }: Block, bodyBytes: number): FileSeal {
    const wire = parseSeal(payload)
    if (wire === null || wire.body_bytes !== bodyBytes) throw damaged(at, this.position, 'expected a seal, got something else')
    const sha256 = this.#digest.digest('hex')
    // Each block was as its checksum says: somebody has put another in its place, and mended that.
    if (wire.sha256 !== sha256) throw damaged(0, at, 'expected the SHA-256 of its seal, got another')
    return { sha256, mac: new Uint8Array(Buffer.from(wire.mac, 'hex')), bytes: this.position, bodyBytes }
  }

  seal(): FileSeal {
    if (this.#seal === null) throw new Error('expected a file that was read to its end')
    return this.#seal
  }

  close(): Promise<void> {
    return this.#blocks.close()
  }
}

interface WireSeal {
  readonly sha256: string
  readonly mac: string
  readonly body_bytes: number
}

function parseSeal(payload: Buffer): WireSeal | null {
  try {
    const wire = JSON.parse(payload.toString('utf8')) as Partial<WireSeal> | null
    const fits = [wire?.sha256, wire?.mac].every((hex) => typeof hex === 'string' && /^[0-9a-f]{64}$/.test(hex))
    return fits && Number.isSafeInteger(wire?.body_bytes) ? (wire as WireSeal) : null
  } catch {
    return null
  }
}
