/** A SoftHSM token in a folder of the test's own (Debian: softhsm2), and keys in it. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const places = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so', '/usr/lib64/softhsm/libsofthsm2.so']

export class SoftHsm {
  readonly library: string
  readonly conf: string
  readonly label = 'holdfast'
  readonly pin = '1234-marked-pin'
  readonly #dir: string

  constructor(dir: string) {
    const library = places.find((place) => existsSync(place))
    if (library === undefined) throw new Error('expected SoftHSM, got none: apt-get install softhsm2 opensc')
    this.library = library
    this.#dir = dir
    this.conf = join(dir, 'softhsm2.conf')
    mkdirSync(this.#tokens, { recursive: true })
    writeFileSync(this.conf, `directories.tokendir = ${this.#tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`)
    this.init()
  }

  get #tokens(): string {
    return join(this.#dir, 'tokens')
  }

  get env(): Record<string, string> {
    return { SOFTHSM2_CONF: this.conf }
  }

  /** A fresh token of that label. */
  init(): void {
    const given = ['--init-token', '--free', '--label', this.label, '--so-pin', '5678-so', '--pin', this.pin]
    execFileSync('softhsm2-util', given, { env: { ...process.env, ...this.env }, stdio: 'ignore' })
  }

  /** The number of the token's slot. SoftHSM draws it when the token is made. */
  get slot(): number {
    const slots = execFileSync('softhsm2-util', ['--show-slots'], { env: { ...process.env, ...this.env }, encoding: 'utf8' })
    const found = slots.split(/^Slot /m).find((slot) => new RegExp(`Label:\\s+${this.label}\\s*$`, 'm').test(slot))
    if (found === undefined) throw new Error('expected a slot with the token, got none')
    return Number.parseInt(found, 10)
  }

  /** As if its cable were pulled. */
  unplug(): void {
    renameSync(this.#tokens, `${this.#tokens}.away`)
    mkdirSync(this.#tokens)
  }

  plugIn(): void {
    execFileSync('rm', ['-r', this.#tokens])
    renameSync(`${this.#tokens}.away`, this.#tokens)
  }

  /** All of its tokens as they are now; what gives them back. */
  kept(): () => void {
    cpSync(this.#tokens, `${this.#tokens}.kept`, { recursive: true })
    return () => {
      execFileSync('rm', ['-r', this.#tokens])
      renameSync(`${this.#tokens}.kept`, this.#tokens)
    }
  }

  /** By OpenSC's tool, which knows nothing of us. What it says of the token's objects. */
  tool(...args: readonly string[]): string {
    const given = ['--module', this.library, '--token-label', this.label, '--login', '--pin', this.pin, ...args]
    return execFileSync('pkcs11-tool', given, {
      env: { ...process.env, ...this.env },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  }
}
