/**
 * One call to an HSM, in a process of its own: PKCS#11 libraries block, hang with the network behind them, and crash, and none of that may
 * happen to a node that votes. The process takes one request from its parent, logs in, finds the key, answers, and ends; so a session or a
 * handle that the HSM has lost meanwhile can't exist.
 */
import { once } from 'node:events'
import { createRequire } from 'node:module'
import process from 'node:process'
import { Worker } from 'node:worker_threads'
import type * as Pkcs11Package from 'pkcs11js'
import type {
  OaepHash,
  Pkcs11Answer,
  Pkcs11Mechanism,
  Pkcs11Request,
  Pkcs11Settings,
  Pkcs11Stage,
  Pkcs11Wrapped,
} from './pkcs11-protocol.ts'

type Package = typeof Pkcs11Package
type Handle = Pkcs11Package.Handle

const keysMax = 16
const tagBits = 128
/** CKZ_DATA_SPECIFIED, which the package lacks. */
const dataSpecified = 1

/** What went wrong where; everything else is thrown by the package with the HSM's code as its message. */
class Failure extends Error {
  readonly stage: Pkcs11Stage
  constructor(stage: Pkcs11Stage, code: string) {
    super(code)
    this.stage = stage
  }
}

function within<T>(stage: Pkcs11Stage, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure(stage, codeOf(error))
  }
}

const codeOf = (error: unknown): string => /CKR_[A-Z0-9_]+/.exec((error as Error).message)?.[0] ?? (error as Error).name

function loadPackage(): Package {
  try {
    return createRequire(import.meta.url)('pkcs11js') as Package
  } catch (error) {
    throw new Failure('package', (error as NodeJS.ErrnoException).code ?? 'ERR_DLOPEN_FAILED')
  }
}

interface Session {
  readonly pkcs11: Package
  readonly module: Pkcs11Package.PKCS11
  readonly handle: Handle
}

function openSession(settings: Pkcs11Settings, pin: Uint8Array): Session {
  const pkcs11 = loadPackage()
  const module = new pkcs11.PKCS11()
  within('library', () => {
    module.load(settings.library)
    module.C_Initialize()
  })
  const slot = within('token', () => findSlot(module, settings))
  const flags = pkcs11.CKF_SERIAL_SESSION | (settings.readWrite || settings.generateKey ? pkcs11.CKF_RW_SESSION : 0)
  const handle = within('token', () => module.C_OpenSession(slot, flags))
  within('login', () => {
    try {
      module.C_Login(handle, pkcs11.CKU_USER, Buffer.from(pin).toString('utf8'))
    } catch (error) {
      if (codeOf(error) !== 'CKR_USER_ALREADY_LOGGED_IN') throw error
    }
  })
  return { pkcs11, module, handle }
}

/** Labels are padded with blanks to 32 bytes; a slot's number changes from start to start with some HSMs. */
function findSlot(module: Pkcs11Package.PKCS11, { slot, tokenLabel }: Pkcs11Settings): Handle {
  const slots = module.C_GetSlotList(true)
  const found = slots.filter((handle) => {
    const number = Number(handle.readUIntLE(0, Math.min(6, handle.length)))
    if (slot !== null && number !== slot) return false
    return tokenLabel === null || module.C_GetTokenInfo(handle).label.trimEnd() === tokenLabel
  })
  if (found.length > 1) throw new Failure('token', 'AMBIGUOUS')
  const [only] = found
  if (only === undefined) throw new Failure('token', 'NOT_FOUND')
  return only
}

function findKeys({ pkcs11, module, handle }: Session, objectClass: number, label: string, id: string | null): Handle[] {
  const template = [
    { type: pkcs11.CKA_CLASS, value: objectClass },
    { type: pkcs11.CKA_LABEL, value: label },
    ...(id === null ? [] : [{ type: pkcs11.CKA_ID, value: Buffer.from(id, 'hex') }]),
  ]
  module.C_FindObjectsInit(handle, template)
  try {
    return module.C_FindObjects(handle, keysMax)
  } finally {
    module.C_FindObjectsFinal(handle)
  }
}

const classOf = (pkcs11: Package, mechanism: Pkcs11Mechanism, use: 'wrap' | 'unwrap'): number =>
  mechanism === 'aes-gcm' ? pkcs11.CKO_SECRET_KEY : use === 'wrap' ? pkcs11.CKO_PUBLIC_KEY : pkcs11.CKO_PRIVATE_KEY

/** The one key of that name for wrapping: AES before RSA where nothing says which. */
function keyForWrapping(session: Session, settings: Pkcs11Settings): { key: Handle; mechanism: Pkcs11Mechanism } {
  const wanted: readonly Pkcs11Mechanism[] = settings.mechanism === null ? ['aes-gcm', 'rsa-oaep'] : [settings.mechanism]
  for (const mechanism of wanted) {
    const keys = findKeys(session, classOf(session.pkcs11, mechanism, 'wrap'), settings.keyLabel, settings.keyId)
    if (keys.length > 1) throw new Failure('key', 'AMBIGUOUS')
    const [key] = keys
    if (key !== undefined) return { key, mechanism }
  }
  if (settings.generateKey && wanted.includes('aes-gcm')) return { key: generate(session, settings), mechanism: 'aes-gcm' }
  throw new Failure('key', 'NOT_FOUND')
}

