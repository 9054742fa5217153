/** What a namespace with a seal of its own leaves in memory once it is sealed, and under the root's keys at any time: over a core with its real services. */
import { createHash } from 'node:crypto'
import { Envelope } from '#barrier/envelope.ts'
import { Keyring } from '#barrier/keyring.ts'
import { bareNames } from '#barrier/bare.ts'
import { systemRandom } from '#base/random.ts'
import { removalStep } from '#core/namespace-removal.ts'
import { scheduleSweep, sweepStep } from '#core/sweep.ts'
import { createNamespaceStore } from '#namespaces/store.ts'
import { forgetWithNamespaces } from '#node/forgetting.ts'
import { openHouse, type Answer } from '#test/support/core-house.ts'
import { lendingEngine } from '#test/support/lending-engine.ts'
import { testRootKey } from '#test/support/open-barrier.ts'
import { expect, test } from 'vitest'

/** A house with a namespace `tenant` of one share, and another, `team`, without a seal of its own; leases can be lent in both, and in the root. */
async function open() {
  const house = await openHouse(1, [lendingEngine().engine])
  const { node, at } = house
  const [memories] = house.memories
  const write = (namespace: string, path: string, body: Record<string, unknown> = {}, over: object = {}): Promise<Answer> =>
    node.ask({ operation: 'update', method: 'POST', namespace, path, body, ...over })
  const read = (namespace: string, path: string, over: object = {}): Promise<Answer> => node.ask({ namespace, path, ...over })
  const done = async (asked: Promise<Answer>): Promise<Answer> => {
    const answer = await asked
    expect(answer.status, answer.text).toBeLessThan(300)
    return answer
  }
  const made = await done(write('', 'sys/namespaces/tenant', { seal: 'seal "shamir" { shares = 1 threshold = 1 }' }))
  const [share] = Object.values(made.body.data.key_shares as Record<string, string>)
  await done(write('', 'sys/namespaces/team'))
  for (const namespace of ['', 'team', 'tenant']) await done(write(namespace, 'sys/mounts/db', { type: 'lending' }))
  const seal = (): Promise<Answer> => done(write('', 'sys/namespaces/tenant/seal'))
  const unseal = (): Promise<Answer> => done(write('', 'sys/namespaces/tenant/unseal', { key: share }))
  return { ...house, barrier: at(0), ...memories!, write, read, done, seal, unseal }
}

test('tokens: neither entries, nor batch tokens, nor the tokens themselves are kept', async () => {
  const { tokens, barrier, write, done, seal, unseal } = await open()
  const make = async (type: string): Promise<string> => {
    const { auth } = (await done(write('tenant', 'auth/token/create', { type, policies: ['p'], ttl: '1h' }))).body
    return auth.client_token as string
  }
  const [service, batch] = [await make('service'), await make('batch')]
  /** The very object that is kept of a token. */
  const kept = (token: string): Promise<unknown> =>
    barrier.read({ kind: 'linearizable' }, async (view) => (await tokens.lookup(view, token))?.policies)
  for (const token of [service, batch]) expect(await kept(token)).toBe(await kept(token))
  const before = [await kept(service), await kept(batch)]
  await seal()
  await unseal()
  const after = [await kept(service), await kept(batch)]
  expect(after).toEqual(before)
  for (const [at, entry] of after.entries()) expect(entry).not.toBe(before[at])
})

test('lockout: its counters go, others stay, and so do locks', async () => {
  const { lockout, write, done, seal, unseal } = await open()
  const wrong = (namespace: string, name: string): Promise<Answer> =>
    write(namespace, `auth/userpass/login/${name}`, { password: 'wrong' }, { token: null })
  for (const namespace of ['', 'team', 'tenant']) {
    await done(write(namespace, 'sys/auth/userpass', { type: 'userpass' }))
    for (const name of ['ann', 'bob']) await wrong(namespace, name)
  }
  const locked = { password: 'right-and-long' }
  await done(write('tenant', 'auth/userpass/users/eve', locked))
  for (let tries = 0; tries < 5; tries++) await wrong('tenant', 'eve')
  expect(lockout.names).toBe(7)
  await seal()
  expect(lockout.names).toBe(4)
  await unseal()
  expect((await write('tenant', 'auth/userpass/login/eve', locked, { token: null })).status).toBe(403)
})

