import { createHmac, createSecretKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { Lru } from '#base/lru.ts'

const memoMax = 4_096

/**
 * Hides the values of one device's records: 'hmac-sha256:' and the HMAC in hex, under a salt of the device. The same value has the same
 * hash in the same device, on every node, so that an operator who knows a value can find who used it.
 */
export interface ValueHasher {
  /** The hash of a value of data. */
  hash(value: string | Uint8Array): string
  /** As `hash`, remembered: for tokens and accessors, which come again with every request. */
  hashOften(value: string): string
}

export function createValueHasher(salt: KeyObject): ValueHasher {
  const memo = new Lru<string, string>(memoMax)
  const hash = (value: string | Uint8Array): string => `hmac-sha256:${createHmac('sha256', salt).update(value).digest('hex')}`
  return {
    hash,
    hashOften(value) {
      let hashed = memo.get(value)
      if (hashed === undefined) memo.set(value, (hashed = hash(value)))
      return hashed
    },
  }
}

/** A key for one purpose from the audit key. The label tells purposes and devices apart. */
export function deriveKey(key: Uint8Array, label: string): KeyObject {
  return createSecretKey(createHmac('sha256', key).update(label).digest())
}

export const saltLabel = (device: string): string => `audit salt ${device}`
export const chainLabel = 'audit chain'
