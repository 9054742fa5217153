/**
 * A seal by a key in an HSM that speaks PKCS#11: AES-GCM, or RSA-OAEP. Each call runs in a process of its own (pkcs11-process.ts), ended by
 * force when its time is over. Root keys are wrapped when a node opens and when somebody asks: 0.2 s for a process is nothing then.
 */
import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { HoldfastError } from '#base/errors.ts'
import type { RandomSource } from '#base/random.ts'
import { equalSecrets } from '#base/secret.ts'
import { concatBytes } from '#barrier/bytes.ts'
import { SealFault, type SealFaultKind } from './faults.ts'
import { startPkcs11Process } from './pkcs11-child.ts'
import {
  mechanisms,
  oaepHashes,
  type OaepHash,
  type Pkcs11Answer,
  type Pkcs11Mechanism,
  type Pkcs11Request,
  type Pkcs11Settings,
  type Pkcs11Stage,
  type Pkcs11Wrapped,
} from './pkcs11-protocol.ts'
import { readSecretText, type Environment } from './secret-source.ts'
import type { SealBackend } from './types.ts'
import { encodeWrapped, parseWrapped } from './wrapped.ts'

const nonceBytes = 12
const placeBytes = 32

type Work<T = Pkcs11Request> = T extends Pkcs11Request ? Omit<T, 'settings' | 'pin' | 'place'> : never

export interface Pkcs11Tools {
  readonly random: RandomSource
  readonly env: Environment
}

class Pkcs11Seal implements SealBackend {
  readonly kind = 'pkcs11'
  readonly #settings: Pkcs11Settings
  readonly #pinSource: string
  readonly #parallelMax: number
  readonly #tools: Pkcs11Tools
  readonly #running = new Set<ChildProcess>()
  readonly #waiting: (() => void)[] = []
  #taken = 0
  #closed = false

  constructor(settings: Pkcs11Settings, pinSource: string, parallelMax: number, tools: Pkcs11Tools) {
    this.#settings = settings
    this.#pinSource = pinSource
    this.#parallelMax = parallelMax
    this.#tools = tools
  }

