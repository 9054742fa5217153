import { main } from '#cmd/main.ts'
export const x = main
