/**
 * What the commands of the pages need to run as they stand: what was there before, what a reader puts in for a name like NONCE, what is typed.
 * Texts are of a shell; `test/e2e/pages.test.ts` sets the variables that they use, and the functions `json`, `accessor`, `id_of`, `public_key`, `own_configuration` and `own_server`.
 */

/** How one line runs. Without one it runs as it stands, and must end with 0. */
export interface LinePlan {
  /** Run before it. */
  readonly first?: string
  /** Words of the line, and what is put in for them, in order. */
  readonly fill?: Readonly<Record<string, string>>
  /** What is typed; of several the line runs once for each. */
  readonly typed?: string | readonly string[]
  /** Variables for this line alone. */
  readonly env?: string
  /** The exit code. */
  readonly code?: number
  /** It goes on until it is ended, which is done after two seconds. */
  readonly lasts?: true
  /** It is a server: it stays, and the next line waits until it is up. */
  readonly stays?: true
  /** Into which file its output goes besides; several lines with one name make one file. */
  readonly keep?: string
  /** What it must print. */
  readonly prints?: RegExp
  /** The test that runs it, where this one does not. */
  readonly elsewhere?: string
  /** Why nothing runs it. */
  readonly not?: string
}

export interface PagePlan {
  readonly before?: string
  /** By how the line begins; the longest that fits counts. */
  readonly lines?: Readonly<Record<string, LinePlan>>
  readonly after?: string
}

const noDaemon = 'no container daemon, no Kubernetes and no systemd here: the files are rendered and linted (test/unit/deploy)'
const loading = { elsewhere: 'test/e2e/dev.test.ts' } as const

/** Shares as `operator init` and its like printed them into a file, and the cluster's own. */
const sharesIn = (file: string, name: string): readonly string[] => [1, 2, 3].map((at) => `$(sed -n 's/^${name} ${at}: *//p' ${file})`)
/** Of a namespace: a list in brackets. */
const namespaceShares: readonly string[] = [1, 2, 3].map(
  (at) => `$(sed -n 's/^key_shares  *//p' shares | tr -d '[],"' | cut -d' ' -f${at})`,
)
const ownShares = ['$KEY1', '$KEY2', '$KEY3']