test('quotas: those of others hold from the first request on, whatever is sealed', async () => {
  const { quotas, write, read, done, seal, clock } = await open()
  const [{ feed }] = quotas as [(typeof quotas)[number]]
  const settle = async (): Promise<void> => {
    await feed.settled()
    clock.advance(60)
    feed.look()
    await feed.settled()
  }
  await done(write('', 'sys/quotas/rate-limit/first', { path: 'tenant/db', rate: 1, interval: '1h' }))
  await done(write('', 'sys/quotas/rate-limit/second', { path: 'team/db', rate: 1, interval: '1h' }))
  await settle()
  await seal()
  await settle()
  const ask = async (): Promise<number> => (await read('team', 'db/creds/app')).status
  expect([await ask(), await ask()]).toEqual([200, 429])
})

test('quotas: where they hold is looked at again with each namespace that is sealed or opened on this node, and after all was forgotten', () => {
  const calls: string[] = []
  const noted = (name: string) => () => void calls.push(name)
  let tell: (closed: readonly string[] | null) => void = () => {}
  const onChange = (listener: typeof tell) => ((tell = listener), () => {})
  forgetWithNamespaces(
    { namespaces: { onChange } as never },
    {
      core: { onSealed: noted('mounts forgotten') },
      identity: { onSealed: () => {} },
      policies: { onSealed: () => {} },
      tokens: { forgetOpened: () => {} },
      lockout: { forget: () => {} },
      leasing: { forget: () => {}, expirer: { nudge: noted('leases looked for') } as never },
      feed: { look: noted('quotas looked at') },
    },
  )
  tell(['tenant'])
  expect(calls).toEqual(['mounts forgotten', 'quotas looked at'])
  tell(null)
  expect(calls.slice(2)).toEqual(['leases looked for', 'quotas looked at'])
})

test('leases: what was pending is forgotten, and found again when it is open', async () => {
  const { leasing, read, done, seal, unseal, clock } = await open()
  const turn = async (): Promise<void> => {
    for (let pass = 0; pass < 3; pass += 1) {
      await leasing.expirer.pass()
      await leasing.expirer.idle()
    }
  }
  await turn()
  for (const namespace of ['', 'team', 'tenant', 'tenant']) await done(read(namespace, 'db/creds/app', { query: { ttl: '30s' } }))
  await turn()
  expect(leasing.expirer.status()).toMatchObject({ pending: 4, ended: 0 })
  await seal()
  expect(leasing.expirer.status()).toMatchObject({ pending: 2, ended: 0 })
  clock.advance(31_000)
  await turn()
  expect(leasing.expirer.status()).toMatchObject({ pending: 0, ended: 2 })
  await unseal()
  await turn()
  expect(leasing.expirer.status()).toMatchObject({ pending: 0, ended: 4 })
})

/** A token of the root (`own`: what is asked of it besides), and one that it made in `tenant`. */
async function family({ write, done }: Awaited<ReturnType<typeof open>>, own: object = {}) {
  const parent = (await done(write('', 'auth/token/create', { policies: ['root'], ...own }))).body.auth
  const child = (await done(write('tenant', 'auth/token/create', { policies: ['default'] }, { token: parent.client_token }))).body.auth
  return { parent: parent.client_token as string, accessor: parent.accessor as string, child: child.client_token as string }
}

test.each([
  ['revoke', 204],
  ['revoke-self', 204],
  ['revoke-accessor', 204],
  ['revoke-orphan', 200],
])('auth/token/%s: a token with a child in a sealed namespace ends, and the child with it', async (path, status) => {
  const house = await open()
  const { tokens, barrier, write, read, seal, unseal } = house
  const { parent, accessor, child } = await family(house)
  const near = (await house.done(write('', 'auth/token/create', { policies: ['default'] }, { token: parent }))).body.auth.client_token
  expect((await read('tenant', 'auth/token/lookup-self', { token: child })).status).toBe(200)
  await seal()
  const body = path === 'revoke-accessor' ? { accessor } : { token: parent }
  const answer = await write('', `auth/token/${path}`, body, path === 'revoke-self' ? { token: parent } : {})
  expect([answer.status, answer.body?.warnings?.length], answer.text).toEqual([status, path === 'revoke-orphan' ? 1 : undefined])
  expect((await read('', 'auth/token/lookup-self', { token: parent })).status).toBe(403)
  expect((await read('', 'auth/token/lookup-self', { token: near })).status).toBe(path === 'revoke-orphan' ? 200 : 403)
  const tidy = () => barrier.transact((transaction) => tokens.tidyStep(transaction))
  expect(await tidy()).toEqual({ entries: [], more: false })
  await unseal()
  expect((await read('tenant', 'auth/token/lookup-self', { token: child })).status).toBe(403)
  // It is deleted, and not only dead.
  expect((await tidy()).entries).toHaveLength(1)
  expect(await tidy()).toEqual({ entries: [], more: false })
})

