// Checks messages against the schema of their topic, as a test of your own does; exits with 1 if one is refused.
//
//   node check.ts payments.succeeded.v1.json < messages.json

import { readFile } from "node:fs/promises";
import { json } from "node:stream/consumers";
import { Ajv2020 } from "ajv/dist/2020.js";

const schema = JSON.parse(await readFile(process.argv[2], "utf8"));
const accepts = new Ajv2020({ allErrors: true, discriminator: true, validateFormats: false }).compile(schema);

for (const message of (await json(process.stdin)) as unknown[]) {
  if (!accepts(message)) {
    process.exitCode = 1;
    for (const error of accepts.errors ?? []) {
      console.error(`${error.instancePath || "the message"} ${error.message}: ${JSON.stringify(message)}`);
    }
  }
}
