/** docs/seals.md has a section for each seal, and each of its stanzas is one that a server would take. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { systemClock } from '#base/clock.ts'
import { silentLogger } from '#base/logger.ts'
import { systemRandom } from '#base/random.ts'
import { sealKeys } from '#config/keys.ts'
import { loadConfig } from '#config/load.ts'
import { chooseSeals } from '#node/seal-choice.ts'
import { sealFaults } from '#seal/faults.ts'

const page = readFileSync(new URL('../../../docs/seals.md', import.meta.url), 'utf8')
const stanzas = [...page.matchAll(/^```hcl\n(.*?)^```/gms)].map(([, text = '']) => text)
const dir = mkdtempSync(join(tmpdir(), 'holdfast-page-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test.each(stanzas)('%s', (stanza) => {
  const file = join(dir, 'key')
  writeFileSync(file, systemRandom.bytes(32))
  // Files that only the reader's machine has.
  const here = stanza.replace(/file:\/\/\/etc\S+(?=")/g, `file://${file}`).replace('/etc/holdfast/keeper-ca.crt', file)
  const text = `${here}\nstorage "raft" { path = "/var/lib/holdfast" }\nlistener "tcp" { tls_disable = true }`
  const { seals } = loadConfig({ text: { name: 'seals.md', text } })
  const { active } = chooseSeals(seals, { clock: systemClock, random: systemRandom, env: { HOLDFAST_HSM_PIN: '1' }, log: silentLogger })
  expect(active?.kind).toBe(/seal "(\w+)"/.exec(stanza)?.[1])
})

test('every auto seal has its stanza, every cause its row', () => {
  const kinds = new Set(stanzas.map((stanza) => /seal "(\w+)"/.exec(stanza)?.[1]))
  expect(kinds).toEqual(new Set(Object.keys(sealKeys).filter((kind) => kind !== 'shamir')))
  for (const fault of sealFaults) expect(page).toContain(`| \`${fault}\` |`)
})
