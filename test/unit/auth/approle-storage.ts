/** What lies in the AppRole mount's storage, opened: a line of path and value each. */
import type { openHouse } from '#test/support/core-house.ts'
import { MountReader } from '#core/mounts.ts'

export async function approleEngineStorage(house: Awaited<ReturnType<typeof openHouse>>): Promise<string[]> {
  return house.at(0).read({ kind: 'linearizable' }, async (view) => {
    const mount = (await new MountReader().read(view, 'root')).find('auth', 'approle/')
    if (mount === null) throw new Error('expected the approle mount')
    const section = { namespace: mount.namespaceId, mount: mount.uuid }
    const lines: string[] = []
    const walk = async (prefix: string): Promise<void> => {
      for (const name of await view.list(section, prefix)) {
        const path = prefix === '' ? name : `${prefix}/${name}`
        if (name.endsWith('/')) await walk(path.slice(0, -1))
        else lines.push(`${path} ${Buffer.from((await view.get(section, path)) ?? []).toString()}`)
      }
    }
    await walk('')
    return lines
  })
}