export const plans: Readonly<Record<string, PagePlan>> = {
  'README.md': {
    lines: {
      'npm start': loading,
      'npm test': { not: 'it is what runs this' },
      'npx ': { elsewhere: 'test/e2e/tour.test.ts' },
      'kill ': { elsewhere: 'test/e2e/tour.test.ts' },
    },
  },
  'docs/audit.md': {
    before: 'ln -s "$AUDIT_LOG" audit.log; holdfast kv get secret/app',
    lines: {
      'holdfast audit hash': { typed: 'hunter2', prints: /hmac-sha256:[0-9a-f]{64}/ },
      'holdfast audit tail': { lasts: true, prints: /secret\/data\/app/ },
      'holdfast audit report -csv': { fill: { 'hmac-sha256:...': 'hmac-sha256:00' } },
      'holdfast audit proof': { first: 'sleep 2' }, // Until an anchor stands.
      'holdfast audit verify': { first: 'public_key proof.json > audit.pem', prints: /whole/i },
    },
  },
  'docs/cli.md': {
    lines: {
      'holdfast bench': { fill: { '-connections=16,64': '-connections=16', '-seconds=10': '-seconds=1' }, prints: /kv-mixed/ },
      'source <(holdfast completion zsh)': { elsewhere: 'test/unit/cmd/completion.test.ts' },
      'holdfast completion fish': { elsewhere: 'test/unit/cmd/completion.test.ts' },
    },
    after: 'holdfast delete sys/storage/raft/snapshot-auto/config/daily',
  },
  'docs/client.md': {
    lines: { 'npm ': { elsewhere: 'test/e2e/full/pages.test.ts' } },
  },
  'docs/consistency.md': {
    before: 'TOKEN=$HOLDFAST_TOKEN',
    lines: { 'curl ': { prints: /"user":"app"/ } },
  },
  'docs/deploy.md': {
    lines: {
      'docker ': { not: noDaemon },
      'kubectl ': { not: noDaemon },
      'helm ': { not: noDaemon },
      'systemctl ': { not: noDaemon },
      'journalctl ': { not: noDaemon },
      'curl ': { fill: { 'http://127.0.0.1:8200': '$HOLDFAST_ADDR' }, prints: /"sealed":false/ },
    },
  },
  'docs/getting-started.md': {
    before: `holdfast kv put secret/app/db user=app password=hunter2; mkdir own
for at in 1 2 3; do sed "s/node1/node$at/g; s/:8200/:$((PORT + 10 * at))/g; s/:8201/:$((PORT + 10 * at + 1))/g" block-1.hcl > own/node$at.hcl; done`,
    lines: {
      'npm start': loading,
      'export HOLDFAST_ADDR': { fill: { 'http://127.0.0.1:8200,http://127.0.0.1:8210,http://127.0.0.1:8220': '$HOLDFAST_ADDR' } },
      // Twice: of the development cluster, and of the reader's own.
      'export HOLDFAST_TOKEN': {
        fill: { [`s.${'X'.repeat(24)}`]: '$(sed -n "s/^Initial Root Token: //p" shares 2>/dev/null | grep . || echo $HOLDFAST_TOKEN)' },
      },
      'curl ': { fill: { 'http://127.0.0.1:8220': '$HOLDFAST_ADDR' }, prints: /"password":"hunter2"/ },
      'npx holdfast server': { first: 'own_server own/node2.hcl; own_server own/node3.hcl', stays: true },
      'npx holdfast operator init': {
        first: 'export HOLDFAST_ADDR=http://127.0.0.1:$((PORT + 10))',
        keep: 'shares',
        prints: /Unseal Key 5: /,
      },
      'npx holdfast operator unseal': { typed: sharesIn('shares', 'Unseal Key') },
      'npx holdfast operator raft join-token': {
        fill: { 'http://127.0.0.1:8210': 'http://127.0.0.1:$((PORT + 20))', 'http://127.0.0.1:8200': '$HOLDFAST_ADDR' },
        prints: /Joined +true/,
      },
      'npx holdfast operator members': {
        first: `npx holdfast operator raft join-token -field=token | npx holdfast operator raft join -address=http://127.0.0.1:$((PORT + 30)) -join-token=- $HOLDFAST_ADDR
for at in 20 30; do for n in 1 2 3; do sed -n "s/^Unseal Key $n: //p" shares | npx holdfast operator unseal -address=http://127.0.0.1:$((PORT + at)); done; done`,
        prints: /node1 +leader +false[^]*node2 +\w+ +false[^]*node3 +\w+ +false/,
      },
    },
  },
  'docs/identity.md': {
    before: `holdfast policy write app - <<< 'path "identity/oidc/token/*" { capabilities = ["read"] }'
holdfast auth enable userpass; holdfast auth enable ldap
for name in alice carol dave; do printf password | holdfast write auth/userpass/users/$name password=- token_policies=app; done
for name in red blue; do holdfast write identity/group name=$name-members; done
for name in carol dave; do holdfast write identity/entity name=$name; holdfast write identity/entity-alias name=$name mount_accessor=$(accessor userpass) canonical_id=$(id_of entity/name/$name); done`,
    lines: {
      'holdfast write identity/entity/merge': {
        fill: {
          '=ID ': '=$(id_of entity/name/carol) ',
          '=OTHER ': '=$(id_of entity/name/dave) ',
          '=ALIAS': '=$(holdfast read -format=json identity/entity/name/carol | json data.aliases.0.id)',
        },
      },
      'holdfast read sys/auth': { prints: /auth_userpass_/ },
      'holdfast write identity/entity-alias': {
        fill: { auth_userpass_1a2b3c4d: '$(accessor userpass)', ENTITY: '$(id_of entity/name/alice)' },
      },
      'holdfast write identity/group name=red': { fill: { ENTITY: '$(id_of entity/name/alice)' } },
      'holdfast write identity/group name=everybody': { fill: { 'RED,BLUE': '$(id_of group/name/red),$(id_of group/name/blue-members)' } },
      'holdfast write identity/group-alias': { fill: { auth_ldap_5e6f7a8b: '$(accessor ldap)', ADMINS: '$(id_of group/name/admins)' } },
      'holdfast list identity/entity/name': { prints: /alice/ },
      'holdfast write identity/lookup/entity': { fill: { auth_userpass_1a2b3c4d: '$(accessor userpass)' }, prints: /alice/ },
      'holdfast read identity/oidc/token/billing': {
        first: 'ALICE=$(printf password | holdfast login -no-store -token-only -method=userpass username=alice)',
        env: 'HOLDFAST_TOKEN=$ALICE',
        keep: 'token',
      },
      'holdfast write identity/oidc/introspect': { fill: { '=TOKEN': "=$(sed -n 's/^token  *//p' token)" }, prints: /active +true/ },
      'holdfast write identity/oidc/assignment': { fill: { GROUP_ID: '$(id_of group/name/red)' } },
      'holdfast read identity/oidc/client/wiki': { prints: /client_secret/ },
    },
    after: 'holdfast auth disable userpass; holdfast auth disable ldap',
  },
  'docs/keyring.md': {
    lines: { 'holdfast read sys/rotate/config': { prints: /interval +720h0m0s/ }, 'holdfast operator key-status': { prints: /Key Term/i } },
  },
  'docs/keys.md': {
    before: `export GNUPGHOME=$PWD/gpg; mkdir -m 700 gpg
for name in ann ben eve; do gpg -q --batch --passphrase '' --quick-gen-key $name@example.com default default never; done
gpg --export ann@example.com > ann.pgp; gpg --armor --export ben@example.com > ben.asc; gpg --export eve@example.com > eve.pgp
gpgconf --kill all; own_configuration fresh 10; own_server fresh.hcl`,
    lines: {
      'holdfast operator init': { env: 'HOLDFAST_ADDR=http://127.0.0.1:$((PORT + 10))', prints: /Unseal Key 3: / },
      'holdfast operator rekey -init': { keep: 'rekey', prints: /Nonce/ },
      'holdfast operator rekey -nonce': { fill: { NONCE: "$(sed -n 's/^Nonce  *//p' rekey)" }, typed: ownShares, keep: 'shares' },
      'holdfast operator rekey -verify': {
        fill: { NONCE: "$(sed -n 's/^Verification nonce: *//p' shares)" },
        typed: sharesIn('shares', 'Key'),
      },
      'holdfast operator generate-root -init': { keep: 'attempt', prints: /OTP/ },
      'holdfast operator generate-root -nonce': {
        fill: { NONCE: "$(sed -n 's/^Nonce  *//p' attempt)" },
        typed: sharesIn('shares', 'Key'),
        keep: 'encoded',
      },
      'holdfast operator generate-root -decode': {
        fill: { ENCODED: "$(sed -n 's/^Encoded Token  *//p' encoded | tail -1)", '=OTP': "=$(sed -n 's/^OTP   *//p' attempt)" },
        prints: /^s\.\w{24}/,
      },
    },
  },
  // The path is of an engine that lends; the leases of tokens stand in the same books.
  'docs/leases.md': {
    before: `holdfast auth enable userpass; printf password | holdfast write auth/userpass/users/app password=- token_ttl=1h
log_in() { printf password | holdfast login -no-store -method=userpass username=app; }; log_in
lease() { echo auth/userpass/login/app/$(holdfast list -format=json sys/leases/lookup/auth/userpass/login/app | json 0); }`,
    lines: {
      'holdfast lease lookup': { fill: { 'database/creds/app/LEASE': '$(lease)', 'database/creds': 'auth/userpass/login' } },
      // Tokens are renewed elsewhere.
      'holdfast lease renew': { elsewhere: 'test/unit/cmd/cli.test.ts' },
      'holdfast lease revoke': {
        first: 'log_in',
        fill: { 'database/creds/app/LEASE': '$(lease)', 'database/creds': 'auth/userpass/login', database: 'auth/userpass' },
      },
    },
    after: 'holdfast auth disable userpass',
  },
  'docs/logins.md': {
    before: `cp "$PKI/authority.pem" "$PKI/web-1.pem" "$PKI/web-1.key" .; cp authority.pem ca.crt; printf %s "$JWT" > token; printf reviewer > reviewer`,
    lines: {
      'holdfast write auth/userpass/users/alice': { typed: 'correct horse' },
      'holdfast login -method=userpass': { typed: 'correct horse' },
      'holdfast login -method=approle': {
        fill: { 'role_id=...': 'role_id=$(holdfast read -field=role_id auth/approle/role/web/role-id)' },
        typed: '$(holdfast write -f -field=secret_id auth/approle/role/web/secret-id)',
      },
      'holdfast write auth/apikey/key name=ci': { keep: 'apikey' },
      'holdfast write auth/apikey/key/ID/rotate': { fill: { ID: "$(sed -n 's/^id  *//p' apikey)" } },
      'holdfast delete auth/apikey/key/ID': { fill: { ID: "$(sed -n 's/^id  *//p' apikey)" } },
      'holdfast login -method=apikey': { typed: '$(holdfast write -field=key auth/apikey/key name=another token_policies=ci)' },
      'holdfast write auth/jwt/config': { fill: { 'https://issuer.example.com': '$OIDC' } },
      'holdfast write auth/oidc/config': { fill: { 'https://issuer.example.com': '$OIDC' }, typed: 'a client secret & more' },
      'holdfast login -method=oidc': { elsewhere: 'test/e2e/logins-outside.test.ts' },
      'holdfast write auth/ldap/config url': { fill: { 'ldaps://directory.example.com': '$LDAPS' }, typed: 'read me' },
      'holdfast login -method=ldap': { typed: 'right' },
      'holdfast write auth/kubernetes/config': { fill: { 'https://10.0.0.1:6443': '$KUBERNETES', '@token': '@reviewer' } },
      'holdfast write identity/mfa/method/totp issuer': { keep: 'method' },
      'holdfast write identity/mfa/method/totp/admin-generate': {
        first:
          'METHOD=$(sed -n "s/^method_id  *//p" method); ALICE=$(holdfast write -field=id identity/lookup/entity alias_name=alice alias_mount_accessor=$(accessor userpass))',
        fill: { 'method_id=...': 'method_id=$METHOD', 'entity_id=...': 'entity_id=$ALICE' },
      },
      'holdfast write identity/mfa/login-enforcement': {
        first: 'holdfast write identity/group name=staff-of-logins',
        fill: {
          'mfa_method_ids=...': 'mfa_method_ids=$METHOD',
          'identity_group_ids=...': 'identity_group_ids=$(id_of group/name/staff-of-logins)',
        },
      },
      'holdfast write -f sys/locked-users': { fill: { ACCESSOR: '$(accessor userpass)', NAME: 'alice' } },
    },
    after: 'for method in userpass approle apikey cert jwt oidc ldap kubernetes; do holdfast auth disable $method; done',
  },
  'docs/logs.md': {
    lines: {
      // Something for it to tell: a reload of what SIGHUP reads again, each second.
      'holdfast monitor': {
        first: '(for n in 1 2 3 4 5 6 7 8; do sleep 1; kill -HUP $NODE_PID; done) > /dev/null 2>&1 &',
        lasts: true,
        prints: /SIGHUP/,
      },
    },
    after: 'holdfast delete sys/config/cors',
  },
  'docs/migrate.md': {
    lines: {
      'export HOLDFAST_FROM_ADDR': { elsewhere: 'test/unit/docs/migrate-page.test.ts' },
      'holdfast migrate': { elsewhere: 'test/unit/docs/migrate-page.test.ts' },
    },
  },
  'docs/namespace-keys.md': {
    lines: {
      'holdfast namespace create': { keep: 'shares' },
      'holdfast namespace unseal': { typed: namespaceShares },
      'holdfast write sys/namespaces/tenant': { fill: { 'namespaces/tenant': 'namespaces/another' }, prints: /key_shares/ },
      'holdfast namespace rekey -init': { keep: 'rekey' },
      'holdfast namespace rekey -nonce': { fill: { NONCE: "$(sed -n 's/^nonce  *//p' rekey)" }, typed: namespaceShares },
    },
  },
  'docs/namespaces.md': {
    lines: { 'holdfast namespace list': { prints: /team\/app\// } },
    after: 'unset HOLDFAST_NAMESPACE',
  },
  'docs/performance.md': { lines: { 'npm run bench': { not: 'minutes each; what they printed is in bench/results, and on the page' } } },
  'docs/policies.md': {
    before: `cp block-1.hcl team.hcl; cp block-1.hcl-test access.test.hcl; echo 'path "cubbyhole/*" { capabilities = ["read"] }' > base.hcl
holdfast write identity/group name=people-on-call`,
    lines: {
      'holdfast token create': { prints: /team/ },
      'holdfast write sys/roles/oncall': { fill: { '0a6c...': '$(id_of group/name/people-on-call)' } },
      'holdfast list sys/roles': { prints: /oncall/ },
      // It finds what the page says it finds: outside of its hours a wider rule decides.
      'holdfast policy lint': { code: 2, prints: /decides and grants read/ },
      'holdfast policy explain': { prints: /secret\/data\/team\/\*/ },
      'holdfast policy test': { prints: /5 check\(s\), 0 failed/ },
    },
  },
  'docs/production.md': {
    before: `holdfast operator raft snapshot save backup.snap; holdfast write sys/quotas/rate-limit/global rate=1000
holdfast operator raft snapshot schedule write daily -interval=24h -storage=local`,
    after: 'holdfast delete sys/quotas/rate-limit/global; holdfast delete sys/storage/raft/snapshot-auto/config/daily',
    lines: {
      'curl ': { prints: /^200$/m },
      'holdfast audit list': { prints: /file/ },
      'holdfast read -format=raw sys/metrics': { prints: /^holdfast_/m },
    },
  },
  'docs/quotas.md': {
    before: `holdfast auth enable userpass; holdfast auth enable approle; holdfast write auth/approle/role/batch token_policies=default
holdfast namespace create team; holdfast secrets enable -namespace=team -path=kv kv; holdfast secrets enable -path=database kv`,
    lines: { 'holdfast list sys/quotas/rate-limit': { prints: /logins/ } },
    after: `for name in global batch team; do holdfast delete sys/quotas/rate-limit/$name; done
holdfast delete sys/quotas/lease-count/db; holdfast delete sys/quotas/request-limits/team; holdfast namespace delete team
holdfast auth disable userpass; holdfast auth disable approle; holdfast secrets disable database`,
  },
  'docs/recovery.md': { lines: { 'holdfast operator raft recover': { elsewhere: 'test/e2e/recovery.test.ts' } } },
  'docs/run.md': {
    before: `holdfast kv put secret/web db-password=hunter2 tls-key=KEY
echo 'console.log("up"); setInterval(() => {}, 1000)' > server.js; printf '#!/bin/sh\necho up; exec sleep 60\n' | tee batch > "$BIN/nginx"; chmod +x batch "$BIN/nginx"`,
    lines: { 'holdfast run -watch': { lasts: true, prints: /up/ } },
    after: 'rm "$BIN/nginx"',
  },
  'docs/snapshots.md': {
    lines: {
      'holdfast operator raft snapshot confirm': { elsewhere: 'test/e2e/restore.test.ts' },
      // Nothing of a test leaves the machine.
      'holdfast write sys/storage/raft/snapshot-auto/config/offsite': {
        fill: {
          'aws_s3_region=eu-central-1':
            'aws_s3_region=eu-central-1 aws_s3_endpoint=http://127.0.0.1:1 aws_access_key_id=x aws_secret_access_key=x',
        },
      },
    },
    after: 'for name in nightly offsite; do holdfast delete sys/storage/raft/snapshot-auto/config/$name; done',
  },
  'docs/tracing.md': {
    before: 'VAULT_TOKEN=$HOLDFAST_TOKEN; VAULT_ADDR=$HOLDFAST_ADDR',
    lines: { 'curl ': { prints: /"version":1/ } },
  },
}

/** Pages whose `console` blocks show what came out of a run, and the test that runs and compares them. */
export const compared: Readonly<Record<string, string>> = {
  'README.md': 'test/e2e/tour.test.ts',
  'docs/tour.md': 'test/e2e/tour.test.ts',
  'docs/getting-started.md': 'test/e2e/full/pages.test.ts',
  'docs/run.md': 'test/e2e/full/pages.test.ts',
  'docs/kv.md': 'test/e2e/full/pages.test.ts',
  'docs/cli.md': 'test/e2e/full/pages.test.ts',
  'docs/migrate.md': 'test/unit/docs/migrate-page.test.ts',
}

/** The plan of a line: the one of the longest beginning that fits; nothing where it runs as it stands. */
export function planOf(page: string, line: string): LinePlan {
  const fitting = Object.entries(plans[page]?.lines ?? {}).filter(([begin]) => line.startsWith(begin))
  return fitting.toSorted(([a], [b]) => b.length - a.length)[0]?.[1] ?? {}
}
