import { appendFileSync } from "node:fs";
import { parseObject } from "#proto/parse.ts";
import { openStore } from "#server/store/sqlite.ts";

// Writes, deletes and compacts as fast as it can until it is killed. Each acknowledged write becomes a line "revision name" in the file of
// acknowledgements, at the moment when a client would have had its answer.
const [path = "", acknowledgements = "", round = ""] = process.argv.slice(2);
const store = openStore({ path });

async function write(writer: number): Promise<never> {
  for (let i = 0; ; i++) {
    const name = `r${round}-w${writer}-${i}`;
    const input = { apiVersion: "v1", kind: "Service", metadata: { name, namespace: "default" }, spec: { ports: [{ port: 80 }] } };
    const { revision } = await store.transact([{ op: "put", object: parseObject("Service", input), expect: "create", claims: [name] }]);
    appendFileSync(acknowledgements, `${revision} ${name}\n`);
  }
}

async function compact(): Promise<never> {
  for (;;) await store.compact(store.revision - 20);
}

await Promise.all([...Array.from({ length: 16 }, (_, i) => write(i)), compact()]);
