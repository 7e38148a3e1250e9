import { setTimeout as delay } from "node:timers/promises";
import { DATAPLANES } from "#agent/dataplane/select.ts";
import type { Bench } from "./bench.ts";
import { requireTools } from "./requirements.ts";
import { underLoad } from "./under-load.ts";

const ROUNDS = 2;
/** Each to each other, on a kernel that has no IPVS. */
const TOUR = ["iptables-nft", "iptables-legacy", "nftables", "iptables-nft", "nftables", "iptables-legacy", "iptables-nft"];
const PAUSE_MS = 1_000;

export const switchModes: Bench = {
  name: "switch",
  about: "an agent that is started in another mode, from each to each other; 500 new connections a second, none of which may fail",
  async run(say, { rounds = ROUNDS, modes }) {
    requireTools(["iptables-restore", "nft"]);
    const known = new Set<string>(modes?.map((mode) => mode.replace("_", "-")) ?? DATAPLANES);
    const tour = TOUR.filter((mode) => known.has(mode));
    const [first = "", ...others] = tour;
    let switches = 0;
    const { connections, failed, slow, slowest_ms, failures } = await underLoad(["--dataplane", first], async ({ startAgent }, started) => {
      let agent = started;
      for (let round = 0; round < rounds; round++)
        for (const mode of others) {
          say(`to ${mode}`);
          await agent.stop();
          agent = await startAgent("--dataplane", mode);
          switches++;
          await delay(PAUSE_MS);
        }
      await agent.stop();
    });
    if (failed > 0) say(`failed: ${JSON.stringify(failures)}`);
    return { failed, connections, slow, slowest_ms, switches };
  },
};
