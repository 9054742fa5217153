import { createHmac } from 'node:crypto'
import type { Authenticator } from '#replica/authenticator.ts'

/** Signs as the barrier would, under a key that `name` gives. */
export function testAuthenticator(name = 'the key of the cluster'): Authenticator {
  return { mac: (input) => createHmac('sha256', name).update(input).digest() }
}
