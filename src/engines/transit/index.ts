/** Encryption as a service: so far what the transit seal of another cluster needs. */
import type { EngineDef, FieldSchema, HandlerContext, OperationDef, PathDef } from '#core/types.ts'
import { createAndEncrypt, decryptData, encryptData, rewrapData } from './crypto.ts'
import { loadKey, nameOf } from './key.ts'
import { configureKey, createKey, deleteKey, listKeys, readKey, rotateKey } from './keys.ts'

type Handler = OperationDef['handler']
const reads = (summary: string, handler: Handler): OperationDef => ({ summary, writes: false, handler })
const writes = (summary: string, handler: Handler): OperationDef => ({ summary, writes: true, handler })

const name: FieldSchema = { type: 'string', in: 'path', description: 'Name of the key.', example: 'seal' }
const type: FieldSchema = { type: 'string', description: 'Type of the key: aes256-gcm96.', default: 'aes256-gcm96' }
const ciphertext: FieldSchema = { type: 'string', description: 'As encrypt answered it: vault:v1:...' }
const keyVersion: FieldSchema = { type: 'int', description: 'Version to encrypt with; the newest when absent or 0.' }
const refusedFlag = (description: string): FieldSchema => ({ type: 'bool', description: `${description} Only false.` })
const cryptoFields: Readonly<Record<string, FieldSchema>> = {
  name,
  associated_data: { type: 'string', description: 'Base64: must be given again to decrypt.' },
  context: { type: 'string', description: 'For derived keys, which are not there yet.' },
  nonce: { type: 'string', description: 'Made here: none is taken.' },
  batch_input: { type: 'any', description: 'A list of objects with these same fields, and reference, instead of one.', sensitive: true },
}
const plaintext: FieldSchema = { type: 'string', description: 'Base64.', sensitive: true }

const keyExists = async (context: HandlerContext): Promise<boolean> => (await loadKey(context.storage, nameOf(context))) !== null

const paths: readonly PathDef[] = [
  {
    pattern: 'keys',
    fields: {},
    operations: { list: reads('List the keys.', listKeys) },
    help: { synopsis: 'The names of the keys.', description: 'Names only.' },
  },
  {
    pattern: 'keys/:name',
    fields: {
      name,
      type,
      derived: refusedFlag('Derive a key for each context.'),
      convergent_encryption: refusedFlag('Equal texts give equal ciphertexts.'),
      exportable: refusedFlag('May be exported.'),
      allow_plaintext_backup: refusedFlag('May be backed up in the clear.'),
    },
    operations: {
      read: reads('Read what is known of a key, but for the key.', readKey),
      update: writes('Create a key.', createKey),
      delete: writes('Delete a key, if its config allows it.', deleteKey),
    },
    help: { synopsis: 'A named key.', description: 'Its material never leaves.' },
  },
  {
    pattern: 'keys/:name/config',
    fields: {
      name,
      min_decryption_version: { type: 'int', description: 'Older ciphertexts are refused.' },
      min_encryption_version: { type: 'int', description: 'Older versions may not be asked for; 0: only the newest is used unless asked.' },
      deletion_allowed: { type: 'bool', description: 'Whether the key may be deleted.' },
    },
    operations: { update: { ...writes('Configure a key.', configureKey), example: { deletion_allowed: true } } },
    help: { synopsis: 'Which versions of a key may be used.', description: 'What is not named stays as it is.' },
  },
  {
    pattern: 'keys/:name/rotate',
    fields: { name },
    operations: { update: writes('Give the key a new version.', rotateKey) },
    help: { synopsis: 'Rotates a key.', description: 'The new version encrypts; those before still decrypt.' },
  },
  {
    pattern: 'encrypt/:name',
    fields: { ...cryptoFields, plaintext, type, key_version: keyVersion },
    exists: keyExists,
    operations: {
      create: { ...writes('Create the key, and encrypt.', createAndEncrypt), example: { plaintext: 'aGVsbG8=' } },
      update: { ...reads('Encrypt.', encryptData), example: { plaintext: 'aGVsbG8=' } },
    },
    help: {
      synopsis: 'Encrypts under a named key.',
      description: 'Takes and gives base64. A key that is missing is made for who may create here.',
    },
  },
  {
    pattern: 'decrypt/:name',
    fields: { ...cryptoFields, ciphertext },
    operations: { update: reads('Decrypt.', decryptData) },
    help: { synopsis: 'Decrypts under a named key.', description: 'The version is in the ciphertext.' },
  },
  {
    pattern: 'rewrap/:name',
    fields: { ...cryptoFields, ciphertext, key_version: keyVersion },
    operations: { update: reads('Encrypt anew by the newest version, without showing the text.', rewrapData) },
    help: { synopsis: 'Brings a ciphertext to the newest version of its key.', description: 'For after a rotation.' },
  },
]

export const transit: EngineDef = {
  type: 'transit',
  kind: 'secret',
  description: 'Encryption as a service, under keys that never leave',
  paths: () => paths,
}
