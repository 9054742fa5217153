/**
 * `sys/host-info`: this machine, in the shape that the field's tools check answers against. Linux tells it all under /proc; elsewhere Node's own view is what there
 * is, and the rest is 0 or empty, as with the peers. The machine's id is not told: it is meant to stay on the machine.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { arch, cpus, freemem, hostname, loadavg, platform, release, totalmem, uptime } from 'node:os'
import { hostInfo as basics } from './reports.ts'

type Fields = Readonly<Record<string, unknown>>

/** No file of the kernel that is read here is longer, on a machine of a thousand processors. */
const fileBytesMax = 4 * 1024 * 1024
const ticksPerSecond = 100

/** @param path a folder of the file system that is told of: the data's */
export async function hostInfo(nowMs: number, path: string): Promise<Fields> {
  const { timestamp } = basics(nowMs)
  const [load1 = 0, load5 = 0, load15 = 0] = loadavg()
  return {
    timestamp,
    cpu: processors(),
    cpu_times: processorTimes(),
    load: { load1, load5, load15 },
    disk: [await diskOf(path)],
    host: hostOf(nowMs),
    memory: memory(),
  }
}

function processors(): Fields[] {
  const told = textOf('/proc/cpuinfo')
    .split('\n\n')
    .map((block) => new Map([...block.matchAll(/^([^\t:]+)\t*: ?(.*)$/gm)].map(([, name = '', value = '']) => [name, value])))
  return cpus().map(({ model, speed }, at) => {
    const of = told[at] ?? new Map<string, string>()
    const text = (name: string): string => of.get(name) ?? ''
    const number = (name: string): number => Number.parseFloat(text(name)) || 0
    return {
      cpu: at,
      vendorId: text('vendor_id'),
      family: text('cpu family'),
      model: text('model'),
      stepping: number('stepping'),
      physicalId: text('physical id'),
      coreId: text('core id'),
      cores: 1,
      modelName: model,
      mhz: number('cpu MHz') || speed,
      cacheSize: number('cache size'),
      flags: text('flags')
        .split(' ')
        .filter((flag) => flag !== ''),
      microcode: text('microcode'),
    }
  })
}

const timeNames = ['user', 'nice', 'system', 'idle', 'iowait', 'irq', 'softirq', 'steal', 'guest', 'guestNice'] as const

function processorTimes(): Fields[] {
  const lines = [...textOf('/proc/stat').matchAll(/^cpu(\d+) (.*)$/gm)]
  return cpus().map(({ times }, at) => {
    const told = lines[at]?.[2]?.split(' ').map((ticks) => Number(ticks) / ticksPerSecond)
    const own = { user: times.user, nice: times.nice, system: times.sys, idle: times.idle, irq: times.irq } as Record<string, number>
    const entries = timeNames.map((name, index) => [name, told?.[index] ?? (own[name] ?? 0) / 1_000] as const)
    return { cpu: `cpu${at}`, ...Object.fromEntries(entries) }
  })
}

const percent = (part: number, whole: number): number => (whole === 0 ? 0 : Math.round((part / whole) * 10_000) / 100)

async function diskOf(path: string): Promise<Fields> {
  const { bsize, blocks, bavail, bfree, files, ffree } = await statfs(path)
  const used = (blocks - bfree) * bsize
  return {
    path,
    fstype: fileSystemOf(path),
    total: blocks * bsize,
    free: bavail * bsize,
    used,
    usedPercent: percent(used, used + bavail * bsize),
    inodesTotal: files,
    inodesUsed: files - ffree,
    inodesFree: ffree,
    inodesUsedPercent: percent(files - ffree, files),
  }
}

/** Of the mount that lies deepest above `path`. */
function fileSystemOf(path: string): string {
  let best = ''
  let found = ''
  for (const [, mount = '', type = ''] of textOf('/proc/self/mounts').matchAll(/^\S+ (\S+) (\S+) /gm)) {
    const inside = mount === '/' || path === mount || path.startsWith(`${mount}/`)
    if (inside && mount.length >= best.length) [best, found] = [mount, type]
  }
  return found
}

function hostOf(nowMs: number): Fields {
  const uptimeSeconds = Math.round(uptime())
  const release_ = textOf('/etc/os-release')
  const value = (name: string): string => new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(release_)?.[1] ?? ''
  return {
    hostname: hostname(),
    uptime: uptimeSeconds,
    bootTime: Math.round(nowMs / 1_000) - uptimeSeconds,
    procs: processes(),
    os: platform(),
    platform: value('ID'),
    platformFamily: value('ID_LIKE').split(' ')[0] || value('ID'),
    platformVersion: value('VERSION_ID'),
    kernelVersion: release(),
    kernelArch: arch(),
    virtualizationSystem: '',
    virtualizationRole: '',
    hostid: '',
  }
}

/** Bytes, by the kernel's names in lower letters; what Linux has no word for is 0, as are all elsewhere. */
const memoryNames: Readonly<Record<string, string>> = {
  active: 'Active',
  inactive: 'Inactive',
  wired: '',
  laundry: '',
  buffers: 'Buffers',
  cached: 'Cached',
  writeback: 'Writeback',
  dirty: 'Dirty',
  writebacktmp: 'WritebackTmp',
  shared: 'Shmem',
  slab: 'Slab',
  sreclaimable: 'SReclaimable',
  sunreclaim: 'SUnreclaim',
  pagetables: 'PageTables',
  swapcached: 'SwapCached',
  commitlimit: 'CommitLimit',
  committedas: 'Committed_AS',
  hightotal: 'HighTotal',
  highfree: 'HighFree',
  lowtotal: 'LowTotal',
  lowfree: 'LowFree',
  swaptotal: 'SwapTotal',
  swapfree: 'SwapFree',
  mapped: 'Mapped',
  vmalloctotal: 'VmallocTotal',
  vmallocused: 'VmallocUsed',
  vmallocchunk: 'VmallocChunk',
  hugepagestotal: 'HugePages_Total',
  hugepagesfree: 'HugePages_Free',
  hugepagesize: 'Hugepagesize',
}

function memory(): Fields {
  const told = new Map<string, number>()
  for (const [, name = '', value = '', unit] of textOf('/proc/meminfo').matchAll(/^(\w+):\s+(\d+)( kB)?$/gm))
    told.set(name, Number(value) * (unit === undefined ? 1 : 1_024))
  const total = totalmem()
  const available = told.get('MemAvailable') ?? freemem()
  return {
    total,
    available,
    used: total - available,
    usedPercent: percent(total - available, total),
    free: freemem(),
    ...Object.fromEntries(Object.entries(memoryNames).map(([name, kernels]) => [name, told.get(kernels) ?? 0])),
  }
}

function processes(): number {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length
  } catch {
    return 0
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').slice(0, fileBytesMax)
  } catch {
    return '' // Another system than Linux.
  }
}