test('children in a sealed namespace are not in the way of others that are to be deleted', async () => {
  const house = await open()
  const { tokens, barrier, write, done, seal, unseal } = house
  const parents: string[] = []
  for (let count = 0; count < 5; count += 1) {
    const { parent } = await family(house)
    for (const namespace of ['team', 'team']) await done(write(namespace, 'auth/token/create', {}, { token: parent }))
    parents.push(parent)
  }
  await seal()
  await barrier.transact(async (transaction) => {
    for (const parent of parents) {
      const entry = await tokens.lookup(transaction, parent)
      await tokens.revokeTree(transaction, entry!, 1)
    }
  })
  const tidied = async (): Promise<number> => {
    let found = 0
    for (let step = 0; step < 20; step += 1)
      found += (await barrier.transact((transaction) => tokens.tidyStep(transaction, 2))).entries.length
    return found
  }
  expect(await tidied()).toBe(10)
  await unseal()
  expect(await tidied()).toBe(5)
})

test('sys/leases/revoke-prefix goes by a token with a child in a sealed namespace', async () => {
  const house = await open()
  const { leasing, write, read, done, seal } = house
  const found = [await family(house, { ttl: '1h' }), await family(house, { ttl: '1h' })]
  await seal()
  await done(write('', 'sys/leases/revoke-prefix/auth/token/create'))
  await leasing.expirer.pass()
  for (const { parent } of found) expect((await read('', 'auth/token/lookup-self', { token: parent })).status).toBe(403)
})

test('what falls due together with a token that has a child in a sealed namespace is ended', async () => {
  const house = await open()
  const { leasing, write, done, seal, clock, tokens, barrier } = house
  await family(house, { ttl: '30s' })
  for (let count = 0; count < 3; count += 1) await done(write('', 'auth/token/create', { ttl: '30s' }))
  await leasing.expirer.pass()
  expect(leasing.expirer.status()).toMatchObject({ pending: 4, ended: 0 })
  await seal()
  clock.advance(31_000)
  await leasing.expirer.pass()
  expect(leasing.expirer.status()).toMatchObject({ pending: 0, ended: 4 })
  expect(await barrier.transact((transaction) => tokens.tidyStep(transaction))).toEqual({ entries: [], more: false })
})

test('leases of tokens that are gone: those in a sealed namespace wait, and nothing waits for them', async () => {
  const { leasing, write, read, done, seal, unseal } = await open()
  const turn = async (passes: number): Promise<void> => {
    for (let pass = 0; pass < passes; pass += 1) {
      await leasing.expirer.pass()
      await leasing.expirer.idle()
    }
  }
  // More tokens than one step looks at.
  const lent: string[] = []
  for (let count = 0; count < 20; count += 1) {
    const token = (await done(write('', 'auth/token/create', { policies: ['root'] }))).body.auth.client_token as string
    for (const namespace of ['tenant', 'team']) await done(read(namespace, 'db/creds/app', { token, query: { ttl: '1h' } }))
    lent.push(token)
  }
  await done(read('', 'db/creds/app', { query: { ttl: '1h' } }))
  await turn(3)
  expect(leasing.status().leases).toBe(41)
  await seal()
  for (const token of lent) await done(write('', 'auth/token/revoke', { token }))
  await done(write('', 'sys/leases/revoke-prefix/db', { sync: false }))
  await turn(8)
  const left = async (): Promise<number[]> =>
    Promise.all(
      ['', 'team'].map(async (namespace) => {
        const answer = await read(namespace, 'sys/leases/lookup/db/creds/app', { operation: 'list', method: 'LIST' })
        return answer.status === 404 ? 0 : (answer.body.data.keys.length as number)
      }),
    )
  expect(await left()).toEqual([0, 0])
  await unseal()
  await turn(8)
  expect((await read('tenant', 'sys/leases/lookup/db/creds/app', { operation: 'list', method: 'LIST' })).status).toBe(404)
})

