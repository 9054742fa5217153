import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('./pkcs11-process.ts', import.meta.url))

/**
 * Starts the process for one call to an HSM (pkcs11-process.ts): it takes a `Pkcs11Request`, answers with a `Pkcs11Answer`, and ends; it ends too when this
 * process does, whatever its library is at.
 *
 * It is told whose it is: if it asked itself, after this process was killed, it would watch over whoever takes in orphans. And it keeps no cache of compiled
 * code: writing that before it kills itself, it would wait for the loader's lock, and so for a library that hangs while it is loaded.
 */
export const startPkcs11Process = (): ChildProcess =>
  fork(program, [String(process.pid)], {
    // Its standard output and error are nobody's: libraries write there what they like.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'advanced',
    env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' },
  })
