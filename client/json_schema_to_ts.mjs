// JSON Schema on standard input, TypeScript on standard output; called by scripts/generate_protocol.py.
import { text } from "node:stream/consumers";
import { compile } from "json-schema-to-typescript";

const schema = JSON.parse(await text(process.stdin));
process.stdout.write(
  await compile(schema, "LivelensProtocol", { bannerComment: "", additionalProperties: false, format: true }),
);
