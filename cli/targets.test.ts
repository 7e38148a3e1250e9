import { expect, test } from "vitest";
import { parseTargets } from "./targets.ts";

test.for([
  { words: ["services"], targets: [{ kind: "Service" }] },
  { words: ["svc,no"], targets: [{ kind: "Service" }, { kind: "Node" }] },
  { words: ["Service", "web", "db"], targets: [{ kind: "Service", names: ["web", "db"] }] },
  { words: ["all"], targets: [{ kind: "Service" }, { kind: "Workload" }] },
  { words: ["svc,services"], targets: [{ kind: "Service" }] },
  {
    words: ["svc/web", "wl/web-1"],
    targets: [
      { kind: "Service", names: ["web"] },
      { kind: "Workload", names: ["web-1"] },
    ],
  },
])("$words means $targets", ({ words, targets }) => {
  expect(parseTargets(words)).toEqual(targets.map((target) => ({ names: undefined, ...target })));
});

test.for([
  { words: [], says: /which kind/ },
  { words: ["pods"], says: /unknown kind "pods"/ },
  { words: ["svc/"], says: /not KIND\/NAME/ },
  { words: ["svc/a/b"], says: /not KIND\/NAME/ },
  { words: ["svc/web", "db"], says: /"db" is not KIND\/NAME/ },
  { words: ["all", "web"], says: /takes no names/ },
  { words: ["all/web"], says: /not one kind/ },
  { words: ["svc", ".."], says: /not the name/ },
])("$words is refused", ({ words, says }) => {
  expect(() => parseTargets(words)).toThrow(says);
});
