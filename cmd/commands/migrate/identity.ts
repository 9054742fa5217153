/** Entities with their aliases, and groups. Ids are made anew: members and aliases are found again by names. */
import type { Client } from '#client/client.ts'
import { isSet } from './compare.ts'
import { mountsOf, type Mount } from './mounts.ts'
import { dataAt, namesAt } from './reading.ts'
import { settingItem } from './setting.ts'
import { told, type Fields, type Item, type Sides, type Stage } from './types.ts'
import { RefusedError } from '../../cli/types.ts'

const list = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : [])
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Both sides' mounts by accessor and path: an alias of the source belongs to the mount of the same path at the target. */
class Accessors {
  readonly #from: ReadonlyMap<string, Mount>
  readonly #to: ReadonlyMap<string, Mount>
  constructor(from: ReadonlyMap<string, Mount>, to: ReadonlyMap<string, Mount>) {
    this.#from = from
    this.#to = to
  }
  static async of({ from, to }: Sides): Promise<Accessors> {
    return new Accessors(...(await Promise.all([mountsOf(from, 'auth'), mountsOf(to, 'auth')])))
  }
  /** Path of the source's mount; '' when it is gone. */
  pathOf(accessor: string, side: 'from' | 'to'): string {
    for (const mount of (side === 'from' ? this.#from : this.#to).values()) if (mount.accessor === accessor) return mount.path
    return ''
  }
  /** null: the target has no method of that type there. */
  targetOf(path: string): string | null {
    const [wanted, present] = [this.#from.get(path), this.#to.get(path)]
    return present !== undefined && present.type === wanted?.type ? present.accessor : null
  }
}

export const identityStages = (sides: Sides): readonly Stage[] => [
  { title: 'entities', items: () => entityItems(sides) },
  { title: 'aliases', items: () => aliasItems(sides) },
  { title: 'groups', items: () => groupItems(sides, 'made') },
  { title: 'members of groups', items: () => groupItems(sides, 'joined') },
]

const entityFields = (data: Fields | null): Fields | null =>
  data && { metadata: data['metadata'] ?? {}, policies: data['policies'] ?? [], disabled: data['disabled'] === true }

async function* entityItems({ from, to }: Sides): AsyncGenerator<Item, void, undefined> {
  for await (const name of namesAt(from, 'identity/entity/name')) {
    const path = `identity/entity/name/${name}`
    yield settingItem({
      kind: 'identity',
      path,
      wanted: async () => entityFields(await dataAt(from, path)),
      present: async () => entityFields(await dataAt(to, path)),
      write: async (wanted) => void (await to.write(path, wanted)),
    })
  }
}

async function* aliasItems(sides: Sides): AsyncGenerator<Item, void, undefined> {
  const accessors = await Accessors.of(sides)
  for await (const entity of namesAt(sides.from, 'identity/entity/name')) {
    const aliases = (await dataAt(sides.from, `identity/entity/name/${entity}`))?.['aliases']
    for (const alias of Array.isArray(aliases) ? (aliases as readonly Fields[]) : []) yield aliasItem(sides, accessors, entity, alias)
  }
}

function aliasItem({ to }: Sides, accessors: Accessors, entity: string, alias: Fields): Item {
  const [name, mount] = [text(alias['name']), accessors.pathOf(text(alias['mount_accessor']), 'from')]
  const path = `identity/entity/name/${entity}, alias ${name} of auth/${mount}/`
  const accessor = accessors.targetOf(mount)
  if (accessor === null) return told('identity', path, 'the target has no such login method: copy or mount it, then run this again')
  return settingItem({
    kind: 'identity',
    path,
    wanted: () => Promise.resolve({ entity, custom_metadata: alias['custom_metadata'] ?? {} }),
    present: () => presentAlias(to, name, accessor),
    write: async ({ custom_metadata }) => {
      const id = text((await dataAt(to, `identity/entity/name/${entity}`))?.['id'])
      if (id === '') throw new RefusedError(`the target has no entity ${entity}`)
      await to.write('identity/entity-alias', { name, mount_accessor: accessor, canonical_id: id, custom_metadata })
    },
  })
}

/** Whose the name is at the target, whoever has it: a login may have made an entity of its own meanwhile. */
async function presentAlias(to: Client, name: string, accessor: string): Promise<Fields | null> {
  const found = await to.write('identity/lookup/entity', { alias_name: name, alias_mount_accessor: accessor })
  const data = found?.data
  if (!data) return null
  const aliases = Array.isArray(data['aliases']) ? (data['aliases'] as readonly Fields[]) : []
  const alias = aliases.find((one) => one['name'] === name && one['mount_accessor'] === accessor)
  return { entity: data['name'], custom_metadata: alias?.['custom_metadata'] ?? {} }
}

/** Names for ids, and ids for names, asked once each. Bounded: what was asked first is forgotten first. */
class Names {
  readonly #client: Client
  readonly #known = new Map<string, string | null>()
  constructor(client: Client) {
    this.#client = client
  }
  async #asked(path: string, field: 'id' | 'name'): Promise<string | null> {
    const known = this.#known.get(path)
    if (known !== undefined) return known
    const value = text((await dataAt(this.#client, path))?.[field]) || null
    if (this.#known.size >= namesKnownMax) this.#known.delete(this.#known.keys().next().value ?? '')
    // What is not there yet may come.
    if (value !== null) this.#known.set(path, value)
    return value
  }
  /** Of members that are gone there is none. */
  async namesOf(what: 'entity' | 'group', ids: readonly string[]): Promise<readonly string[]> {
    const names = await each(ids, (id) => this.#asked(`identity/${what}/id/${id}`, 'name'))
    return names.filter((name) => name !== null)
  }
  async idsOf(what: 'entity' | 'group', names: readonly string[]): Promise<readonly string[]> {
    const ids = await each(names, (name) => this.#asked(`identity/${what}/name/${name}`, 'id'))
    const missing = names.filter((_, at) => ids[at] === null)
    if (missing.length > 0) throw new RefusedError(`the target has no ${what} ${missing.slice(0, 5).join(', ')}`)
    return ids.filter((id) => id !== null)
  }
}

const namesKnownMax = 100_000

async function each<In, Out>(inputs: readonly In[], work: (input: In) => Promise<Out>): Promise<readonly Out[]> {
  const outputs: Out[] = []
  for (const input of inputs) outputs.push(await work(input))
  return outputs
}

/** Twice: groups are members of groups, so all are there before the first one gets members. */
async function* groupItems(sides: Sides, step: 'made' | 'joined'): AsyncGenerator<Item, void, undefined> {
  const accessors = await Accessors.of(sides)
  const [source, target] = [new Names(sides.from), new Names(sides.to)]
  for await (const name of namesAt(sides.from, 'identity/group/name')) {
    if (step === 'made') yield groupItem(sides, name)
    else {
      const shown = await dataAt(sides.from, `identity/group/name/${name}`)
      if (shown === null) continue
      if (shown['type'] !== 'external') yield membersItem(sides, source, target, name)
      else if (isSet(shown['alias'])) yield groupAliasItem(sides, accessors, name, (shown['alias'] ?? {}) as Fields)
    }
  }
}

const groupFields = (data: Fields | null): Fields | null =>
  data && { type: data['type'], metadata: data['metadata'] ?? {}, policies: data['policies'] ?? [] }

function groupItem({ from, to }: Sides, name: string): Item {
  const path = `identity/group/name/${name}`
  return settingItem({
    kind: 'identity',
    path,
    wanted: async () => groupFields(await dataAt(from, path)),
    present: async () => groupFields(await dataAt(to, path)),
    notChanged: (wanted, present) => (wanted['type'] === present['type'] ? null : 'the type of a group never changes'),
    write: async (wanted) => void (await to.write(path, wanted)),
  })
}

function membersItem({ from, to }: Sides, source: Names, target: Names, name: string): Item {
  const path = `identity/group/name/${name}`
  const members = async (client: Client, names: Names): Promise<Fields | null> => {
    const data = await dataAt(client, path)
    return (
      data && {
        entities: await names.namesOf('entity', list(data['member_entity_ids'])),
        groups: await names.namesOf('group', list(data['member_group_ids'])),
      }
    )
  }
  return settingItem({
    kind: 'identity',
    path: `${path}, members`,
    wanted: () => members(from, source),
    present: () => members(to, target),
    isNothing: (wanted) => !isSet(wanted),
    write: async ({ entities, groups }) => {
      const member_entity_ids = await target.idsOf('entity', list(entities))
      const member_group_ids = await target.idsOf('group', list(groups))
      await to.write(path, { member_entity_ids, member_group_ids })
    },
  })
}

function groupAliasItem({ to }: Sides, accessors: Accessors, name: string, alias: Fields): Item {
  const path = `identity/group/name/${name}`
  const aliasName = text(alias['name'])
  const mount = accessors.pathOf(text(alias['mount_accessor']), 'from')
  const accessor = accessors.targetOf(mount)
  if (accessor === null)
    return told('identity', `${path}, alias ${aliasName}`, `the target has no login method auth/${mount}/ of that type`)
  return settingItem({
    kind: 'identity',
    path: `${path}, alias ${aliasName} of auth/${mount}/`,
    wanted: () => Promise.resolve({ alias: aliasName, mount }),
    present: async () => {
      const there = ((await dataAt(to, path))?.['alias'] ?? {}) as Fields
      const at = accessors.pathOf(text(there['mount_accessor']), 'to')
      return text(there['name']) === '' ? null : { alias: there['name'], mount: at }
    },
    write: async () => {
      const id = text((await dataAt(to, path))?.['id'])
      if (id === '') throw new RefusedError(`the target has no group ${name}`)
      await to.write('identity/group-alias', { name: aliasName, mount_accessor: accessor, canonical_id: id })
    },
  })
}