test('the sweeper goes by notes of a sealed namespace', async () => {
  const { barrier, read, done, seal, unseal } = await open()
  const idOf = async (name: string): Promise<string> => (await done(read('', `sys/namespaces/${name}`))).body.data.id as string
  const sections = [await idOf('tenant'), await idOf('team')].map((namespace) => ({ namespace, mount: 'gone' }))
  await barrier.transact(async (transaction) => {
    for (const section of sections) {
      for (const name of ['a', 'b/c']) transaction.put(section, name, Uint8Array.of(1))
      for (const prefix of ['', 'b']) scheduleSweep(transaction, section, prefix)
    }
  })
  const [tenant, team] = sections
  const sweep = async (): Promise<void> => {
    while (await barrier.transact((transaction) => sweepStep(transaction)));
  }
  const names = (section = tenant!): Promise<string[]> => barrier.read({ kind: 'linearizable' }, (view) => view.list(section, ''))
  await seal()
  await sweep()
  expect(await names(team)).toEqual([])
  await unseal()
  expect(await names()).toEqual(['a', 'b/'])
  await sweep()
  expect(await names()).toEqual([])
})

test('a namespace that is sealed while it is being deleted keeps no other from it', async () => {
  const { barrier, tokens, seal, unseal } = await open()
  const namespaces = createNamespaceStore({ random: systemRandom })
  await barrier.transact(async (transaction) => {
    for (const name of ['tenant', 'team']) await namespaces.beginDelete(transaction, (await namespaces.byPath(transaction, name))!)
  })
  const left = (): Promise<string[]> => barrier.read({ kind: 'linearizable' }, (view) => namespaces.childNames(view, 'root'))
  const remove = async (): Promise<void> => {
    while (await removalStep({ barrier, namespaces, tokens }));
  }
  await seal()
  await remove()
  expect(await left()).toEqual(['tenant'])
  await unseal()
  await remove()
  expect(await left()).toEqual([])
})

test("the root's keys open nothing of it: no answer that is kept, no token of a request that has ended it, no share", async () => {
  const { cluster, write, done, seal, unseal, barrier } = await open()
  const marks = new Set<string>()
  const marked = (what: string): string => {
    const mark = `mark-${what}-${createHash('sha256').update(what).digest('hex').slice(0, 24)}`
    marks.add(mark)
    return mark
  }
  const given = (what: string): object => ({ retryId: `retry-${what}` })
  for (const namespace of ['tenant', 'team']) {
    await done(write(namespace, 'sys/mounts/kv', { type: 'kv', options: { version: '2' } }))
    await done(write(namespace, 'sys/policies/acl/writer', { policy: 'path "kv/*" { capabilities = ["create", "update"] }' }))
    const body = { data: { [marked(`${namespace}-field`)]: marked(`${namespace}-value`) } }
    for (const path of ['answer', marked(`${namespace}-path`)])
      await done(write(namespace, `kv/data/${path}`, body, given(`${namespace}-${path}`)))
    const token = await done(
      write(
        namespace,
        'auth/token/create',
        { meta: { m: marked(`${namespace}-meta`) }, num_uses: 1, policies: ['writer'], ttl: '1h' },
        given(`${namespace}-token`),
      ),
    )
    marks.add(token.body.auth.client_token as string)
    // Its last use: what the record keeps of the token that has ended.
    const last = { token: token.body.auth.client_token, ...given(`${namespace}-last`) }
    await done(write(namespace, 'kv/data/last', body, last))
    expect((await write(namespace, 'kv/data/last', body, last)).status).toBe(namespace === 'team' ? 200 : 403)
    // A refusal that is kept says what was asked.
    await write(namespace, `kv/data/cas`, { ...body, options: { cas: 7 } }, given(`${namespace}-cas`))
  }
  await seal()
  await unseal()
  const rootKey = testRootKey()
  const records = cluster.node(0).dump()
  const keyring = Keyring.decode(Buffer.from(barrier.readBare(bareNames.keyring)!), rootKey.reveal())
  const envelope = new Envelope({ random: systemRandom, nodeId: 'reader' })
  const opened: Buffer[] = []
  for (const [key, value] of records) {
    try {
      opened.push(Buffer.concat([key, envelope.open(keyring, key, value)]))
    } catch {
      // Bare, or sealed under another keyring.
      opened.push(Buffer.concat([key, value]))
    }
  }
  const all = Buffer.concat(opened)
  const found = [...marks].filter((mark) => all.includes(mark))
  // That of the namespace without a seal of its own is there: it proves the search.
  expect(found.filter((mark) => mark.includes('tenant'))).toEqual([])
  expect(found.filter((mark) => mark.includes('team')).length).toBeGreaterThan(0)
})
