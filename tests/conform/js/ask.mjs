// node ask.mjs FILE: runs each function that the file exports, and writes a line of JSON for each: its name, and its error if it has one.
import { pathToFileURL } from 'node:url';

const LONGEST = 30_000;

const tests = await import(pathToFileURL(process.argv[2]));
for (const [name, test] of Object.entries(tests)) {
  const late = new Promise((_, reject) => setTimeout(reject, LONGEST, new Error(`took longer than ${LONGEST} ms`)).unref());
  const error = await Promise.race([test(), late]).then(() => null, (error) => error.stack ?? String(error));
  console.log(JSON.stringify({ name, error }));
}
process.exit();
