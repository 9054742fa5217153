/** audit: devices, and what their files say. */
import type { Command } from '../../cli/types.ts'
import { deviceCommands } from './devices.ts'
import { proofCommand, verifyCommand } from './verify.ts'
import { reportCommand } from './report.ts'
import { tailCommand } from './tail.ts'

export const auditCommands: readonly Command[] = [...deviceCommands, proofCommand, verifyCommand, tailCommand, reportCommand]
