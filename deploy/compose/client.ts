// Asks the service by its name, once a second and on a new connection each time, and prints who answered.
import { get } from "node:http";
import { text } from "node:stream/consumers";

const print = (answer: string): boolean => process.stdout.write(`http://web: ${answer.trim()}\n`);

setInterval(() => {
  const asked = get("http://web/", { agent: false, timeout: 900 }, (response) => {
    void text(response).then(print, (error: unknown) => print(String(error)));
  });
  asked.on("timeout", () => asked.destroy(new Error("no answer in 0.9 s")));
  asked.on("error", ({ message }) => print(message));
}, 1000);
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit());
