/** What the simulated disk loses, and what it must not. */
import { expect, test } from 'vitest'
import { SimDisk } from '#test/sim/cluster/disk.ts'
import { Prng } from '#test/sim/prng.ts'
import { bytes, text } from './helpers.ts'

function make(seed: number): { disk: SimDisk; mount: ReturnType<SimDisk['mount']> } {
  const disk = new SimDisk(new Prng(seed), [0, 0], () => {})
  return { disk, mount: disk.mount({ alive: true, sleep: () => Promise.resolve() }) }
}

async function sync(mount: ReturnType<SimDisk['mount']>, path: string): Promise<void> {
  const handle = await mount.open(path, 'r')
  await handle.sync()
  await handle.close()
}

const after = (disk: SimDisk): string[] => disk.files().map(([path, inode]) => `${path}=${text(inode.cache.view())}`)

test('what was synced, file and folder, survives every power cut; what was not may be lost or not', async () => {
  const seen = new Set<string>()
  for (let seed = 1; seed <= 60; seed += 1) {
    const { disk, mount } = make(seed)
    const file = await mount.open('/data/a', 'w')
    await file.writeFile(bytes('kept'))
    await file.sync()
    await sync(mount, '/data')
    await file.write(bytes('KEPT'), 0, 4, 0)
    await mount.rename('/data/a', '/data/b')
    disk.crash()
    seen.add(after(disk).join(' '))
  }
  expect([...seen].toSorted()).toEqual(['/data/a=KEPT', '/data/a=kept', '/data/b=KEPT', '/data/b=kept'])
})

test('a file whose folder was not synced may be gone, whatever was synced of the file itself', async () => {
  const seen = new Set<string>()
  for (let seed = 1; seed <= 30; seed += 1) {
    const { disk, mount } = make(seed)
    const file = await mount.open('/data/a', 'w')
    await file.writeFile(bytes('x'))
    await file.sync()
    disk.crash()
    seen.add(after(disk).join(' '))
  }
  expect([...seen].toSorted()).toEqual(['', '/data/a=x'])
})

test('after a failed fsync the file looks written, and a later fsync does not bring it to the disk', async () => {
  let lost = 0
  for (let seed = 1; seed <= 30; seed += 1) {
    const { disk, mount } = make(seed)
    const file = await mount.open('/data/a', 'w')
    await sync(mount, '/data')
    await file.writeFile(bytes('x'))
    disk.faults.syncErrors = 1
    await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
    expect(text(await mount.readFile('/data/a'))).toBe('x')
    await file.sync()
    disk.crash()
    if (after(disk).join() === '/data/a=') lost += 1
  }
  expect(lost).toBeGreaterThan(10)
})

test('a torn write keeps whole sectors', async () => {
  const lengths = new Set<number>()
  for (let seed = 1; seed <= 200; seed += 1) {
    const { disk, mount } = make(seed)
    const file = await mount.open('/data/a', 'w')
    await sync(mount, '/data')
    await file.write(Buffer.alloc(2_000, 1), 0, 2_000, 100)
    disk.crash()
    lengths.add(disk.file('/data/a').cache.length)
  }
  expect([...lengths].toSorted((a, b) => a - b)).toEqual([0, 512, 1024, 1536, 2048, 2100])
})

test('a dead process neither writes nor hears', async () => {
  const disk = new SimDisk(new Prng(1), [0, 0], () => {})
  const owner = { alive: true, sleep: () => Promise.resolve() }
  const mount = disk.mount(owner)
  const file = await mount.open('/data/a', 'w')
  owner.alive = false
  let heard = false
  const late = file.writeFile(bytes('x')).then(() => (heard = true))
  await new Promise((resolve) => setImmediate(resolve))
  expect([heard, disk.file('/data/a').cache.length, late instanceof Promise]).toEqual([false, 0, true])
})
