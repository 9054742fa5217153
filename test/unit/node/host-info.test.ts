import { expect, test } from 'vitest'
import { hostInfo } from '#node/host-info.ts'

test("this machine, under the names that the field's tools read, and figures that fit each other", async () => {
  const info = (await hostInfo(1_750_000_000_000, '/')) as Record<string, Record<string, unknown>[] & Record<string, unknown>>
  expect(info['timestamp']).toBe('2025-06-15T15:06:40Z')
  expect(info['cpu']![0]).toMatchObject({ cpu: 0, modelName: expect.any(String) as string, mhz: expect.any(Number) as number })
  expect(info['cpu_times']).toHaveLength(info['cpu']!.length)
  expect(Object.keys(info['host']!)).toEqual(
    expect.arrayContaining(['hostname', 'uptime', 'bootTime', 'os', 'platform', 'platformVersion', 'kernelVersion', 'kernelArch']),
  )
  const { total, available, used, usedPercent } = info['memory'] as unknown as Record<string, number>
  expect(used! + available!).toBe(total)
  expect(usedPercent).toBeGreaterThan(0)
  expect(usedPercent).toBeLessThanOrEqual(100)
  const disk = info['disk']![0] as unknown as Record<string, number | string>
  expect(disk['path']).toBe('/')
  expect(Number(disk['free'])).toBeLessThanOrEqual(Number(disk['total']))
})
