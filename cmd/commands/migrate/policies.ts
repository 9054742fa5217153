/** ACL policies and password policies. */
import { dataAt, namesAt } from './reading.ts'
import { settingItem } from './setting.ts'
import { told, type Fields, type Item, type Sides } from './types.ts'

const familyOf = { acl: 'sys/policies/acl', password: 'sys/policies/password' } as const

export async function* policyItems(sides: Sides): AsyncGenerator<Item, void, undefined> {
  for (const [family, path] of Object.entries(familyOf)) {
    for await (const name of namesAt(sides.from, path)) {
      if (family === 'acl' && name === 'root') continue
      if (family === 'acl' && name === 'default') yield told('policies', `${path}/default`, defaultReason)
      else yield policyItem(sides, `${path}/${name}`)
    }
  }
}

const defaultReason = 'every server has its own; if yours was changed, compare: holdfast policy read default'

/** The text, and until when it is in force where that is limited. */
function policyFields(data: Fields | null): Fields | null {
  if (data === null) return null
  const text = data['policy'] ?? data['rules']
  if (typeof text !== 'string') return null
  const { expiration } = data
  const limited = typeof expiration === 'string' && expiration !== '' && !expiration.startsWith('0001-')
  return { policy: text.trim(), ...(limited ? { expiration } : {}) }
}

const policyItem = ({ from, to }: Sides, path: string): Item =>
  settingItem({
    kind: 'policies',
    path,
    wanted: async () => policyFields(await dataAt(from, path)),
    present: async () => policyFields(await dataAt(to, path)),
    write: async (wanted) => void (await to.write(path, wanted)),
  })
