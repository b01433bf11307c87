// Reads an AsyncAPI document with the parser of its own project; prints what it finds, and what it finds wrong.

import { readFile } from 'node:fs/promises'
import { Parser } from '@asyncapi/parser'

const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], 'utf8'))
const ERROR = 0

console.log(JSON.stringify({
  errors: diagnostics.filter(({ severity }) => severity === ERROR).map(({ path, message }) => `${path.join('.')}: ${message}`),
  channels: document?.channels().all().map(channel => channel.address()),
  receives: document?.operations().filterByReceive().flatMap(operation => operation.channels().all().map(channel => channel.address())),
  sends: document?.operations().filterBySend().flatMap(operation => operation.channels().all().map(channel => channel.address()))
}))
