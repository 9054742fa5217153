/** The container file, the compose file and the configuration in it: held to the repository without a container runtime. */
import { existsSync, readFileSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { dirname, join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '#config/load.ts'
import { StubServer } from '#test/support/stub-server.ts'

const file = readFileSync('deploy/container/Dockerfile', 'utf8')
const lines = file
  .replaceAll(/^#.*\n/gm, '')
  .replaceAll(/\\\n\s*/g, ' ')
  .split('\n')
const having = (word: string): readonly string[] =>
  lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1))

/* oxlint-disable typescript/no-explicit-any -- a file that is looked into */
const compose = parse(readFileSync('deploy/compose/compose.yaml', 'utf8'), { merge: true }) as any
const services = Object.entries(compose.services) as [string, any][]
const nodes = services.filter(([name]) => name.startsWith('holdfast-'))

describe('the container file', () => {
  test('is built on the Node that the repository pins', () => {
    const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as { dependencies: Record<string, string> }
    const images = having('FROM').map((line) => line.split(' ')[0] ?? '')
    expect(images).toHaveLength(2)
    for (const image of images) expect(image).toMatch(new RegExp(`^node:${dependencies['node']}-`))
  })

  test('copies what is there, and what the builder is given', () => {
    const given = readFileSync('deploy/container/Dockerfile.dockerignore', 'utf8')
    const allowed = given
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1))
    expect(given.split('\n')).toContain('*')
    const copied = having('COPY')
      .filter((line) => !line.startsWith('--from'))
      .flatMap((line) => line.split(' ').slice(0, -1))
    expect(copied.toSorted()).toEqual(allowed.toSorted())
    for (const path of copied) expect(existsSync(path), path).toBe(true)
  })

  test('every folder that the command imports from is in it', () => {
    const { imports } = JSON.parse(readFileSync('package.json', 'utf8')) as { imports: Record<string, string> }
    const folders = new Set(Object.values(imports).map((path) => path.split('/')[1] ?? ''))
    folders.delete('test')
    for (const folder of folders) expect(having('COPY')).toContain(`${folder} ${folder}`)
  })

  test('what the command and its load generator load at their start is in it', () => {
    const { imports } = JSON.parse(readFileSync('package.json', 'utf8')) as { imports: Record<string, string> }
    const copied = having('COPY').map((line) => line.split(' ')[0] ?? '')
    const waiting = ['cmd/main.ts', 'bench/load/main.ts']
    const seen = new Set(waiting)
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
      expect(
        copied.some((folder) => path?.startsWith(`${folder}/`)),
        `${path} is not copied`,
      ).toBe(true)
      for (const [, name = ''] of readFileSync(path, 'utf8').matchAll(/^(?:import|export) (?!type )[^;'"]*?from '([#.][^']*)'/gm)) {
        const room = Object.entries(imports).find(([alias]) => name.startsWith(alias.slice(0, -1)))
        const found = room === undefined ? join(dirname(path), name) : join(room[1].slice(0, -1), name.slice(room[0].length - 1))
        if (!seen.has(found)) waiting.push(found)
        seen.add(found)
      }
    }
    expect(seen.size).toBeGreaterThan(100)
  })

  test('ends as a user that is not root, and takes nothing secret at build time', () => {
    expect(having('USER')).toEqual(['10001:10001'])
    expect(lines.findIndex((line) => line.startsWith('USER'))).toBeGreaterThan(lines.findLastIndex((line) => line.startsWith('RUN')))
    expect([...having('ARG'), ...having('ENV'), ...having('ADD'), ...having('VOLUME')]).toEqual([])
    expect(JSON.parse(having('ENTRYPOINT')[0] ?? '')).toEqual(['node', '/opt/holdfast/cmd/holdfast.mjs'])
  })
})

describe('its health check', () => {
  const check = (address: string): Promise<number | null> =>
    new Promise((done) => {
      const child = spawn(process.execPath, [resolve('deploy/container/healthcheck.mjs')], { env: { HOLDFAST_HEALTH_ADDR: address } })
      child.on('close', done)
    })

  test('is content with any node that answers, and with no other', async () => {
    await using stub = await StubServer.start(() => ({ status: 200, json: { sealed: true } }))
    expect(await check(stub.address)).toBe(0)
    expect(stub.last).toMatchObject({ path: 'sys/health', query: { standbyok: 'true', sealedcode: '200', uninitcode: '200' } })
    await using draining = await StubServer.start(() => ({ status: 503, json: {} }))
    expect(await check(draining.address)).toBe(1)
    expect(await check('http://127.0.0.1:1')).toBe(1)
  })
})

describe('the compose file', () => {
  test('three nodes and a balancer, of public images or built here', () => {
    expect(services.map(([name]) => name)).toEqual(['holdfast-1', 'holdfast-2', 'holdfast-3', 'haproxy'])
    for (const [name, { image, build }] of services)
      expect(build === undefined ? image : image + build.dockerfile, name).toMatch(
        /^haproxy:3\.\d+-alpine$|^holdfastdeploy\/container\/Dockerfile$/,
      )
  })

  test('nothing of it runs with more than it needs, and only this machine reaches it', () => {
    for (const [name, service] of services) {
      expect(service, name).toMatchObject({ read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] })
      expect(Object.keys(service), name).not.toContain('privileged')
      for (const port of service.ports ?? []) expect(port, name).toMatch(/^127\.0\.0\.1:/)
    }
    expect(compose.networks.nodes.internal).toBe(true)
    for (const [, { networks }] of nodes) expect(Object.keys(networks)).toEqual(['nodes'])
  })

  test('each node has a configuration that a server takes, a name and an address of its own, and all of the others', () => {
    const text = readFileSync('deploy/compose/holdfast.hcl', 'utf8')
    const addresses = new Set<string>()
    for (const [name, { environment, networks, volumes }] of nodes) {
      const config = loadConfig({ text: { name: 'holdfast.hcl', text }, env: environment })
      expect(config.raft.node_id).toBe(name)
      expect(config.api_addr).toBe(`http://${networks.nodes.ipv4_address}:8200`)
      expect(config.cluster_addr).toBe(`https://${networks.nodes.ipv4_address}:8201`)
      addresses.add(config.api_addr)
      // Two nodes on one folder would ruin each other.
      for (const other of nodes.filter(([one]) => one !== name))
        for (const volume of volumes.slice(1)) expect(other[1].volumes).not.toContain(volume)
    }
    const { raft } = loadConfig({ text: { name: 'holdfast.hcl', text }, env: nodes[0]?.[1].environment })
    expect(new Set(raft.retry_join.map(({ leader_api_addr: address }) => address))).toEqual(addresses)
  })

  test('the balancer has every variable that its configuration asks for, and asks every node', () => {
    const asked = [...readFileSync('deploy/haproxy/haproxy.cfg', 'utf8').matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name)
    const { environment } = compose.services.haproxy
    expect(new Set(asked)).toEqual(new Set(Object.keys(environment)))
    const behind = Object.entries(environment).filter(([name]) => name.startsWith('HOLDFAST_NODE'))
    expect(behind.map(([, address]) => `http://${address as string}`).toSorted()).toEqual(
      nodes.map(([, node]) => node.environment.HOLDFAST_API_ADDR as string).toSorted(),
    )
  })
})
