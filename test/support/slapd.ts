/** OpenLDAP's slapd (Debian: slapd) with a small directory, on loopback, in a folder of the test's own. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { untilListening } from './haproxy.ts'

export interface SlapdTls {
  readonly caPem: string
  readonly pem: string
  readonly key: string
}

const base = 'dc=example,dc=com'
const person = (uid: string, password: string, more = ''): string =>
  `dn: uid=${uid},ou=people,${base}\nobjectClass: inetOrgPerson\nuid: ${uid}\n${more}cn: ${uid}\nsn: ${uid}\nuserPassword: ${password}\n\n`
const directory = `dn: ${base}
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=people,${base}
objectClass: organizationalUnit
ou: people

dn: ou=groups,${base}
objectClass: organizationalUnit
ou: groups

dn: cn=reader,${base}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: read me

${person('Alice', 'right', 'uid: alias-of-alice\n')}${person('bob', 'bobs', 'mail: bob@example.com\n')}${person('gone', 'gones')}dn: cn=elsewhere,ou=people,${base}
objectClass: referral
objectClass: extensibleObject
cn: elsewhere
ref: ldap://127.0.0.1:1/ou=people,${base}

dn: cn=ops,ou=groups,${base}
objectClass: groupOfNames
cn: ops
member: uid=Alice,ou=people,${base}

dn: cn=Eng\\, all,ou=groups,${base}
objectClass: groupOfNames
cn: Eng, all
member: uid=Alice,ou=people,${base}
member: uid=bob,ou=people,${base}

dn: cn=a//b,ou=groups,${base}
objectClass: groupOfNames
cn: a//b
member: uid=bob,ou=people,${base}

dn: cn=..,ou=groups,${base}
objectClass: groupOfNames
cn: ..
member: uid=bob,ou=people,${base}
`

export class Slapd {
  readonly port: number
  readonly tlsPort: number
  readonly #conf: string
  readonly #dir: string
  #child: ChildProcess | null = null

  constructor(dir: string, port: number, tls: SlapdTls) {
    this.#dir = join(dir, 'slapd')
    this.port = port
    this.tlsPort = port + 1
    mkdirSync(join(this.#dir, 'db'), { recursive: true })
    for (const [name, text] of Object.entries({ 'ca.pem': tls.caPem, 'server.pem': tls.pem, 'server.key': tls.key }))
      writeFileSync(join(this.#dir, name), text)
    this.#conf = join(this.#dir, 'slapd.conf')
    const schemas = ['core', 'cosine', 'inetorgperson'].map((name) => `include /etc/ldap/schema/${name}.schema`)
    const lines = [
      ...schemas,
      'modulepath /usr/lib/ldap',
      'moduleload back_mdb',
      `TLSCACertificateFile ${this.#dir}/ca.pem`,
      `TLSCertificateFile ${this.#dir}/server.pem`,
      `TLSCertificateKeyFile ${this.#dir}/server.key`,
      'database mdb',
      `suffix "${base}"`,
      `rootdn "cn=admin,${base}"`,
      'rootpw admin',
      `directory ${this.#dir}/db`,
      'index uid eq',
      'access to attrs=userPassword by self write by anonymous auth by * none',
      'access to * by * read',
    ]
    writeFileSync(this.#conf, `${lines.join('\n')}\n`)
    writeFileSync(join(this.#dir, 'data.ldif'), directory)
    execFileSync('slapadd', ['-f', this.#conf, '-l', join(this.#dir, 'data.ldif')], { stdio: 'ignore' })
  }

  async start(): Promise<void> {
    const urls = `ldap://127.0.0.1:${this.port} ldaps://127.0.0.1:${this.tlsPort}`
    this.#child = spawn('slapd', ['-d', '0', '-f', this.#conf, '-h', urls], { stdio: 'ignore' })
    await untilListening('slapd', this.#child, this.port)
  }

  async stop(): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    await ended
  }

  /** As the directory's own administrator. */
  remove(dn: string): void {
    execFileSync('ldapdelete', ['-x', '-H', `ldap://127.0.0.1:${this.port}`, '-D', `cn=admin,${base}`, '-w', 'admin', dn], {
      stdio: 'ignore',
    })
  }
}