  async wrap(plaintext: Uint8Array, place: string, signal: AbortSignal): Promise<Uint8Array> {
    const digest = placeDigest(place)
    const request: Work = { kind: 'wrap', plaintext: concatBytes(digest, plaintext), nonce: this.#tools.random.bytes(nonceBytes) }
    try {
      const answer = await this.#ask(request, digest, signal)
      if (answer.kind !== 'wrapped') throw unexpected()
      return encode(answer.wrapped)
    } finally {
      // An HSM that is away, or hangs, must not leave root keys behind.
      request.plaintext.fill(0)
    }
  }

  async unwrap(wrapped: Uint8Array, place: string, signal: AbortSignal): Promise<Uint8Array> {
    const digest = placeDigest(place)
    const answer = await this.#ask({ kind: 'unwrap', wrapped: decode(wrapped) }, digest, signal)
    if (answer.kind !== 'unwrapped') throw unexpected()
    const { plaintext } = answer
    try {
      // RSA-OAEP authenticates no place, and anybody can encrypt to a public key.
      if (!equalSecrets(plaintext.subarray(0, placeBytes), digest))
        throw new SealFault('key', 'seal pkcs11 expected what was wrapped for this place, got another')
      return Uint8Array.from(plaintext.subarray(placeBytes))
    } finally {
      plaintext.fill(0)
    }
  }

  outdated(wrapped: Uint8Array): boolean {
    const { keyLabel, keyId } = decode(wrapped)
    return keyLabel !== this.#settings.keyLabel || (this.#settings.keyId !== null && keyId !== this.#settings.keyId)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const child of this.#running) child.kill('SIGKILL')
  }

  async #ask(work: Work, place: Uint8Array, signal: AbortSignal): Promise<Exclude<Pkcs11Answer, { kind: 'failed' }>> {
    await this.#turn(signal)
    let pin = new Uint8Array(0)
    try {
      pin = new Uint8Array(Buffer.from(pinOf(this.#pinSource, this.#tools.env)))
      const answer = await this.#run({ ...work, settings: this.#settings, pin, place } as Pkcs11Request, signal)
      if (answer.kind === 'failed') throw faultFor(this.#settings, answer.stage, answer.code)
      return answer
    } finally {
      pin.fill(0)
      this.#taken--
      this.#waiting.shift()?.()
    }
  }

  /** HSMs have few sessions. Who waits is bounded by the guard. */
  async #turn(signal: AbortSignal): Promise<void> {
    while (this.#taken >= this.#parallelMax) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    if (signal.aborted || this.#closed) {
      this.#waiting.shift()?.()
      throw new SealFault('timeout', 'seal pkcs11 expected its turn in time, got none')
    }
    this.#taken++
  }

  #run(request: Pkcs11Request, signal: AbortSignal): Promise<Pkcs11Answer> {
    return new Promise((resolve, reject) => {
      const child = startPkcs11Process()
      const kill = (): void => void child.kill('SIGKILL')
      const died = (how: string): void =>
        reject(new SealFault('other', `seal pkcs11 expected an answer of ${request.settings.library}, got the end of its process (${how})`))
      this.#running.add(child)
      signal.addEventListener('abort', kill, { once: true })
      child.once('error', () => died('not started'))
      child.once('message', (answer) => resolve(answer as Pkcs11Answer))
      child.once('exit', (code, by) => {
        this.#running.delete(child)
        signal.removeEventListener('abort', kill)
        died(by ?? `code ${code}`)
      })
      // Written whole before anything can be wrong with it; that the process died first is told by its exit.
      child.send(request, () => {})
    })
  }
}

const placeDigest = (place: string): Uint8Array => new Uint8Array(createHash('sha256').update(`holdfast seal ${place}`).digest())

const unexpected = (): SealFault => new SealFault('other', 'seal pkcs11 expected an answer to its question, got another')

function pinOf(source: string, env: Environment): string {
  try {
    return readSecretText('seal.pkcs11.pin', source, env)
  } catch (error) {
    throw new SealFault('credentials', (error as Error).message)
  }
}

interface WireWrapped {
  readonly key_label: string
  readonly key_id: string
  readonly mechanism: Pkcs11Mechanism
  readonly oaep_hash: OaepHash
  readonly nonce: string
  readonly ciphertext: string
}

function encode(wrapped: Pkcs11Wrapped): Uint8Array {
  const wire: WireWrapped = {
    key_label: wrapped.keyLabel,
    key_id: wrapped.keyId,
    mechanism: wrapped.mechanism,
    oaep_hash: wrapped.oaepHash,
    nonce: Buffer.from(wrapped.nonce).toString('base64'),
    ciphertext: Buffer.from(wrapped.ciphertext).toString('base64'),
  }
  return encodeWrapped(wire)
}

const isMine = (wire: Partial<WireWrapped>): boolean =>
  [wire.key_label, wire.key_id, wire.nonce, wire.ciphertext].every((text) => typeof text === 'string') &&
  mechanisms.some((one) => one === wire.mechanism) &&
  oaepHashes.some((one) => one === wire.oaep_hash)

function decode(wrapped: Uint8Array): Pkcs11Wrapped {
  const wire = parseWrapped<WireWrapped>('pkcs11', wrapped, isMine)
  return {
    keyLabel: wire.key_label,
    keyId: wire.key_id,
    mechanism: wire.mechanism,
    oaepHash: wire.oaep_hash,
    nonce: new Uint8Array(Buffer.from(wire.nonce, 'base64')),
    ciphertext: new Uint8Array(Buffer.from(wire.ciphertext, 'base64')),
  }
}

const wrongPin = new Set([
  'CKR_PIN_INCORRECT',
  'CKR_PIN_INVALID',
  'CKR_PIN_LEN_RANGE',
  'CKR_PIN_EXPIRED',
  'CKR_PIN_LOCKED',
  'CKR_USER_PIN_NOT_INITIALIZED',
])

/** One sentence for the operator; `code` is the HSM's, or ours. */
function faultFor(settings: Pkcs11Settings, stage: Pkcs11Stage, code: string): SealFault {
  const { library, keyLabel } = settings
  const token = settings.tokenLabel === null ? `in slot ${settings.slot}` : JSON.stringify(settings.tokenLabel)
  const make = (fault: SealFaultKind, expected: string, hint: string): SealFault =>
    new SealFault(fault, `seal pkcs11 expected ${expected}, got ${code}`, { hint })
  switch (stage) {
    case 'package':
      return make(
        'missing',
        'the optional package pkcs11js to be installed',
        'install a C++ compiler, make and Python, then run npm install again',
      )
    case 'library':
      if (!existsSync(library)) return make('missing', `a PKCS#11 library at ${library}`, 'install the client of the HSM, or correct lib')
      return make('network', `${library} to load and start`, "is the HSM's client configured, and the HSM reached?")
    case 'token':
      return make(
        'network',
        `one token ${token}`,
        'is the HSM connected, and are slot and token_label right? softhsm2-util --show-slots, pkcs11-tool -L',
      )
    case 'login':
      if (wrongPin.has(code)) return make('credentials', `the PIN of token ${token}`, 'correct pin; many HSMs lock after some wrong ones')
      return make('network', `to log in to token ${token}`, 'is the HSM in order?')
    case 'key':
      return make(
        'key',
        `one key with label ${JSON.stringify(keyLabel)} in token ${token}`,
        'are key_label and key_id right? pkcs11-tool --login -O',
      )
    case 'crypto':
      return make(
        'key',
        `the key that wrapped the root key, and a mechanism that the HSM has`,
        'are key and mechanism right, and rsa_oaep_hash one that the HSM allows?',
      )
  }
}

const mechanismNames: Readonly<Record<string, Pkcs11Mechanism>> = {
  CKM_AES_GCM: 'aes-gcm',
  '0x1087': 'aes-gcm',
  '4231': 'aes-gcm',
  CKM_RSA_PKCS_OAEP: 'rsa-oaep',
  '0x9': 'rsa-oaep',
  '0x0009': 'rsa-oaep',
  '9': 'rsa-oaep',
}

/** From the texts of a `seal "pkcs11"` block. The PIN is read for each call. @throws ERR_CONFIG. */
export function pkcs11SealFrom(options: Readonly<Record<string, string>>, tools: Pkcs11Tools): SealBackend {
  const { lib, slot, token_label: tokenLabel, pin, key_label: keyLabel, key_id: keyId, mechanism } = options
  if (lib === undefined) throw wrong('lib', "the path of the HSM's library", 'none')
  if (keyLabel === undefined) throw wrong('key_label', 'the label of a key', 'none')
  if (slot === undefined && tokenLabel === undefined) throw wrong('token_label', 'a label, or slot', 'neither')
  if (pin === undefined) throw wrong('pin', 'a PIN, file:///PATH or env://NAME', 'none')
  const slotNumber = slot === undefined ? null : Number(slot)
  if (slotNumber !== null && !(Number.isSafeInteger(slotNumber) && slotNumber >= 0)) throw wrong('slot', 'a number', 'something else')
  const id = keyId?.replace(/^0x/i, '').toLowerCase() ?? null
  if (id !== null && !/^(?:[0-9a-f]{2})+$/.test(id)) throw wrong('key_id', 'bytes in hexadecimal', 'something else')
  const chosen = mechanism === undefined ? null : mechanismNames[mechanism]
  if (chosen === undefined) throw wrong('mechanism', 'CKM_AES_GCM or CKM_RSA_PKCS_OAEP', JSON.stringify(mechanism))
  const hash = (options['rsa_oaep_hash'] ?? 'sha256') as OaepHash
  if (!oaepHashes.includes(hash)) throw wrong('rsa_oaep_hash', `one of ${oaepHashes.join(', ')}`, JSON.stringify(hash))
  const settings: Pkcs11Settings = {
    library: lib,
    slot: slotNumber,
    tokenLabel: tokenLabel ?? null,
    keyLabel,
    keyId: id,
    mechanism: chosen,
    oaepHash: hash,
    generateKey: options['generate_key'] === 'true',
    readWrite: options['force_rw_session'] === 'true',
  }
  return new Pkcs11Seal(settings, pin, Number(options['max_parallel'] ?? 1), tools)
}

function wrong(key: string, expected: string, got: string): HoldfastError {
  return new HoldfastError('ERR_CONFIG', `seal.pkcs11.${key} expected ${expected}, got ${got}`)
}
