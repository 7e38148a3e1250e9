import { describe, expect, test } from "vitest";
import { aNode, aService, aSlice, aState, type SliceParts, type Spec } from "#test/states.ts";
import { compileService } from "./compile.ts";

interface Hinted {
  readonly node?: readonly string[];
  readonly zone?: readonly string[];
}
const hints = ({ node = [], zone = [] }: Hinted) => ({
  forNodes: node.map((name) => ({ name })),
  forZones: zone.map((name) => ({ name })),
});
const end = (address: string, hinted: Hinted = {}, more: object = {}) => ({ addresses: [address], hints: hints(hinted), ...more });
const unready = { conditions: { ready: false, serving: false } };
const going = { conditions: { ready: false, serving: true, terminating: true } };

function chosen(endpoints: SliceParts["endpoints"], { zone = "z1", spec = {} }: { zone?: string | undefined; spec?: Spec } = {}): string {
  const state = aState([aService(spec)], [aSlice({ endpoints })]);
  const [frontend] = compileService(state, { ...aNode, zone }, "default/web")?.frontends ?? [];
  return frontend?.backends.map(({ address }) => address).join(" ") ?? "";
}

describe("which endpoints are near", () => {
  test.for([
    {
      name: "those for this node, where every ready one has such a hint",
      endpoints: [end("10.0.0.1", { node: ["h1"] }), end("10.0.0.2", { node: ["h2"] })],
      want: "10.0.0.1",
    },
    {
      name: "one without a hint for nodes turns that off, and zones decide",
      endpoints: [
        end("10.0.0.1", { node: ["h1"], zone: ["z2"] }),
        end("10.0.0.2", { zone: ["z1"] }),
        end("10.0.0.3", { node: ["h2"], zone: ["z1"] }),
      ],
      want: "10.0.0.2 10.0.0.3",
    },
    {
      name: "none for this node: those for its zone",
      endpoints: [end("10.0.0.1", { node: ["h3"], zone: ["z1"] }), end("10.0.0.2", { node: ["h2"], zone: ["z2"] })],
      want: "10.0.0.1",
    },
    {
      name: "one without any hint turns both off",
      endpoints: [end("10.0.0.1", { node: ["h1"], zone: ["z1"] }), end("10.0.0.2")],
      want: "10.0.0.1 10.0.0.2",
    },
    {
      name: "none for this zone: all",
      endpoints: [end("10.0.0.1", { zone: ["z2"] }), end("10.0.0.2", { zone: ["z3"] })],
      want: "10.0.0.1 10.0.0.2",
    },
    {
      name: "hints of unready ones are ignored, and so is their lack",
      endpoints: [
        end("10.0.0.1", { zone: ["z1"] }),
        end("10.0.0.2", { zone: ["z2"] }),
        end("10.0.0.3", {}, unready),
        end("10.0.0.4", { zone: ["z1"] }, unready),
      ],
      want: "10.0.0.1",
    },
    {
      name: "those of weight 0 neither",
      endpoints: [end("10.0.0.1", { zone: ["z2"] }), end("10.0.0.2", { zone: ["z1"] }, { weight: 0 })],
      want: "10.0.0.1",
    },
    {
      name: "where none is ready, those that are going, near or not",
      endpoints: [end("10.0.0.1", { zone: ["z1"] }, going), end("10.0.0.2", { zone: ["z2"] }, going)],
      want: "10.0.0.1 10.0.0.2",
    },
  ])("$name", ({ endpoints, want }) => {
    expect(chosen(endpoints)).toBe(want);
  });

  test("a node without a zone has none that is near", () => {
    const endpoints = [end("10.0.0.1", { zone: ["z1"] }), end("10.0.0.2", { zone: [""] })];
    const state = aState([aService()], [aSlice({ endpoints })]);
    expect(compileService(state, aNode, "default/web")?.frontends[0]?.backends).toHaveLength(2);
  });

  test("Local sets do not know hints", () => {
    const local = { nodeName: "h1" };
    const endpoints = [
      end("10.0.0.1", { zone: ["z1"] }, local),
      end("10.0.0.2", { zone: ["z2"] }, local),
      end("10.0.0.3", { zone: ["z1"] }),
    ];
    expect(chosen(endpoints, { spec: { internalTrafficPolicy: "Local" } })).toBe("10.0.0.1 10.0.0.2");
    const spec: Spec = { type: "NodePort", externalTrafficPolicy: "Local", ports: [{ name: "http", port: 80, nodePort: 30080 }] };
    const compiled = compileService(aState([aService(spec)], [aSlice({ endpoints })]), { ...aNode, zone: "z1" }, "default/web");
    expect(compiled?.frontends.find(({ scope }) => scope === "nodePort")).toMatchObject({
      backends: [{ address: "10.0.0.1" }, { address: "10.0.0.3" }],
      outside: { backends: [{ address: "10.0.0.1" }, { address: "10.0.0.2" }] },
    });
  });
});
