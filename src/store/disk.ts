/**
 * Everything that the store asks of a disk, so that a simulated one can stand in for it: what was not synced can then be lost on purpose, and
 * what was synced can rot. Production is node:fs and classic-level, with nothing in between (`nodeDisk`); test/sim has the other one, and one
 * conformance suite runs on both.
 *
 * A rename, a creation or a removal is durable once its folder was opened and synced; a file's bytes once the file was. Errors carry
 * Node's codes (ENOENT, EIO, ENOSPC ...).
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { classicLevel, type LevelFactory } from './level.ts'

export interface DiskFile {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>
  write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<unknown>
  /** Writes all of `data` from where the handle stands. */
  writeFile(data: Uint8Array): Promise<void>
  sync(): Promise<void>
  datasync(): Promise<void>
  close(): Promise<void>
}

export interface Disk {
  /** `flags` as in open(2): O_RDONLY, O_RDWR | O_CREAT, or 'r' and 'w'. Opening a folder for reading gives what syncs it. */
  open(path: string, flags: string | number, mode?: number): Promise<DiskFile>
  readFile(path: string): Promise<Buffer>
  readdir(path: string): Promise<string[]>
  rename(from: string, to: string): Promise<void>
  /** Creates what is missing on the way as well; quiet where it is there. */
  mkdir(path: string, options: { readonly recursive: true; readonly mode: number }): Promise<unknown>
  /** Quiet where there is nothing. */
  rm(path: string, options: { readonly recursive?: boolean; readonly force: true }): Promise<void>
  readonly level: LevelFactory
}

export const nodeDisk: Disk = { open, readFile, readdir, rename, mkdir, rm, level: classicLevel }
