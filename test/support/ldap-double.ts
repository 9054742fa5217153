/** A directory of the test's own on loopback: one person, one account that searches, any password for that. For tests that are not about LDAP: those have slapd. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { BerReader, BerWriter } from 'ldapts'

const tags = { bind: 0x60, unbind: 0x42, search: 0x63, entry: 0x64, searchDone: 0x65, extended: 0x77 } as const
const success = 0
const invalidCredentials = 49

/** Length of the first message in `bytes`; null: it is not whole yet. */
function messageBytes(bytes: Buffer): number | null {
  const first = bytes[1]
  if (first === undefined) return null
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f
  if (bytes.length < 2 + lengthBytes) return null
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(2, lengthBytes)
  return bytes.length < 2 + lengthBytes + length ? null : 2 + lengthBytes + length
}

function message(id: number, tag: number, fill: (writer: BerWriter) => void): Buffer {
  const writer = new BerWriter()
  writer.startSequence()
  writer.writeInt(id)
  writer.startSequence(tag)
  fill(writer)
  writer.endSequence()
  writer.endSequence()
  return writer.buffer
}

const result = (id: number, tag: number, code: number): Buffer =>
  message(id, tag, (writer) => {
    writer.writeEnumeration(code)
    writer.writeString('')
    writer.writeString('')
  })

export class LdapDouble {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #password: string

  private constructor(password: string) {
    this.#password = password
    this.#server = createServer((socket) => this.#serve(socket))
  }

  /** `password` is that of uid=bob. */
  static async start(password: string): Promise<LdapDouble> {
    const made = new LdapDouble(password)
    await new Promise<void>((resolve) => made.#server.listen(0, '127.0.0.1', resolve))
    return made
  }

  get url(): string {
    return `ldap://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    let held: Buffer = Buffer.alloc(0)
    socket.on('close', () => this.#sockets.delete(socket))
    // A client that goes without a word is no failure of the test's.
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk])
      for (let bytes = messageBytes(held); bytes !== null; bytes = messageBytes(held)) {
        const one = held.subarray(0, bytes)
        held = held.subarray(bytes)
        this.#answer(socket, new BerReader(Buffer.from(one)))
      }
    })
  }

  #answer(socket: Socket, reader: BerReader): void {
    reader.readSequence()
    const id = reader.readInt() ?? 0
    const tag = reader.peek()
    if (tag === tags.unbind) return void socket.end()
    reader.readSequence(tag ?? undefined)
    if (tag === tags.bind) {
      reader.readInt()
      const name = reader.readString() ?? ''
      const wrong = name.startsWith('uid=') && reader.readString(0x80) !== this.#password
      socket.write(result(id, tags.bind + 1, wrong ? invalidCredentials : success))
    } else if (tag === tags.search) {
      const base = reader.readString() ?? ''
      socket.write(entry(id, `uid=bob,${base}`))
      socket.write(result(id, tags.searchDone, success))
    } else socket.write(result(id, tags.extended + 1, success))
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

const entry = (id: number, dn: string): Buffer =>
  message(id, tags.entry, (writer) => {
    writer.writeString(dn)
    writer.startSequence()
    writer.startSequence()
    writer.writeString('uid')
    writer.startSequence(0x31)
    writer.writeString('bob')
    writer.endSequence()
    writer.endSequence()
    writer.endSequence()
  })
