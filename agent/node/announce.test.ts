import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { ROUTED_CIDRS_ANNOTATION } from "#proto/node.ts";
import { announce, type Announcement } from "./announce.ts";

const signal = new AbortController().signal;

/** A server that takes none of these; what it was told at last. */
async function said(announcement: Announcement, taken: readonly string[]) {
  const tries: { readonly spec: { readonly podCIDRs: readonly string[] } }[] = [];
  const client = {
    patch: async (_kind: string, _name: string, body: object): Promise<never> => {
      const change = body as (typeof tries)[number]; // as announce makes it
      tries.push(change);
      const at = change.spec.podCIDRs.findIndex((cidr) => taken.includes(cidr));
      if (at >= 0)
        throw new AppError("Invalid", "no", {
          causes: [{ field: `spec.podCIDRs[${at}]`, reason: "FieldValueInvalid", message: `Invalid value: "x": overlaps that of h1` }],
        });
      return undefined as never; // nobody reads the answer
    },
  };
  const refused = await announce({ client, nodeName: "h2" }, announcement, signal);
  return { last: tries.at(-1), refused: [...refused] };
}

test("what the server takes is announced, whatever else it refuses", async () => {
  const announcement = { behind: ["172.17.0.0/16", "192.168.122.0/24"], routed: ["10.1.0.0/24", "172.17.0.0/16"] };
  expect(await said(announcement, ["172.17.0.0/16"])).toEqual({
    last: {
      metadata: { annotations: { [ROUTED_CIDRS_ANNOTATION]: "10.1.0.0/24" } },
      spec: { podCIDRs: ["10.1.0.0/24", "192.168.122.0/24"] },
    },
    refused: [["172.17.0.0/16", "overlaps that of h1"]],
  });
});

test("without --docker-routed an earlier announcement is taken back; while the engine was not heard it stays", async () => {
  const behind = ["172.17.0.0/16"];
  expect((await said({ behind, routed: [] }, [])).last).toMatchObject({ metadata: { annotations: { [ROUTED_CIDRS_ANNOTATION]: null } } });
  expect((await said({ behind, routed: undefined }, [])).last).toEqual({ spec: { podCIDRs: behind } });
});
