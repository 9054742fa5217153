/** Version 2's table of paths. The handlers lie beside it, one file an idea. */
import type { FieldSchema, HandlerContext, OperationDef, PathDef } from '#core/types.ts'
import { deleteData, patchData, pathOf, readData, readSubkeys, writeData } from './data.ts'
import * as metadata from './metadata.ts'
import { loadKey } from './record.ts'
import { wrongPath } from './wrong-path.ts'
import { deleteVersions, destroyVersions, undeleteVersions } from './versions.ts'

type Handler = OperationDef['handler']
const reads = (summary: string, handler: Handler): OperationDef => ({ summary, writes: false, handler })
type Example = Readonly<Record<string, unknown>>
const writes = (summary: string, handler: Handler, example?: Example): OperationDef => ({
  summary,
  writes: true,
  handler,
  ...(example === undefined ? {} : { example }),
})

const path: FieldSchema = { type: 'string', in: 'path', description: 'Location of the secret.', example: 'team/database' }
const version: FieldSchema = { type: 'int', in: 'query', description: 'Version to read; the current one when absent or 0.' }
const after: FieldSchema = { type: 'string', in: 'query', description: 'List only entries after this one, which need not exist.' }
const limit: FieldSchema = { type: 'any', in: 'query', description: 'List at most so many entries; all when absent or 0.' }
const maxVersions: FieldSchema = { type: 'int', description: 'Versions kept of a key: the larger of key and mount; 10 when both are 0.' }
const casRequired: FieldSchema = { type: 'bool', description: 'Whether every write must carry options.cas.' }
const metadataCasRequired: FieldSchema = { type: 'bool', description: 'Whether every change of metadata must carry metadata_cas.' }
const versions: FieldSchema = { type: 'list', description: 'Version numbers.', example: ['1', '2'] }

const versionExample = {
  created_time: '2026-08-01T10:00:00.123Z',
  custom_metadata: null,
  deletion_time: '',
  destroyed: false,
  version: 1,
}
const written = { 200: { description: 'The version that was written.', example: versionExample } }

const keyExists = async (context: HandlerContext): Promise<boolean> => (await loadKey(context.storage, pathOf(context))) !== null

const storeData: OperationDef = {
  ...writes('Write a new version of the secret.', writeData, { data: { username: 'app', password: 'correct horse' } }),
  responses: written,
}

const dataPath: PathDef = {
  pattern: 'data/:path*?',
  fields: {
    path,
    version,
    data: { type: 'map', description: 'The secret: an object of any JSON values.', example: { username: 'app', password: '...' } },
    options: {
      type: 'map',
      description: 'cas: write only if this is the current version; 0: only if the key has no version yet.',
      example: { cas: 0 },
    },
  },
  exists: keyExists,
  operations: {
    read: {
      ...reads('Read one version of the secret.', readData),
      responses: {
        200: { description: 'The secret and its version.', example: { data: { username: 'app' }, metadata: versionExample } },
        404: { description: 'No such version, or, with metadata, one that is deleted or destroyed.' },
      },
    },
    create: storeData,
    update: storeData,
    patch: {
      ...writes('Merge into the current version (RFC 7396), as a new one.', patchData, { data: { password: null } }),
      responses: written,
    },
    delete: writes('Mark the current version as deleted; it can be undeleted.', deleteData),
  },
  help: {
    synopsis: 'Reads, writes, patches and deletes secrets.',
    description: 'Each write makes a new version and keeps the ones before, up to max_versions. A delete only marks the current version.',
  },
}

const subkeysPath: PathDef = {
  pattern: 'subkeys/:path*?',
  fields: {
    path,
    version,
    depth: { type: 'int', in: 'query', description: 'Levels of nesting to show; all when absent or 0.' },
  },
  operations: { read: reads('Read the structure of a secret, each value null.', readSubkeys) },
  help: { synopsis: 'Shows the keys of a secret without their values.', description: 'Deeper levels than depth count as values.' },
}

const versionsPath = (verb: string, synopsis: string, handler: Handler): PathDef => ({
  pattern: `${verb}/:path*?`,
  fields: { path, versions },
  operations: { update: writes(synopsis, handler, { versions: [1] }) },
  help: { synopsis, description: 'Versions that do not exist are passed over.' },
})

const storeMetadata = writes("Change the key's settings, creating the key if need be.", metadata.writeMetadata, {
  max_versions: 5,
  custom_metadata: { owner: 'team-a' },
})

const metadataPath: PathDef = {
  pattern: 'metadata/:path*?',
  fields: {
    path,
    max_versions: maxVersions,
    cas_required: casRequired,
    metadata_cas_required: metadataCasRequired,
    metadata_cas: { type: 'int', description: 'Change only if this is the current_metadata_version; 0: only if the key does not exist.' },
    delete_version_after: {
      type: 'duration',
      description: 'A new version is deleted after this time; the smaller of key and mount.',
      example: '720h',
    },
    custom_metadata: { type: 'map', description: 'Up to 64 strings of your own that describe the key.', example: { owner: 'team-a' } },
    after,
    limit,
  },
  exists: keyExists,
  operations: {
    read: reads("Read the key's settings and the list of its versions.", metadata.readMetadata),
    create: storeMetadata,
    update: storeMetadata,
    patch: writes("Change some of the key's settings; null resets one.", metadata.patchMetadata, { custom_metadata: { owner: null } }),
    delete: writes('Delete the key and all its versions for good.', metadata.deleteMetadata),
    list: reads('List the keys and folders below this path.', metadata.listMetadata),
    scan: reads('List all keys below this path, at any depth.', metadata.scanMetadata),
  },
  help: { synopsis: 'Manages keys: their settings and their versions.', description: 'No change here makes a new version of a secret.' },
}

const detailedPath: PathDef = {
  pattern: 'detailed-metadata/:path*?',
  fields: { path, after, limit },
  operations: {
    list: reads('List the keys below this path, each with its metadata.', metadata.listDetailed),
    scan: reads('List all keys below this path with their metadata.', metadata.scanDetailed),
  },
  help: {
    synopsis: 'Lists keys together with their metadata.',
    description: 'Who may list here sees the metadata of keys that he may not read: grant it with care.',
  },
}

const configPath: PathDef = {
  pattern: 'config',
  fields: {
    max_versions: maxVersions,
    cas_required: casRequired,
    metadata_cas_required: metadataCasRequired,
    delete_version_after: {
      type: 'duration',
      description: 'As for a key; negative: no version is deleted by time, whatever its key says.',
    },
  },
  operations: {
    read: reads("Read the mount's settings.", metadata.readConfig),
    update: writes("Change the mount's settings, which hold for every key.", metadata.writeConfig, { max_versions: 20 }),
  },
  help: { synopsis: 'Settings that hold for all keys of the mount.', description: 'What is not named stays as it is.' },
}

export const pathsV2: readonly PathDef[] = [
  configPath,
  dataPath,
  subkeysPath,
  versionsPath('delete', 'Mark versions as deleted.', deleteVersions),
  versionsPath('undelete', 'Take back the deletion of versions.', undeleteVersions),
  versionsPath('destroy', 'Remove the data of versions for good.', destroyVersions),
  metadataPath,
  detailedPath,
  wrongPath,
]