function generate({ pkcs11, module, handle }: Session, { keyLabel, keyId }: Pkcs11Settings): Handle {
  return module.C_GenerateKey(handle, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
    { type: pkcs11.CKA_LABEL, value: keyLabel },
    { type: pkcs11.CKA_ID, value: Buffer.from(keyId ?? '01', 'hex') },
    { type: pkcs11.CKA_VALUE_LEN, value: 32 },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: false },
    { type: pkcs11.CKA_ENCRYPT, value: true },
    { type: pkcs11.CKA_DECRYPT, value: true },
  ])
}

function mechanismOf(
  pkcs11: Package,
  how: Pick<Pkcs11Wrapped, 'mechanism' | 'oaepHash' | 'nonce'>,
  place: Uint8Array,
): Pkcs11Package.Mechanism {
  if (how.mechanism === 'aes-gcm') {
    const parameter: Pkcs11Package.AesGCM = {
      type: pkcs11.CK_PARAMS_AES_GCM,
      iv: Buffer.from(how.nonce),
      ivBits: how.nonce.length * 8,
      aad: Buffer.from(place),
      tagBits,
    }
    return { mechanism: pkcs11.CKM_AES_GCM, parameter }
  }
  const [hashAlg, mgf] = hashOf(pkcs11, how.oaepHash)
  const parameter: Pkcs11Package.RsaOAEP = { type: pkcs11.CK_PARAMS_RSA_OAEP, hashAlg, mgf, source: dataSpecified }
  return { mechanism: pkcs11.CKM_RSA_PKCS_OAEP, parameter }
}

function hashOf(pkcs11: Package, hash: OaepHash): readonly [number, number] {
  switch (hash) {
    case 'sha1':
      return [pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1]
    case 'sha256':
      return [pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256]
    case 'sha384':
      return [pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384]
    case 'sha512':
      return [pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512]
  }
}

/** Large enough for an RSA block of 8,192 bits, or a root key with its tag. */
const outputBytesMax = 1_024

function wrap(session: Session, request: Extract<Pkcs11Request, { kind: 'wrap' }>): Pkcs11Wrapped {
  const { pkcs11, module, handle } = session
  const { settings, plaintext, nonce, place } = request
  const { key, mechanism } = within('key', () => keyForWrapping(session, settings))
  const [id] = within('key', () => module.C_GetAttributeValue(handle, key, [{ type: pkcs11.CKA_ID }]))
  const how = { mechanism, oaepHash: settings.oaepHash, nonce: mechanism === 'aes-gcm' ? nonce : new Uint8Array(0) }
  // OAEP's label is not carried by every HSM: the place goes in front of what is wrapped, hashed, and is compared when it comes out.
  const ciphertext = within('crypto', () => {
    module.C_EncryptInit(handle, mechanismOf(pkcs11, how, place), key)
    return module.C_Encrypt(handle, Buffer.from(plaintext), Buffer.alloc(outputBytesMax))
  })
  return {
    ...how,
    keyLabel: settings.keyLabel,
    keyId: Buffer.from(id?.value as Buffer).toString('hex'),
    ciphertext: new Uint8Array(ciphertext),
  }
}

function unwrap(session: Session, request: Extract<Pkcs11Request, { kind: 'unwrap' }>): Uint8Array {
  const { pkcs11, module, handle } = session
  const { wrapped, place } = request
  const [key, another] = within('key', () =>
    findKeys(session, classOf(pkcs11, wrapped.mechanism, 'unwrap'), wrapped.keyLabel, wrapped.keyId === '' ? null : wrapped.keyId),
  )
  if (another !== undefined) throw new Failure('key', 'AMBIGUOUS')
  if (key === undefined) throw new Failure('key', 'NOT_FOUND')
  return within('crypto', () => {
    module.C_DecryptInit(handle, mechanismOf(pkcs11, wrapped, place), key)
    return new Uint8Array(module.C_Decrypt(handle, Buffer.from(wrapped.ciphertext), Buffer.alloc(outputBytesMax)))
  })
}

function answer(request: Pkcs11Request): Pkcs11Answer {
  try {
    const session = openSession(request.settings, request.pin)
    try {
      if (request.kind === 'wrap') return { kind: 'wrapped', wrapped: wrap(session, request) }
      return { kind: 'unwrapped', plaintext: unwrap(session, request) }
    } finally {
      // Left open, some HSMs keep the session until it times out, and have few.
      session.module.C_CloseSession(session.handle)
      session.module.C_Finalize()
    }
  } catch (error) {
    if (error instanceof Failure) return { kind: 'failed', stage: error.stage, code: error.message }
    return { kind: 'failed', stage: 'crypto', code: codeOf(error) }
  }
}

const parentLookMs = 500

/** The node that started this process, as the node itself says: asked for here, a node that is gone already would be whoever takes in its orphans. */
const parent = Number(process.argv[2])

/**
 * A library that hangs holds this thread, and with it the news that the parent is gone: without another one this process would stay for ever. It must run
 * before the library is loaded, which holds the loader's lock as long as it takes, and a thread may need that to begin. Resolves when it looks.
 */
async function endWithParent(): Promise<void> {
  const worker = new Worker(
    `const look = () => process.ppid === ${parent} || process.kill(${process.pid}, 'SIGKILL')
     setInterval(look, ${parentLookMs})
     look()
     require('node:worker_threads').parentPort.postMessage('looking')`,
    { eval: true },
  )
  await once(worker, 'message')
  worker.unref()
}

process.once('message', (request) => {
  endWithParent().then(
    () => process.send?.(answer(request as Pkcs11Request), () => process.exit(0)),
    // No thread is to be had: the parent hears of the end of this process.
    () => process.exit(1),
  )
})
process.once('disconnect', () => process.exit(0))
