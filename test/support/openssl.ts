/** Certificates made by openssl, in a folder of the test's own: authorities, clients and servers below them, revocation lists. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Made {
  readonly name: string
  readonly pem: string
  readonly key: string
  readonly der: Uint8Array
}

export interface Wanted {
  readonly ca?: boolean
  /** Lines of an extension section besides. */
  readonly extensions?: readonly string[]
  readonly subject?: string
  readonly days?: number
  /** `YYYYMMDDHHMMSSZ`, both or none. */
  readonly from?: string
  readonly to?: string
  readonly digest?: string
  /** The key of another one. */
  readonly keyOf?: string
}

const derOf = (pem: string): Uint8Array => Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')

export class OpenSsl {
  readonly dir = mkdtempSync(join(tmpdir(), 'holdfast-pki-'))
  #serial = 1_000

  run(...args: string[]): Buffer {
    return execFileSync('openssl', args, { cwd: this.dir, stdio: ['ignore', 'pipe', 'ignore'] })
  }

  /** Signed by `issuer`, or by itself. */
  make(name: string, issuer: Made | null, wanted: Wanted = {}): Made {
    const keyName = wanted.keyOf ?? name
    if (wanted.keyOf === undefined) this.run('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', `${name}.key`)
    this.run('req', '-new', '-key', `${keyName}.key`, '-subj', wanted.subject ?? `/CN=${name}`, '-out', `${name}.csr`)
    const basics = wanted.ca
      ? ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign', 'subjectKeyIdentifier=hash']
      : ['basicConstraints=CA:FALSE', 'subjectKeyIdentifier=hash']
    const own = (wanted.extensions ?? []).map((line) => line.split('=')[0])
    const lines = [...basics.filter((line) => !own.includes(line.split('=')[0])), ...(wanted.extensions ?? [])]
    writeFileSync(join(this.dir, `${name}.ext`), `[e]\n${lines.join('\n')}\n`)
    writeFileSync(join(this.dir, `${name}.db`), '')
    writeFileSync(join(this.dir, `${name}.serial`), (this.#serial += 1).toString(16).padStart(8, '0'))
    const config = `[ca]\ndefault_ca=d\n[d]\ndatabase=${name}.db\nserial=${name}.serial\nnew_certs_dir=.\ndefault_md=${wanted.digest ?? 'sha256'}\npolicy=p\nunique_subject=no\n[p]\ncommonName=optional\norganizationalUnitName=optional\norganizationName=optional\n`
    writeFileSync(join(this.dir, `${name}.cnf`), config)
    const signer =
      issuer === null ? ['-selfsign', '-keyfile', `${keyName}.key`] : ['-cert', `${issuer.name}.pem`, '-keyfile', `${issuer.name}.key`]
    const times =
      wanted.from === undefined ? ['-days', String(wanted.days ?? 3_650)] : ['-startdate', wanted.from, '-enddate', wanted.to ?? '']
    const files = ['-in', `${name}.csr`, '-out', `${name}.pem`, '-extfile', `${name}.ext`, '-extensions', 'e']
    this.run('ca', '-batch', '-notext', '-preserveDN', '-config', `${name}.cnf`, ...signer, ...times, ...files)
    const pem = readFileSync(join(this.dir, `${name}.pem`), 'utf8')
    return { name, pem, key: readFileSync(join(this.dir, `${keyName}.key`), 'utf8'), der: derOf(pem) }
  }

  /** A revocation list of `issuer` with these in it, PEM. */
  crl(issuer: Made, revoked: readonly Made[], times: readonly string[] = ['-crldays', '30']): string {
    const index = join(this.dir, `${issuer.name}.index`)
    writeFileSync(index, '')
    writeFileSync(join(this.dir, 'crl.cnf'), `[ca]\ndefault_ca=d\n[d]\ndatabase=${index}\ndefault_md=sha256\n`)
    const by = ['-config', 'crl.cnf', '-cert', `${issuer.name}.pem`, '-keyfile', `${issuer.name}.key`]
    for (const each of revoked) this.run('ca', ...by, '-revoke', `${each.name}.pem`)
    return this.run('ca', ...by, '-gencrl', ...times).toString()
  }

  /** The index of `openssl ocsp` for certificates of `issuer`. */
  index(issuer: Made): string {
    return join(this.dir, `${issuer.name}.index`)
  }

  /** An index that says of one certificate that it is good, whoever issued it. */
  goodIndex({ name }: Made): string {
    const index = join(this.dir, `${name}.good`)
    writeFileSync(index, '')
    writeFileSync(join(this.dir, 'good.cnf'), `[ca]\ndefault_ca=d\n[d]\ndatabase=${index}\ndefault_md=sha256\n`)
    this.run('ca', '-config', 'good.cnf', '-cert', `${name}.pem`, '-keyfile', `${name}.key`, '-valid', `${name}.pem`)
    return index
  }

  /** What a responder with `index` and the key of `signer` answers to `request`, about certificates of `issuer`; DER. */
  ocsp(issuer: Made, index: string, signer: Made, request: Uint8Array): Uint8Array {
    writeFileSync(join(this.dir, 'request.der'), request)
    const by = ['-CA', `${issuer.name}.pem`, '-rsigner', `${signer.name}.pem`, '-rkey', `${signer.name}.key`]
    this.run('ocsp', '-index', index, ...by, '-ndays', '1', '-reqin', 'request.der', '-respout', 'response.der')
    return readFileSync(join(this.dir, 'response.der'))
  }

  dispose(): void {
    rmSync(this.dir, { recursive: true, force: true })
  }
}
